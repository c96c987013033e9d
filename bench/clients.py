"""The HTTP client for a relay: `python -m bench.clients` compares this gateway's with aiohttp and httpx.

All call the same upstream in alternating processes, as a relay does: they post bytes and read the response in chunks.
CPU is that of the client's process alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import http.client
import importlib.metadata
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import httpx
import msgspec
import numpy as np
import uvloop
from yarl import URL

from bench.gateway.processes import Start, free_port, running
from bench.gateway.report import table
from router.dispatch.http1 import Client as Http1Client
from router.dispatch.http1 import Target, target_of
from router.dispatch.http2 import Client

_ROOT = Path(__file__).parents[1]
_CONNECTIONS = 8
_WARM_UP = 100
_HEADERS = {"content-type": "application/json", "accept-encoding": "identity", "authorization": "Bearer none"}
_Call = Callable[[bytes], Awaitable[bytes]]


class Case(msgspec.Struct, frozen=True):
    """The work of one process: `calls` in all, `at_once` of them concurrently."""

    client: str
    url: str
    stream: bool
    calls: int
    at_once: int


class Outcome(msgspec.Struct, frozen=True):
    """CPU time of a call, and the median and 99th percentile of its duration, in ms."""

    cpu: float
    p50: float
    p99: float


@contextlib.asynccontextmanager
async def with_aiohttp(url: str) -> AsyncIterator[_Call]:
    """A call with aiohttp."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=75)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def call(body: bytes) -> bytes:
            async with session.post(url, data=body, headers=_HEADERS, allow_redirects=False) as response:
                return b"".join([chunk async for chunk in response.content.iter_any()])

        yield call


@contextlib.asynccontextmanager
async def with_httpx(url: str) -> AsyncIterator[_Call]:
    """A call with httpx."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=75)
    async with httpx.AsyncClient(limits=limits, timeout=60, trust_env=False) as client:

        async def call(body: bytes) -> bytes:
            async with client.stream("POST", url, content=body, headers=_HEADERS) as response:
                return b"".join([chunk async for chunk in response.aiter_raw()])

        yield call


def with_http1(url: str) -> contextlib.AbstractAsyncContextManager[_Call]:
    """A call with this gateway's client for HTTP/1.1."""
    return with_own(Http1Client(), target_of(URL(url)), connect_s=5)


@contextlib.asynccontextmanager
async def with_own(client: Client | Http1Client, target: Target, connect_s: float) -> AsyncIterator[_Call]:
    """A call with a client of this gateway, which is closed at the end."""

    async def call(body: bytes) -> bytes:
        answer = await client.send("POST", target, _HEADERS, body, connect_s=connect_s)
        parts = []
        while part := await answer.read():
            parts.append(part)
        return b"".join(parts)

    yield call
    await client.aclose()


_OWN = "router.dispatch.http1"
CLIENTS = {_OWN: with_http1, "aiohttp": with_aiohttp, "httpx": with_httpx}


async def run_case(case: Case) -> Outcome:
    """Run `case` after a warm-up. Raises RuntimeError for an invalid response."""
    body = json.dumps(
        {
            "model": "bench",
            "stream": case.stream,
            "messages": [{"role": "user", "content": "How much does a call cost? " * 20}],
        }
    ).encode()
    expected = b"data: [DONE]" if case.stream else b'"choices"'
    times: list[float] = []

    async def run_calls(call: _Call, count: int) -> None:
        for _ in range(count):
            start = time.perf_counter()
            response = await call(body)
            times.append((time.perf_counter() - start) * 1e3)
            if expected not in response:
                raise RuntimeError(f"{case.client}: unexpected response {response[:200]!r}")

    async with CLIENTS[case.client](case.url) as call:
        await asyncio.gather(*(run_calls(call, _WARM_UP) for _ in range(case.at_once)))
        times.clear()
        gc.freeze()
        cpu = time.process_time()
        await asyncio.gather(*(run_calls(call, case.calls // case.at_once) for _ in range(case.at_once)))
        cpu = time.process_time() - cpu
    return Outcome(cpu * 1e3 / len(times), float(np.percentile(times, 50)), float(np.percentile(times, 99)))


def main() -> None:
    """Print one table for every kind of call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=3_000, help="calls a round; a third of them for streams")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        case = msgspec.json.decode(options.case, type=Case)
        print(msgspec.json.encode(uvloop.run(run_case(case))).decode())
        return
    port = free_port()
    start = Start((sys.executable, "-m", "bench.upstream", "--port", str(port)), _ROOT, port, ("/health",))
    with tempfile.TemporaryDirectory() as scratch, running(start, Path(scratch) / "log"):
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        for name, stream, pace_ms, at_once, share in (
            (f"JSON, {_CONNECTIONS} calls at once", False, 0, _CONNECTIONS, 1),
            ("JSON, one call at a time", False, 0, 1, 1),
            (f"Streams of 20 events at once, {_CONNECTIONS} calls at once", True, 0, _CONNECTIONS, 3),
            (f"Streams of 20 events 5 ms apart, {_CONNECTIONS} calls at once", True, 5, _CONNECTIONS, 6),
        ):
            _set_pace(port, pace_ms)
            cases = [Case(client, url, stream, options.calls // share, at_once) for client in CLIENTS]
            print(f"{name}\n\n{_compared(cases, options.rounds)}\n", flush=True)


def _compared(cases: list[Case], rounds: int) -> str:
    outcomes: dict[str, list[Outcome]] = {case.client: [] for case in cases}
    for number in range(rounds):
        for case in cases if number % 2 else cases[::-1]:
            command = [sys.executable, "-m", "bench.clients", "--case", msgspec.json.encode(case).decode()]
            completed = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=300)
            outcomes[case.client].append(msgspec.json.decode(completed.stdout, type=Outcome))
    rows = []
    least_cpu = min(statistics.median(outcome.cpu for outcome in results) for results in outcomes.values())
    for client, results in outcomes.items():
        cpu, p50, p99 = (
            statistics.median(values) for values in zip(*map(msgspec.structs.astuple, results), strict=True)
        )
        name = client if client == _OWN else f"{client} {importlib.metadata.version(client)}"
        rows.append([name, f"{cpu:.3f}", f"{cpu / least_cpu:.2f}", f"{p50:.2f}", f"{p99:.2f}"])
    return table(["", "CPU ms a call", "times the best", "p50 ms", "p99 ms"], rows)


def _set_pace(port: int, pace_ms: int) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("POST", "/bench/pace", str(pace_ms))
        connection.getresponse().read()


if __name__ == "__main__":
    main()
