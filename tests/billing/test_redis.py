"""Budgets of several gateways that share a Redis server: the same promises as of one gateway."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from bench.gateway.processes import Start
from bench.hostile.__main__ import attack_gateway
from bench.hostile.attacks import ATTACKS
from bench.hostile.attacks.money import leave_streams
from bench.hostile.gateways import DEAR
from bench.hostile.report import verdicts
from bench.hostile.trial import Sides, Times, both_sides
from router.formats.quantities import Seconds
from router.gateway.config.keys import hash_of
from router.store.state.limits import DAY_S
from router.store.state.loss import SharedState
from router.store.state.redis.store import RedisState
from router.store.state.redis.url import read_url
from tests.billing.matrix import PATHS, RELAYED, Bill, Cell, billed, cells_of
from tests.billing.rules import Rules, charged_too_little
from tests.billing.test_parallel import ask_all, card, keys, statuses
from tests.billing.upstream import FAULTS, TOKENS, CountingUpstream, counting_upstream
from tests.faults.gateways import KEY_VARIABLE
from tests.faults.process import route_serve, served
from tests.gateway.servers import Upstream, gateway_server, make_card, upstream_server, wait_for
from tests.redis_server import RedisServer, needs_redis, redis_server, with_prefix

pytestmark = needs_redis
_PATIENT = SharedState(timeout_s=Seconds(10))
_CELLS = cells_of(*RELAYED)[:: 7 if "CI" in os.environ else 3]


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def url(redis: RedisServer) -> str:
    return with_prefix(redis.url)


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[CountingUpstream]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-gateway-secret")
    with counting_upstream() as server:
        yield server


def new_state(url: str) -> RedisState:
    return RedisState(read_url(url), hold_s=30.0, rules=lambda: _PATIENT)


def spent_usd(url: str) -> float:
    async def read() -> float:
        state = new_state(url)
        try:
            return await state.spent_usd("team", time.time())
        finally:
            await state.aclose()

    return asyncio.run(read())


@contextlib.contextmanager
def three_gateways(upstream: CountingUpstream, url: str, model: str = "dollar") -> Iterator[list[str]]:
    """Three gateways with the key `team`, which may spend a dollar a day."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(gateway_server(card(upstream, model), keys=keys(1.0), state=new_state(url)))
            for _ in range(3)
        ]


