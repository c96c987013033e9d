"""Records for the tests of sinks: a complete one, and a strategy for any record."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from router.store.records.record import DecisionRecord, Record
from router.types import Attempt, Outcome, Usage

DECISION = DecisionRecord(
    policy="cheap",
    flags="size<9B",
    artifact="irt-1",
    catalogue="c1",
    policy_hash="s1",
    unavailable="u1",
    day="2026-11-23",
    card="llama-3-8b",
    fallbacks=("qwen3-8b",),
    guard="off",
    quality=0.62,
    quality_std=0.08,
    cost_usd=0.0001,
    latency_ms=900.0,
    vector=b"",
    input_tokens=1180,
)
OUTCOME = Outcome(
    status=200,
    total_ms=912.3456,
    card="qwen3-8b",
    attempts=(
        Attempt("llama-3-8b", "llama-3-8b", 429, 12.0, "rate_limited"),
        Attempt("qwen3-8b", "qwen3-8b/1", 200, 899.0),
    ),
    usage=Usage(1200, 80, 1000),
    cost_usd=0.000123456789,
    ttft_ms=210.5,
    overhead_ms=0.4123,
)


def a_record(**changes: Any) -> Record:
    """A streamed chat request whose first call was rate limited. `changes` are fields of the record or its outcome."""
    record_changes = {name: changes.pop(name) for name in list(changes) if name in Record.__struct_fields__}
    record = Record(
        id="req_1",
        at=1795456800.25,
        surface="chat",
        asked="auto/cheap[size<9B]",
        stream=True,
        outcome=msgspec.structs.replace(OUTCOME, **changes),
        key="team-a",
        client="192.0.2.7",
        session="conversation-1",
        decision=DECISION,
    )
    return msgspec.structs.replace(record, **record_changes)


_names = st.sampled_from(["", "a", "b", "é" * 128, "x" * 128])
_ms = st.floats(-1, 1e9) | st.sampled_from([float("nan"), float("inf"), float("-inf")])
_counts = st.integers(-5, 2**40) | st.sampled_from([10**400, -(10**400)])
_faults = st.none() | st.text(max_size=60)
_attempts = st.builds(Attempt, _names, st.text(max_size=20), st.none() | st.integers(200, 599), _ms, _faults)
_usage = st.builds(Usage, _counts, _counts, _counts)
_outcomes = st.builds(
    Outcome,
    status=st.integers(200, 599),
    total_ms=_ms,
    card=st.none() | _names,
    attempts=st.lists(_attempts, max_size=30).map(tuple),
    usage=st.none() | _usage,
    cost_usd=st.none() | _ms,
    ttft_ms=st.none() | _ms,
    overhead_ms=_ms,
    error=_faults,
)
records = st.builds(
    Record,
    id=st.text("abc019._:-", min_size=1, max_size=128),
    at=st.floats(0, 4e9),
    surface=st.sampled_from(["chat", "completions", "embeddings", "responses", "messages"]),
    asked=st.text(st.characters(), max_size=300),
    stream=st.booleans(),
    outcome=_outcomes,
    key=st.none() | _names,
    session=st.none() | _names,
    decision=st.none() | st.just(DECISION),
)
"""Any record, also with counts that only a broken upstream would report."""
