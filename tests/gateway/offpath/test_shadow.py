"""Shadows in a running gateway: what is sent twice, when, and what is kept of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from router.cards import Catalog
from router.cards.adapter.facts import Lineage
from router.decide.plans.catalog import Plans
from router.decide.plans.spec import Panel
from router.decide.policy import Policies, Policy, RegexGrader
from router.decide.trials.spec import Shadow
from router.gateway.app import make_app
from router.gateway.config.keys import Key, Keys, hash_of
from router.gateway.offpath.shadow import BUDGET
from router.gateway.worker import Gateway
from router.pipeline import Router
from router.store.records.record import Record
from router.store.state.sqlite import SqliteState
from tests.gateway.servers import (
    IndifferentPredictor,
    MemoryJournal,
    Upstream,
    make_card,
    make_gateway,
    served,
    wait_for,
)

SHADOW = Shadow(dollars_per_day=1.0, card="other", share=1.0)
USER = {"role": "user", "content": "hello"}
BODY: dict[str, Any] = {"model": "auto", "messages": [USER], "max_tokens": 10}


@contextlib.contextmanager
def running(
    upstream: Upstream,
    shadow: Shadow = SHADOW,
    other: str = "ok",
    facts: Any = None,
    policy: Any = None,
    common: Any = None,
    **parts: Any,
) -> Iterator[tuple[httpx.Client, Gateway, MemoryJournal]]:
    log = MemoryJournal()
    cards = [
        make_card("chosen", upstream.url, "first", price=1.0, **(common or {})),
        make_card("other", upstream.url, other, price=9.0, **(common or {}), **(facts or {})),
    ]
    rules = {"goals": {"cheapest": 1.0}, "fallbacks": 0, "headers": "on", "shadow": shadow, **(policy or {})}
    policies = [
        Policy(id="default", description="Cheap.", **rules),
        Policy(id="dear", description="Dear.", limits=("card=other",)),
    ]
    plans = Plans([Panel(id="both", description="d", members=("chosen", "other"), writer="chosen")])
    router = Router(Catalog(cards), Policies(policies), IndifferentPredictor(), plans=plans)  # type: ignore[arg-type]
    if "keys" in parts:
        parts["keys"] = Keys(parts["keys"], router.catalog.ids)
    gateway = make_gateway(router, journal=log, **parts)
    with served(make_app(gateway)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client, gateway, log


def ask(client: httpx.Client, body: dict[str, Any] = BODY, path: str = "/v1/chat/completions") -> httpx.Response:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response


def counted(client: httpx.Client, gateway: Gateway) -> dict[str, float]:
    """The results of the requests that a shadow was to answer, once nothing is left to do."""

    def results() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        found = [line for line in lines if line.startswith("pulvinar_shadow_requests_t")]
        return {line.partition('result="')[2].partition('"')[0]: float(line.rpartition(" ")[2]) for line in found}

    # The client may have its answer a moment before the job is there.
    wait_for(lambda: bool(gateway.off_path.waiting or results()), 0.5)
    assert wait_for(lambda: not gateway.off_path.waiting)
    return results()


def shadows(log: MemoryJournal) -> list[Record]:
    return [record for record in log.records if record.surface == "shadow"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_for_nobody_is_recorded_beside_the_one_that_the_client_got(upstream: Upstream, stream: bool) -> None:
    with running(upstream, policy={"graders": (RegexGrader("ell"),)}) as (client, gateway, log):
        ask(client, {**BODY, "stream": stream})
        assert counted(client, gateway) == {"compared": 1.0}
    (record,) = shadows(log)
    (first,) = (each for each in log.records if each.surface == "chat")
    pair = record.shadow
    assert pair is not None
    assert pair.second is not None
    assert (pair.of, pair.policy, pair.same) == (first.id, "default", True)
    assert (pair.first.card, pair.second.card, record.outcome.card) == ("chosen", "other", "other")
    assert (pair.first.grade, pair.second.grade, pair.second.characters) == (1.0, 1.0, 5)
    assert record.outcome.cost_usd == pytest.approx(18e-6)
    assert (record.key, record.decision, record.prompt) == (None, None, None)
    assert b"Hello" not in msgspec.json.encode(record)
    assert upstream.seen[-1].body.get("stream") in (None, False)


def test_the_client_has_its_answer_before_the_shadow_is_asked(upstream: Upstream) -> None:
    with running(upstream, other="hang") as (client, gateway, log):
        ask(client)
        assert wait_for(lambda: upstream.models[-1:] == ["hang"])
        ask(client)
        assert gateway.off_path.waiting
    # The server has stopped, and so have the calls that nobody waited for.
    assert not gateway.off_path.waiting
    assert shadows(log) == []


TOOL = {"type": "function", "function": {"name": "pay", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/once.png"}}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"tools": [TOOL]}, "tools"),
        ({"web_search_options": {}}, "tools"),
        ({"store": True}, "stored"),
        ({"n": 2}, "unfit"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, IMAGE]}]}, "media"),
    ],
)
def test_what_must_not_be_sent_twice_is_not(upstream: Upstream, fields: dict[str, Any], reason: str) -> None:
    common = {"modalities": ("text", "image"), "capabilities": ("tools", "multiple_choices", "web_search")}
    with running(upstream, common=common) as (client, gateway, _):
        client.post("/v1/chat/completions", json={**BODY, **fields})
        assert counted(client, gateway) == {reason: 1.0}
    assert upstream.models[-1] == "first"


def test_images_by_url_are_sent_twice_where_the_operator_allows_it(upstream: Upstream) -> None:
    shadow = msgspec.structs.replace(SHADOW, urls=True)
    body = {**BODY, "messages": [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, IMAGE]}]}
    with running(upstream, shadow, common={"modalities": ("text", "image")}) as (client, gateway, _):
        ask(client, body)
        assert counted(client, gateway) == {"compared": 1.0}


def test_the_limits_of_the_policy_and_of_the_key_hold(upstream: Upstream) -> None:
    before = len(upstream.seen)
    with running(upstream, policy={"limits": ("card=chosen",)}) as (client, gateway, _):
        ask(client)
        assert counted(client, gateway) == {"limits": 1.0}
    narrow = Key(id="narrow", hash=hash_of("secret"), cards=("chosen",))
    with running(upstream, keys=[narrow]) as (client, gateway, _):
        client.headers["authorization"] = "Bearer secret"
        ask(client)
        assert counted(client, gateway) == {"limits": 1.0}
    assert upstream.models[before:] == ["first", "first"]


def test_a_card_that_was_not_tried_yet_is_tried_in_the_shadow(upstream: Upstream) -> None:
    with running(upstream, facts={"lineage": Lineage(state="ported")}) as (client, gateway, _):
        ask(client)
        assert counted(client, gateway) == {"compared": 1.0}


def test_another_policy_may_choose_the_card(upstream: Upstream) -> None:
    shadow = Shadow(dollars_per_day=1.0, policy="dear", share=1.0)
    with running(upstream, shadow) as (client, gateway, log):
        ask(client)
        assert counted(client, gateway) == {"compared": 1.0}
    assert [(record.asked, record.outcome.card) for record in shadows(log)] == [("auto/dear", "other")]


def test_a_plan_may_answer_and_all_its_calls_are_recorded_and_paid(upstream: Upstream) -> None:
    shadow, state = Shadow(dollars_per_day=1.0, plan="both", share=1.0), SqliteState()
    with running(upstream, shadow, state=state) as (client, gateway, log):
        ask(client)
        assert counted(client, gateway) == {"compared": 1.0}
        spent = asyncio.run(state.spent_usd(f"{BUDGET}default", gateway.services.shadows._clock()))
    (record,) = shadows(log)
    assert (record.asked, record.outcome.plan) == ("plan/both", "plan/both")
    assert [call.card for call in record.outcome.calls] == ["chosen", "other", "chosen"]
    assert record.outcome.cost_usd is not None
    assert record.outcome.cost_usd == pytest.approx(sum(call.cost_usd or 0.0 for call in record.outcome.calls))
    assert spent == pytest.approx(record.outcome.cost_usd)
    assert record.shadow is not None
    assert record.shadow.second is not None
    assert record.shadow.second.cost_usd == record.outcome.cost_usd


def test_a_plan_is_not_begun_that_the_limits_or_the_dollars_of_the_day_leave_no_room_for(upstream: Upstream) -> None:
    shadow = Shadow(dollars_per_day=1.0, plan="both", share=1.0)
    before = len(upstream.models)
    with running(upstream, shadow, policy={"limits": ("card!=other",)}) as (client, gateway, _):
        ask(client)
        assert counted(client, gateway) == {"limits": 1.0}
    # A panel costs more than its dearest call alone.
    with running(upstream, msgspec.structs.replace(shadow, dollars_per_day=1e-5)) as (client, gateway, _):
        ask(client)
        assert counted(client, gateway) == {"budget": 1.0}
    assert len(upstream.models) == before + 2


def test_no_more_than_the_dollars_of_a_day_are_spent_by_all_workers(upstream: Upstream) -> None:
    # One call costs at most about 100 tokens at 9 $ per million.
    shadow, state = msgspec.structs.replace(SHADOW, dollars_per_day=2e-4), SqliteState()
    before = upstream.models.count("ok")
    results: dict[str, float] = {}
    with running(upstream, shadow, state=state) as (client, gateway, _):
        for _ in range(30):
            ask(client)
            results = counted(client, gateway)
        spent = asyncio.run(state.spent_usd(f"{BUDGET}default", gateway.services.shadows._clock()))
    assert results["budget"] > 0
    assert results["compared"] == upstream.models.count("ok") - before > 0
    assert 0 < spent <= 2e-4


def test_a_shadow_costs_the_client_nothing(upstream: Upstream) -> None:
    state = SqliteState()
    key = Key(id="ann", hash=hash_of("secret"), budget_usd_per_day=1.0)
    with running(upstream, keys=[key], state=state) as (client, gateway, log):
        client.headers["authorization"] = "Bearer secret"
        ask(client)
        counted(client, gateway)
        spent = asyncio.run(state.spent_usd("ann", gateway.services.shadows._clock()))
    (first,) = (each for each in log.records if each.surface == "chat")
    assert spent == pytest.approx(first.outcome.cost_usd)


def test_a_shadow_that_fails_is_recorded_and_costs_nothing(upstream: Upstream) -> None:
    state = SqliteState()
    with running(upstream, other="status-500", state=state) as (client, gateway, log):
        ask(client)
        assert counted(client, gateway) == {"failed": 1.0}
        assert asyncio.run(state.spent_usd(f"{BUDGET}default", gateway.services.shadows._clock())) == 0
    (record,) = shadows(log)
    assert record.shadow is not None
    assert (record.outcome.status, record.shadow.second, record.shadow.same) == (500, None, None)


def test_without_the_key_nothing_is_sent_twice(upstream: Upstream) -> None:
    with running(upstream, policy={"shadow": None}) as (client, gateway, log):
        ask(client)
        assert counted(client, gateway) == {}
    assert shadows(log) == []


def test_of_a_share_the_rest_is_not_sent_twice(upstream: Upstream) -> None:
    with running(upstream, msgspec.structs.replace(SHADOW, share=0.3)) as (client, gateway, _):
        for _ in range(40):
            ask(client)
            wait_for(lambda: not gateway.off_path.waiting)
        assert 2 <= counted(client, gateway)["compared"] <= 25