def ask_three(urls: list[str], count: int, **fields: object) -> list[httpx.Response]:
    """`count` requests at once, spread over the gateways."""

    async def ask() -> list[httpx.Response]:
        each = [count // len(urls) + (number < count % len(urls)) for number in range(len(urls))]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_ask_all(url, part, fields)) for url, part in zip(urls, each, strict=True)]
        return [response for task in tasks for response in task.result()]

    return asyncio.run(ask())


async def _ask_all(url: str, count: int, fields: dict[str, object]) -> list[httpx.Response]:
    return await ask_all(url, count, **fields)


@pytest.mark.parametrize("fields", [{"max_tokens": 100_000}, {"max_tokens": 2_000, "n": 50}, {}], ids=str)
def test_200_clients_of_three_gateways_overspend_a_dollar_by_one_request_at_most(
    upstream: CountingUpstream, url: str, fields: dict[str, object]
) -> None:
    with three_gateways(upstream, url) as urls:
        responses = ask_three(urls, 200, stream=True, **fields)
    served = statuses(responses)
    assert served.keys() == {200, 429}
    assert 1 <= served[200] == sum(upstream.calls.values()) <= 2
    assert spent_usd(url) == pytest.approx(served[200], abs=0.001)


def test_honest_requests_of_three_gateways_are_all_served(upstream: CountingUpstream, url: str) -> None:
    with three_gateways(upstream, url, model="complete") as urls:
        assert statuses(ask_three(urls, 30, max_tokens=TOKENS)) == {200: 30}
    assert max(upstream.at_once) > 1


# The fault matrix of one gateway, a part of it


@pytest.fixture(scope="module")
def bills(redis: RedisServer) -> Iterator[dict[Cell, Bill]]:
    url = with_prefix(redis.url)
    with billed(_CELLS, in_parallel=60, open_state=lambda: new_state(url)) as bills:
        yield bills


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_delivered_is_charged(bills: dict[Cell, Bill], fault: str) -> None:
    assert {surface: few for surface in PATHS if (few := charged_too_little(bills, fault, surface=surface))} == {}


class TestEveryCell(Rules):
    """The rules of every way hold for these cells."""


# Real processes


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    with both_sides() as sides:
        yield sides


@pytest.mark.slow
@pytest.mark.parametrize("name", ["overspend-2-workers", "leaving-streams"])
def test_under_attack_what_was_delivered_is_charged_and_overspends_by_one_request_at_most(
    sides: Sides, warm: Callable[[Start], Start], name: str, url: str
) -> None:
    attack = next(each for each in ATTACKS if each.name == name)
    if name == "leaving-streams":
        # What is called through litellm is charged to the same state by test_litellm_matrix.
        attack = msgspec.structs.replace(attack, run=functools.partial(leave_streams, cards=(DEAR,)), anthropic=False)
    attack = msgspec.structs.replace(attack, state_url=url)
    result = attack_gateway(attack, Times(0.5, 1.0, 0.5), sides, started=warm)
    assert result.delivered_usd > 0
    assert not verdicts(result)["money"].fails, verdicts(result)["money"].text
    assert result.beside.wrong == []
    assert result.problems == []


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-gateway-secret")
    with upstream_server() as server:
        yield server


def chat(url: str, key: str) -> httpx.Response:
    body = {"model": "a", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, trust_env=False, timeout=30)


def ready(url: str) -> httpx.Response:
    return httpx.get(f"{url}/readyz", headers={"authorization": "Bearer pv-plain"}, trust_env=False, timeout=30)


def metric(url: str, name: str) -> float:
    text = httpx.get(f"{url}/metrics", headers={"authorization": "Bearer pv-plain"}, trust_env=False, timeout=30).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


def test_a_gateway_serves_what_it_may_while_the_server_is_down_and_says_so(
    answering: Upstream, warm: Callable[[Start], Start], tmp_path: Path
) -> None:
    entries = [
        {"id": "team", "hash": hash_of("pv-team"), "budget_usd_per_day": "1$"},
        {"id": "fast", "hash": hash_of("pv-fast"), "rpm": 4},
        {"id": "plain", "hash": hash_of("pv-plain")},
    ]
    (tmp_path / "keys.yaml").write_bytes(msgspec.yaml.encode({"keys": entries}))
    (tmp_path / "gateway.yaml").write_text("state: {replicas: 2, timeout: 2s}\n")
    with redis_server() as server:
        server.kill()
        card = make_card("a", answering.url, api_key_env=KEY_VARIABLE)
        start = route_serve(tmp_path, [card], arguments=("--state", server.url))
        with served(warm(start)) as (url, _):
            # It has started although the server is down.
            assert chat(url, "pv-plain").status_code == 200
            # One after another: of requests at the same moment, one may be read with an earlier time, and wait for it.
            assert [chat(url, "pv-fast").status_code for _ in range(4)] == [200, 200, 429, 429]
            refused = chat(url, "pv-team")
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "state_unavailable")
            assert refused.headers["retry-after"]
            shown = ready(url)
            assert shown.status_code == 200
            state = shown.json()["state"]
            assert (state["reachable"], state["denied"], state["share"]) == (False, ["budgets"], 0.5)
            assert state["on_loss"] == {"rate_limits": "share", "budgets": "deny", "conversations": "share"}
            assert "budgets" in shown.json()["limits_problem"]
            assert metric(url, "pulvinar_state_reachable") == metric(url, "pulvinar_limits_ok") == 0
            assert metric(url, "pulvinar_state_alone_total") == 4
            assert metric(url, "pulvinar_state_denied") == 1
            server.start()
            assert wait_for(lambda: ready(url).json()["state"]["reachable"], 30)
            assert chat(url, "pv-team").status_code == 200
            assert ready(url).json()["limits_problem"] is None
            assert metric(url, "pulvinar_state_reachable") == 1


def test_gateways_share_conversations_and_what_a_killed_one_had_begun_is_spent(url: str) -> None:
    from router.store.state.protocol import Claim, LastAnswer

    async def main() -> None:
        killed, other = new_state(url), new_state(url)
        # Spending is counted by UTC days, and what follows has to be in one.
        now_s = min(time.time(), (time.time() // DAY_S + 1) * DAY_S - 60)
        await killed.remember("talk", LastAnswer("small", "server"), now_s, "team")
        await killed.reserve(Claim("team", 1.0, 0.75), now_s)
        assert await other.last_answer("talk", now_s, "team") == LastAnswer("small", "server")
        assert await other.spent_usd("team", now_s + 29) == 0
        assert await other.spent_usd("team", now_s + 31) == 0.75
        await killed.aclose()
        await other.aclose()

    asyncio.run(main())
