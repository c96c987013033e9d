"""Exploration in a running gateway: which requests, at what price, and what is recorded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from router.cards import Catalog
from router.decide.exploration.rule import ExplorationRule
from router.decide.policy import Policies, Policy
from router.gateway.app import make_app
from router.gateway.config.keys import Key, Keys, hash_of
from router.gateway.routing.trials.explorer import ACCOUNT, MOST_SAVED, Eligibility, Explorer
from router.pipeline import Router
from router.store.records.record import Record
from router.store.state.sqlite import SqliteState
from tests.gateway.servers import IndifferentPredictor, MemoryJournal, Upstream, make_card, make_gateway, served

POLICY = Policy(
    id="default",
    description="d",
    mistake_usd=100.0,
    headers="on",
    explore=ExplorationRule(share=0.5, dollars_per_day=1.0),
)
ASKED = Eligibility("", excluded=False, continues=False, has_budget=False)


@contextlib.contextmanager
def running(
    upstream: Upstream, dollars: float = 1.0, prices: tuple[float, float] = (1.0, 2.0), **parts: Any
) -> Iterator[tuple[httpx.Client, MemoryJournal]]:
    policy = msgspec.structs.replace(POLICY, explore=ExplorationRule(share=0.5, dollars_per_day=dollars))
    cards = (
        make_card("first", upstream.url, "ok", price=prices[0]),
        make_card("other", upstream.url, "ok", price=prices[1]),
    )
    log = MemoryJournal()
    router = Router(Catalog(cards), Policies([policy]), IndifferentPredictor())  # type: ignore[arg-type]
    gateway = make_gateway(router, journal=log, **parts)  # type: ignore[arg-type]
    with served(make_app(gateway)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client, log


def ask(client: httpx.Client, text: str, **more: Any) -> httpx.Response:
    headers = more.pop("headers", {})
    body = {"model": "auto", "messages": [{"role": "user", "content": text}], "max_tokens": 10, **more}
    response = client.post("/v1/chat/completions", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response


def results(records: list[Record]) -> list[str]:
    return [
        record.decision.exploration.result
        for record in records
        if record.decision is not None and record.decision.exploration is not None
    ]


def test_a_share_of_the_requests_is_explored_and_says_so(upstream: Upstream) -> None:
    state = SqliteState()
    with running(upstream, state=state) as (client, log):
        answers = [ask(client, f"question {number}") for number in range(40)]
        text = client.get("/metrics").text
        assert asyncio.run(state.spent_usd(f"{ACCOUNT}default", log.records[-1].at)) > 0
    asked = [record for record in log.records if record.surface == "chat"]
    explored = [record for record in asked if record.outcome.card == "other"]
    assert 3 <= len(explored) <= 20
    assert results(log.records).count("explored") == len(explored)
    assert f'pulvinar_explored_total{{policy="default",result="explored"}} {len(explored)}.0' in text
    for record, answer in zip(asked, answers, strict=True):
        decision = record.decision
        assert decision is not None
        assert decision.exploration is not None
        if decision.exploration.prevented:
            assert decision.exploration.propensities == {"first": 1.0}
        else:
            assert decision.exploration.propensities == {"first": 0.5, "other": 0.5}
        header = answer.headers.get("x-route-explored")
        assert header == ("0.5; choice=first" if record.outcome.card == "other" else None)


def test_a_conversation_that_goes_on_and_a_request_that_excludes_it_are_not_explored(upstream: Upstream) -> None:
    turns = [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "and what of the second one?"}]
    with running(upstream) as (client, log):
        for number in range(8):
            ask(client, "", messages=[{"role": "user", "content": f"question {number}"}, *turns])
            ask(client, f"question of a session {number}", headers={"x-route-session": f"s{number}"})
            ask(client, f"not me {number}", headers={"x-route-explore": "false"})
            ask(client, f"nor me {number}", route={"explore": False})
            ask(client, f"one card {number}", model="first")
    assert {record.outcome.card for record in log.records} == {"first"}
    assert set(results(log.records)) == {"prevented"}
    assert "explore" not in upstream.seen[-2].body


def test_a_conversation_stays_at_the_card_that_was_explored_at_its_beginning(upstream: Upstream) -> None:
    with running(upstream) as (client, log):
        for number in range(30):
            ask(client, f"question {number}")
            if log.records[-1].outcome.card == "other":
                break
        turns = [{"role": "assistant", "content": "Hello"}, {"role": "user", "content": "why?"}]
        ask(client, "", messages=[{"role": "user", "content": f"question {number}"}, *turns])
    assert [record.outcome.card for record in log.records[-2:]] == ["other", "other"]


def test_the_money_of_a_day_is_never_exceeded_and_nobody_is_refused_for_it(upstream: Upstream) -> None:
    # The worst case of one answer is more than a cent, which is all that may be spent.
    with running(upstream, dollars=0.01, prices=(1.0, 2000.0)) as (client, log):
        for number in range(12):
            ask(client, f"question {number}")
    assert {record.outcome.card for record in log.records} == {"first"}
    found = results(log.records)
    assert "refused" in found
    assert set(found[found.index("refused") + 1 :]) == {"prevented"}
    refused = next(record.decision for record in log.records if results([record]) == ["refused"])
    assert refused is not None
    assert refused.exploration is not None
    assert refused.exploration.propensities == {"first": 0.5, "other": 0.5}


def test_two_gateways_share_the_money_of_a_day() -> None:
    state = SqliteState()
    one, two = Explorer(state), Explorer(state)

    async def reserved() -> list[bool]:
        found = []
        for explorer in (one, two, one, two):
            explorer.draw(POLICY, msgspec.structs.replace(ASKED, id="r1"))
            found.append(await explorer.reserve(POLICY, 0.3) is not None)
        return found

    assert asyncio.run(reserved()) == [True, True, True, False]


def test_what_is_reserved_for_a_client_that_leaves_is_released() -> None:
    state = SqliteState()
    explorer = Explorer(state)

    async def left() -> object:
        explorer.draw(POLICY, msgspec.structs.replace(ASKED, id="r1"))
        waiting = asyncio.ensure_future(explorer.reserve(POLICY, 0.9))
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        for _ in range(5):
            await asyncio.sleep(0)
        return await explorer.reserve(POLICY, 0.9)

    assert asyncio.run(left()) is not None


def test_no_more_than_the_share_is_drawn_however_requests_are_spread() -> None:
    explorer = Explorer(SqliteState(), seed=b"fixed")
    policy = msgspec.structs.replace(POLICY, explore=ExplorationRule(share=0.1))
    drawn = []
    for number in range(3000):
        draw = explorer.draw(policy, msgspec.structs.replace(ASKED, id=f"r{number}", continues=number % 3 == 0))
        assert draw is not None
        drawn.append(draw.number is not None and draw.number < 0.1)
    for end in range(len(drawn)):
        assert sum(drawn[: end + 1]) <= 0.1 * (end + 1)
    for start in range(0, len(drawn) - 100, 7):
        assert sum(drawn[start : start + 100]) <= 0.1 * 100 + MOST_SAVED
    assert sum(drawn) > 150


def test_a_dry_run_explains_and_draws_nothing(upstream: Upstream) -> None:
    with running(upstream) as (client, _):
        body = {"messages": [{"role": "user", "content": "hello"}]}
        shown = [client.post("/route", json=body).json()["exploration"] for _ in range(5)]
    assert shown == [{"choice": "first", "propensities": {"first": 0.5, "other": 0.5}}] * 5


def test_a_key_with_a_budget_explores_cheaper_cards_only(upstream: Upstream) -> None:
    keys = Keys([Key(id="team", hash=hash_of("secret-key-of-a-team"), budget_usd_per_day=5.0)])
    headers = {"authorization": "Bearer secret-key-of-a-team"}
    with running(upstream, keys=keys) as (client, log):
        for number in range(20):
            ask(client, f"question {number}", headers=headers)
    assert {record.outcome.card for record in log.records} == {"first"}


@pytest.mark.parametrize("header", ["maybe", "2"])
def test_an_odd_word_in_the_header_is_an_error(upstream: Upstream, header: str) -> None:
    with running(upstream) as (client, _):
        body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
        refused = client.post("/v1/chat/completions", json=body, headers={"x-route-explore": header})
    assert refused.status_code == 400
    assert "x-route-explore" in refused.text
