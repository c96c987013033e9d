"""Canaries in a running gateway: sticky shares, counts, records, roll-back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cards import Card, Catalog
from router.cards.adapter.facts import Lineage
from router.formats.quantities import Share
from router.gateway.app import make_app
from router.gateway.config.keys import Key, Keys, hash_of
from router.gateway.routing.trials.canaries import Canaries, Refusal, bad_answer, place_of
from router.gateway.worker import Gateway
from router.store.state.sqlite import SqliteState
from router.trials import CanaryChoice
from router.types import Attempt, Outcome, Usage
from tests.gateway.servers import MemoryJournal, Upstream, make_card, make_gateway, make_router, served
from tests.gateway.telemetry.records import DECISION, a_record

LONG = [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "go on"}]


def on_trial(upstream: Upstream, model: str = "ok", share: float = 0.3, **facts: Any) -> tuple[Card, ...]:
    lineage = Lineage(state="canary", of="old", share=Share(share))
    return (
        make_card("old", upstream.url, "ok", price=1.0),
        make_card("new", upstream.url, model, price=1.0, lineage=lineage, **facts),
        make_card("other", upstream.url, "ok", price=9.0),
    )


@contextlib.contextmanager
def running(cards: tuple[Card, ...], **parts: Any) -> Iterator[tuple[httpx.Client, Gateway, MemoryJournal]]:
    log = MemoryJournal()
    gateway = make_gateway(make_router(*cards), journal=log, **parts)  # type: ignore[arg-type]
    with served(make_app(gateway)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client, gateway, log


def ask(client: httpx.Client, text: str, more: list[dict[str, str]] | None = None) -> None:
    messages = [{"role": "user", "content": text}, *(more or [])]
    response = client.post("/v1/chat/completions", json={"model": "auto", "messages": messages})
    assert response.status_code == 200, response.text


def chosen(log: MemoryJournal) -> list[str | None]:
    return [record.outcome.card for record in log.records]


def test_a_share_of_the_conversations_goes_to_the_canary_and_stays_there(upstream: Upstream) -> None:
    with running(on_trial(upstream)) as (client, _, log):
        prompts = [f"prompt number {number}" for number in range(60)]
        for prompt in prompts:
            ask(client, prompt)
        first = chosen(log)
        for prompt in prompts:
            ask(client, prompt, LONG)
        assert chosen(log)[60:] == first
    assert 6 <= first.count("new") <= 32
    assert set(first) == {"old", "new"}


def test_records_say_who_took_the_request_and_who_could_have(upstream: Upstream) -> None:
    with running(on_trial(upstream, share=0.5)) as (client, _, log):
        for number in range(12):
            ask(client, f"prompt {number}")
    for record in log.records:
        decision = record.decision
        assert decision is not None
        assert decision.canary is not None
        assert decision.canary.taken == (record.outcome.card == "new") == (decision.canaries == ("new",))
    assert set(chosen(log)) == {"old", "new"}


def test_a_failing_canary_is_rolled_back_while_every_client_gets_an_answer(
    upstream: Upstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = SqliteState(tmp_path / "state.sqlite")
    with running(on_trial(upstream, "status-500"), state=state) as (client, gateway, log):
        for number in range(60):
            ask(client, f"prompt {number}")
        assert set(chosen(log)) == {"old"}
        assert gateway.canaries.stopped == 1
        assert "pulvinar_canaries_stopped 1.0" in client.get("/metrics").text
    lines = [record.getMessage() for record in caplog.records if "rolled back" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith("canary new rolled back to old: ")
    calls = upstream.models.count("status-500")
    again = SqliteState(tmp_path / "state.sqlite")
    with running(on_trial(upstream, "status-500", share=1.0), state=again) as (client, _, log):
        ask(client, "after a restart")
    assert upstream.models.count("status-500") == calls
    assert chosen(log) == ["old"]


def test_a_roll_back_by_the_operator_reaches_a_running_gateway(upstream: Upstream, tmp_path: Path) -> None:
    state, operator = SqliteState(tmp_path / "state.sqlite"), SqliteState(tmp_path / "state.sqlite")
    with running(on_trial(upstream, share=1.0), state=state) as (client, gateway, log):
        ask(client, "before")
        asyncio.run(operator.stop_trial(("new", "old"), "by the operator", 1.0))
        for _ in range(40):
            if gateway.canaries.stopped:
                break
            asyncio.run(asyncio.sleep(0.1))
        ask(client, "after")
        ask(client, "before", LONG)
    operator.close()
    assert chosen(log) == ["new", "old", "old"]


def test_a_client_that_names_a_card_gets_it(upstream: Upstream) -> None:
    with running(on_trial(upstream, share=1.0)) as (client, _, log):
        for model in ("old", "new"):
            client.post("/v1/chat/completions", json={"model": model, "messages": [{"role": "user", "content": "x"}]})
    assert chosen(log) == ["old", "new"]


def test_a_key_that_may_not_use_the_canary_gets_the_old_card_and_does_not_see_the_other(upstream: Upstream) -> None:
    cards = on_trial(upstream, share=1.0)
    key = Key(id="narrow", hash=hash_of("secret"), cards=("old", "other"))
    keys = Keys([key], [card.id for card in cards])
    headers = {"authorization": "Bearer secret"}
    with running(cards, keys=keys) as (client, _, log):
        client.headers.update(headers)
        ask(client, "hello")
        body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
        document = client.post("/route", json=body)
    assert chosen(log)[0] == "old"
    assert document.status_code == 200
    assert "new" not in document.text


def test_requests_that_can_wait_go_to_the_servers_for_throughput(upstream: Upstream) -> None:
    cards = (make_card("fast", upstream.url, "ok"), make_card("bulk", upstream.url, "ok", profile="throughput"))
    body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
    with running(cards) as (client, _, log):
        for extra, headers in (({}, {}), ({}, {"x-route-batch": "true"}), ({"service_tier": "flex"}, {})):
            client.post("/v1/chat/completions", json={**body, **extra}, headers=headers)
    assert chosen(log) == ["fast", "bulk", "bulk"]
    assert [record.decision is not None and record.decision.is_batch for record in log.records] == [False, True, True]


UNUSED = SqliteState()
"""Opened once for the many trials of which nothing is counted."""


def canaries(
    share: float, tenant: str | None = None, state: SqliteState | None = None, **facts: Any
) -> tuple[Canaries, Catalog]:
    lineage = Lineage(state="canary", of="old", share=Share(share))
    kind: dict[str, Any] = {"kind": "adapter", "base": "old", "tenant": tenant} if tenant else {}
    catalog = Catalog([make_card("old", "http://h"), make_card("new", "http://h", "m", lineage=lineage, **kind)])
    return Canaries(state or SqliteState(), lambda: catalog, **facts), catalog


async def answered(trial: Canaries, key: str, bad: int, good: int) -> bool:
    """Whether the canary is rolled back after so many bad answers of its own and good ones of the other card."""
    for choice, each, count in (
        (CanaryChoice("new", "old", taken=False), outcome(card="old", more=(Attempt("old", "old", 200, 1.0),)), good),
        (CanaryChoice("new", "old", taken=True), outcome("server", card=None, status=500), bad),
    ):
        decision = msgspec.structs.replace(DECISION, canary=choice)
        record = msgspec.structs.replace(a_record(key=key), decision=decision, outcome=each)
        for _ in range(count):
            await trial.sink(record)
    return trial.stopped > 0


def test_bad_answers_to_one_key_of_several_roll_nothing_back_and_those_to_two_do() -> None:
    async def use() -> None:
        trial, _ = canaries(0.3, several_keys=lambda: True)
        assert not await answered(trial, "one", bad=50, good=100)
        assert not await answered(trial, "two", bad=0, good=100)
        assert await answered(trial, "two", bad=5, good=0)

    asyncio.run(use())


def test_bad_answers_to_the_only_key_roll_a_canary_back() -> None:
    trial, _ = canaries(0.3)
    assert asyncio.run(answered(trial, "one", bad=5, good=100))


def test_bad_answers_to_the_only_key_that_has_a_canary_roll_it_back() -> None:
    trial, _ = canaries(0.3, several_keys=lambda: True, tenant="one")
    assert asyncio.run(answered(trial, "one", bad=5, good=100))


@given(st.text(max_size=40), st.text(max_size=10), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_conversation_has_one_place_and_a_greater_share_only_adds_conversations(
    conversation: str, key: str, share: float, other: float
) -> None:
    assert 0 <= place_of("new", conversation, key) < 1
    (small, catalog), (large, more) = (canaries(of, state=UNUSED) for of in sorted((share, other)))
    taken = small.admitted(catalog, conversation, key, None, bound=False)
    assert taken == small.admitted(catalog, conversation, key, None, bound=False)
    assert set(taken) <= set(large.admitted(more, conversation, key, None, bound=False))


@given(st.text(max_size=40), st.floats(0.01, 1))
def test_a_conversation_goes_on_where_it_began(conversation: str, share: float) -> None:
    admit, catalog = canaries(share, state=UNUSED)
    assert admit.admitted(catalog, conversation, "", "new", bound=False) == ("new",)
    assert admit.admitted(catalog, conversation, "", "old", bound=False) == ()


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
def test_the_share_is_the_one_stated(share: float) -> None:
    places = [place_of("new", f"conversation {number}", "key") for number in range(20_000)]
    assert sum(place < share for place in places) / len(places) == pytest.approx(share, abs=0.01)


def outcome(fault: str | None = None, card: str | None = "new", status: int = 200, **facts: Any) -> Outcome:
    attempts = (Attempt("new", "new", 200 if fault is None else 500, 1.0, fault), *facts.pop("more", ()))
    return Outcome(status, 1.0, card=card, attempts=attempts, **facts)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (outcome(usage=Usage(5, 7)), False),
        (outcome(), False),
        (outcome("server", card="old", more=(Attempt("old", "old", 200, 1.0),)), True),
        (outcome("timeout", card=None, status=504), True),
        (outcome("rate", card="old", more=(Attempt("old", "old", 200, 1.0),)), None),
        (outcome(error="stream_interrupted"), True),
        (outcome(refused=True), True),
        (outcome(usage=Usage(5, 0)), True),
        (outcome(usage=Usage(5, 0, estimated=True)), False),
        (outcome(status=499, error="client_left"), None),
        (outcome(status=499, card=None, error="client_left"), None),
        (Outcome(499, 9_000.0, error="client_left", overhead_ms=3.0), None),
        (Outcome(499, 9.0, error="client_left"), None),
        (outcome(status=400), None),
        (Outcome(429, 1.0), None),
        (Outcome(200, 1.0, card="old", attempts=(Attempt("old", "old", 200, 1.0),)), None),
    ],
)
def test_what_counts_as_a_bad_answer(of: Outcome, expected: bool | None) -> None:
    assert bad_answer(of, "new") == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"choices":[{"finish_reason": "content_filter"}]}', True),
        (b'event: message_delta\ndata: {"delta":{"stop_reason":"refusal"}}', True),
        (b'{"message":{"content":null,"refusal":"I cannot"}}', True),
        (b'{"output":[{"content":[{"type":"refusal"}]}]}', True),
        (b'{"message":{"content":"\\"refusal\\": \\"x\\"","refusal":null},"finish_reason":"stop"}', False),
    ],
)
def test_the_marks_of_a_refusal_are_found_in_every_protocol(answer: bytes, expected: bool) -> None:
    refusal = Refusal()
    refusal.add(answer)
    assert refusal.found == expected
