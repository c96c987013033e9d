"""Records for tests: minimal ones, random ones, and those of real decisions."""

from __future__ import annotations

import datetime
import string
import uuid
from typing import Any

from hypothesis import strategies as st

from router.cards import Catalog
from router.decide.policy import Policies, Policy
from router.perceive.predictor import Predictor
from router.pipeline import Router
from router.store.records.record import DecisionRecord, Record
from router.types import Attempt, Outcome, Usage
from tests.decide.cards import card

TODAY = datetime.date(2026, 11, 23)
DAY_S = 86_400.0


def record(name: str | None = None, *, at: float = 1_000_000.0, **fields: Any) -> Record:
    """The record of a request that `poet` answered."""
    defaults = {
        "surface": "chat",
        "asked": "auto",
        "stream": False,
        "outcome": Outcome(200, 512.5, "poet", usage=Usage(100, 200), cost_usd=0.001),
    }
    return Record(id=name or uuid.uuid4().hex, at=at, **{**defaults, **fields})


def decision_record(**fields: Any) -> DecisionRecord:
    """The record of a decision for `poet`."""
    defaults = {
        "policy": "default",
        "policy_hash": "a" * 32,
        "flags": "",
        "artifact": "skills-0",
        "catalogue": "b" * 32,
        "unavailable": "",
        "day": "2026-11-23",
        "card": "poet",
        "fallbacks": ("calculator",),
        "guard": "off",
        "quality": 0.75,
        "quality_std": 0.125,
        "cost_usd": None,
        "latency_ms": None,
        "vector": bytes(range(256)),
        "input_tokens": 9,
    }
    return DecisionRecord(**{**defaults, **fields})


def router(predictor: Predictor, **cards: dict[str, Any]) -> Router:
    """A router with two policies and the three cards of the planted predictor; `cards` adds facts to these."""
    prices = {"calculator": (1, 2), "poet": (3, 6), "generalist": (10, 20)}
    facts = {name: {"price": {"input": i, "output": o}, **cards.get(name, {})} for name, (i, o) in prices.items()}
    policies = [
        Policy(id="default", description="d", guard="on", prompt_flags=True),
        Policy(id="cheap", description="c", goals={"cheapest": 1.0}, on_empty="relax", relax=("size", "cost")),
    ]
    return Router(Catalog([card(name, **fields) for name, fields in facts.items()]), Policies(policies), predictor)


texts = st.text(st.characters(codec="utf-8"), max_size=20)
names = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=20)
amounts = st.floats(0, 1e9, allow_nan=False)
counts = st.integers(0, 2**40)
usages = st.builds(Usage, counts, counts, counts)
attempts = st.builds(Attempt, texts, texts, st.none() | st.integers(100, 599), amounts, st.none() | texts)
outcomes = st.builds(
    Outcome,
    status=st.integers(100, 599),
    total_ms=amounts,
    card=st.none() | texts,
    attempts=st.lists(attempts, max_size=3).map(tuple),
    usage=st.none() | usages,
    cost_usd=st.none() | amounts,
    ttft_ms=st.none() | amounts,
    overhead_ms=amounts,
    error=st.none() | texts,
)
decisions = st.builds(
    decision_record,
    policy=texts,
    flags=texts,
    fallbacks=st.lists(texts, max_size=3).map(tuple),
    quality=amounts,
    cost_usd=st.none() | amounts,
    vector=st.binary(max_size=64),
    modalities=st.lists(texts, max_size=2).map(tuple),
    output_limit=st.none() | counts,
    thinking_scale=st.floats(0, 3),
    reader=texts,
    conversation_card=st.none() | texts,
)
records = st.builds(
    Record,
    id=names,
    at=st.floats(0, 4e9, allow_nan=False),
    surface=texts,
    asked=texts,
    stream=st.booleans(),
    outcome=outcomes,
    key=st.none() | texts,
    session=st.none() | texts,
    decision=st.none() | decisions,
    prompt=st.none() | st.binary(max_size=64),
)


def writing_forever(opening: str) -> str:
    """A program that appends records to `journal`, which `opening` makes, until it is killed, and prints the id of each
    after `append` has returned. Its second argument begins the ids.
    """
    return f"""
import sys
from pathlib import Path
from tests.store.records.examples import decision_record, record
{opening}
print("ready", flush=True)
number = 0
while True:
    written = record(f"{{sys.argv[2]}}-{{number}}", decision=decision_record(vector=bytes(1740)))
    journal.append(written)
    sys.stdout.write(written.id + "\\n")
    sys.stdout.flush()
    number += 1
"""
