"""A budget under requests in parallel: hostile ones overspend by one request at most, and honest ones are served."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bench.gateway.processes import Process, Start, launched
from router.cards import Card
from router.cards.price import Price
from router.formats.quantities import Dollars, TokenCount
from router.gateway.config.gateway_yaml import Budgeting, GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from router.store.state.sqlite import SqliteState
from tests.billing.upstream import DOLLAR_TOKENS, TOKENS, CountingUpstream, counting_upstream
from tests.gateway.servers import gateway_server, wait_for
from tests.warm_start import Warm

KEY = {"authorization": "Bearer pv-team"}
USD_PER_TOKEN = 1.0 / DOLLAR_TOKENS
"""An answer of the model `dollar` costs one dollar."""
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[CountingUpstream]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-gateway-secret")
    with counting_upstream() as server:
        yield server


def card(upstream: CountingUpstream, model: str = "dollar") -> Card:
    price = Price(Dollars(0), Dollars(USD_PER_TOKEN * 1e6))
    long = {"max_output_tokens": TokenCount(200_000), "context_tokens": TokenCount(1_000_000)}
    return Card(id="c", provider="openai", model=model, base_url=upstream.url, price=price, **long)


def keys(budget_usd: float) -> Keys:
    return Keys([Key(id="team", hash=hash_of("pv-team"), budget_usd_per_day=Dollars(budget_usd))])


async def ask_all(url: str, count: int, **fields: object) -> list[httpx.Response]:
    """The responses to so many requests at once, each on a connection of its own. The bodies of streams are raw."""
    # A pool of httpx looks through all its connections for every request.
    host, _, port = url.removeprefix("http://").partition(":")

    async def ask(number: int) -> httpx.Response:
        messages = [{"role": "user", "content": f"This is request-{number} of many"}]
        content = json.dumps({"model": "c", "messages": messages, **fields}).encode()
        reader, writer = await asyncio.open_connection(host, int(port))
        with contextlib.closing(writer):
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: {KEY['authorization']}\r\n"
            writer.write(f"{head}connection: close\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content)
            received, _, body = (await asyncio.wait_for(reader.read(), 60)).partition(b"\r\n\r\n")
        status, *lines = received.decode().split("\r\n")
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        return httpx.Response(int(status.split()[1]), headers=headers, content=body)

    return list(await asyncio.gather(*map(ask, range(count))))


def statuses(responses: list[httpx.Response]) -> dict[int, int]:
    found = [response.status_code for response in responses]
    return {status: found.count(status) for status in set(found)}


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("c", {"max_tokens": 100_000}),
        ("c", {"max_completion_tokens": 100_000, "max_tokens": 1}),
        ("c", {"max_tokens": 2_000, "n": 50}),
        ("c", {}),
        ("auto", {"max_tokens": 100_000}),
        ("auto", {}),
    ],
    ids=["limit", "two-limits", "n", "no-limit", "auto", "auto-no-limit"],
)
def test_200_requests_of_a_dollar_overspend_a_dollar_by_one_request_at_most(
    upstream: CountingUpstream, model: str, fields: dict[str, int]
) -> None:
    state = SqliteState()
    with gateway_server(card(upstream), keys=keys(1.0), state=state) as url:
        responses = asyncio.run(ask_all(url, 200, model=model, stream=True, **fields))
        assert asyncio.run(state.spent_usd("team", time.time())) <= 2.0 + 1e-6
    served = statuses(responses)
    assert sum(upstream.calls.values()) == served[200]
    assert served.keys() == {200, 429}
    assert 1 <= served[200] <= 2
    rejected = next(response for response in responses if response.status_code == 429)
    assert rejected.json()["error"]["code"] in ("insufficient_quota", "rate_limit_exceeded")


def test_honest_requests_are_served_one_after_the_other_where_the_worst_case_is_above_the_rest(
    upstream: CountingUpstream,
) -> None:
    with gateway_server(card(upstream, model="complete"), keys=keys(1.0)) as url:
        assert statuses(asyncio.run(ask_all(url, 10))) == {200: 10}
    assert max(upstream.at_once) == 1


def test_honest_requests_run_in_parallel_where_their_worst_cases_fit(upstream: CountingUpstream) -> None:
    with gateway_server(card(upstream, model="complete"), keys=keys(1.0)) as url:
        assert statuses(asyncio.run(ask_all(url, 30, max_tokens=TOKENS))) == {200: 30}
    assert max(upstream.at_once) > 3


def test_a_request_that_cannot_wait_learns_when_to_come_back(upstream: CountingUpstream) -> None:
    config = GatewayConfig(budgets=Budgeting(waiting=2))
    with gateway_server(card(upstream, model="complete"), config=config, keys=keys(1.0)) as url:
        responses = asyncio.run(ask_all(url, 10))
    rejected = [response for response in responses if response.status_code == 429]
    assert rejected
    assert all(1 <= int(response.headers["retry-after"]) <= 60 for response in rejected)
    assert not any("x-should-retry" in response.headers for response in rejected)
    assert statuses(responses)[200] >= 3


# Two workers, as `route serve` runs them.


@contextlib.contextmanager
def serving(warm: Warm, upstream: CountingUpstream, folder: Path, workers: int) -> Iterator[tuple[str, Process]]:
    """`route serve` with the key `team` and a budget of a dollar."""
    (folder / "cards").mkdir(parents=True, exist_ok=True)
    (folder / "cards" / "c.yaml").write_text(
        f"id: c\nprovider: openai\nmodel: dollar\nbase_url: {upstream.url}\napi_key_env: OPENAI_API_KEY\n"
        f"price: {{input: 0$, output: {USD_PER_TOKEN * 1e6:g}$}}\n"
    )
    (folder / "keys.yaml").write_text(
        f"keys:\n  - id: team\n    hash: {hash_of('pv-team')}\n    budget_usd_per_day: 1$\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"--port {port} --workers {workers} --keys keys.yaml --cards cards --store store"
    command = [sys.executable, str(PROJECT / "cli.py"), "serve", *options.split()]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    start = Start(tuple(command), folder, port, ready=("/healthz",))
    with (folder / "log").open("wb") as log:
        process = launched(warm(start), environment, log)
    url = f"http://127.0.0.1:{port}"
    try:
        assert wait_for(lambda: _is_ready(url), 60)
        yield url, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _is_ready(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    return False


@pytest.mark.slow
def test_two_workers_share_the_budget(upstream: CountingUpstream, warm: Warm, tmp_path: Path) -> None:
    with serving(warm, upstream, tmp_path, 2) as (url, _):
        responses = asyncio.run(ask_all(url, 200, max_tokens=100_000, stream=True))
    served = statuses(responses)
    assert served.keys() == {200, 429}
    assert served[200] == sum(upstream.calls.values()) <= 2


@pytest.mark.slow
def test_what_a_killed_gateway_had_begun_is_spent(upstream: CountingUpstream, warm: Warm, tmp_path: Path) -> None:
    with serving(warm, upstream, tmp_path, 1) as (url, process):
        where = httpx.URL(url)
        body = {"model": "c", "max_tokens": 30_000, "messages": [{"role": "user", "content": "request-killed"}]}
        content = json.dumps(body).encode()
        with socket.create_connection((where.host, where.port)) as client:
            head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer pv-team\r\n"
            client.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
            assert wait_for(lambda: upstream.calls["request-killed"] > 0, 10)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
    state = SqliteState(tmp_path / "store" / "state.sqlite")
    spent_usd = asyncio.run(state.spent_usd("team", time.time() + 31))
    state.close()
    assert spent_usd == pytest.approx(30_000 * USD_PER_TOKEN, rel=0.01)
