"""A gateway with a real store: an operator's key, another one, and a few requests of the last hours."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from router import Router
from router.gateway.app import make_app
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from router.store.backend import FolderBackend
from router.store.records.feedback import Feedback
from router.store.records.journal import Journal
from router.store.records.record import Record
from router.store.records.snapshots import Snapshots, catalogue_snapshot
from router.types import Attempt, Outcome, Usage
from router.wire import ChatRequest
from tests.gateway.servers import make_gateway, served

HOSTED = ("openai", "anthropic")
KEYS = Keys([Key(id="boss", hash=hash_of("boss"), operator=True), Key(id="ann", hash=hash_of("ann"))], [])


@pytest.fixture(scope="session")
def shipped() -> Router:
    """The shipped cards, policies and predictor."""
    return Router.default()


def fill(folder: Path, router: Router, count: int = 30) -> list[str]:
    """Write routed requests, one that named its card and one that failed; return the ids, oldest first."""
    journal = Journal.open(folder)
    snapshots = Snapshots(catalogue_snapshot(router.catalog, router.evidence), journal.keep)
    elsewhere = {card.id: "no key" for card in router.catalog if card.provider not in HOSTED}
    prompts = ("What is 17*23?", "Write a haiku about rain.", "Prove that there are infinitely many primes.")
    now_s, ids = time.time(), []
    today = datetime.datetime.fromtimestamp(now_s, datetime.UTC).date()
    for number in range(count):
        request = ChatRequest.from_prompt(prompts[number % 3])
        policy = ("default", "cheap", "best")[number % 3]
        routed = router.route(request, policy=policy, unavailable=elsewhere, today=today)
        card = routed.decision.card
        attempts = (Attempt(card, card, 503, 40.0, "overloaded"), Attempt(card, card, 200, 300.0))
        outcome = Outcome(200, 900.0 + number, card, attempts, Usage(100, 200), 0.002, 210.0, 2.5)
        ids.append(f"req_{number:04}")
        decision = snapshots.decision_record(routed)
        at = now_s - 60.0 * (count - number)
        journal.append(Record(ids[-1], at, "chat", f"auto/{policy}", False, outcome, "ann", decision=decision))
    named = Outcome(200, 400.0, "gpt-4o-mini", usage=Usage(5, 6), cost_usd=0.0001)
    journal.append(Record("by-name", now_s - 20, "chat", "gpt-4o-mini", True, named, prompt=b"secret words"))
    failed = Outcome(502, 30.0, attempts=(Attempt("gpt-4o", "gpt-4o", None, 30.0, "refused"),), error="upstream_error")
    journal.append(Record("failed", now_s - 10, "chat", "<img src=x onerror=alert(1)>", False, failed))
    journal.append(Record("list", now_s - 5, "models", "", False, Outcome(200, 1.0)))
    journal.close()
    with FolderBackend(folder).feedback() as store:
        store.add(Feedback(ids[0], 1.0, now_s, "tests", comment="right"), of_any_key=True)
        store.add(Feedback(ids[1], 0.0, now_s, "tests"), of_any_key=True)
    return [*ids, "by-name", "failed"]


@pytest.fixture(scope="module")
def dashboard(shipped: Router, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a gateway with keys."""
    folder = tmp_path_factory.mktemp("store")
    fill(folder, shipped)
    parts: dict[str, Any] = {"backend": FolderBackend(folder)}
    with served(make_app(make_gateway(shipped, GatewayConfig(), KEYS, **parts))) as url:
        yield url


@pytest.fixture
def operator(dashboard: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=dashboard, trust_env=False, headers={"authorization": "Bearer boss"}) as client:
        yield client
