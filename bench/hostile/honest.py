"""Honest clients and a prober of `/healthz`, in a process of their own, so that an attack's own work delays neither.

`python -m bench.hostile.honest` reads one Watch after the other as JSON from standard input and prints a Seen for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 10.0
_PROBE_PAUSE_S = 0.1
_PROBE_TIMEOUT_S = 15.0
_ENDS = (b"data: [DONE]", b"event: message_stop")


class Ask(msgspec.Struct, frozen=True):
    """One kind of honest request. `card`: the card that must answer, where the gateway states it."""

    path: str
    body: dict[str, Any]
    card: str | None = None


class Watch(msgspec.Struct, frozen=True):
    """What honest clients do: `rate` requests a second in turns of `asks`, for `seconds`, and probes of `health`.

    A request whose connection breaks is sent again up to `retries` times, as the SDKs do. Those of the first `warm_s`,
    which import and connect what is needed, are not in the result.
    """

    port: int
    headers: dict[str, str]
    asks: tuple[Ask, ...]
    seconds: float
    health: str = "/healthz"
    rate: float = 10.0
    retries: int = 0
    warm_s: float = 0.0


class Seen(msgspec.Struct):
    """What honest clients saw. `latency_ms` of served requests; `wrong`: problems of the others."""

    sent: int = 0
    latency_ms: list[float] = []
    wrong: list[str] = []
    health_ms: float = 0.0
    """The longest duration of a probe, with a new connection each."""

    @property
    def share(self) -> float:
        """The share of requests that were served, 0 to 1."""
        return len(self.latency_ms) / max(self.sent, 1)

    @property
    def p95_ms(self) -> float:
        """The 95th percentile of the latency of served requests."""
        if len(self.latency_ms) < 2:
            return self.latency_ms[0] if self.latency_ms else float("nan")
        return statistics.quantiles(self.latency_ms, n=20, method="inclusive")[-1]


async def watch(plan: Watch) -> Seen:
    """Send the requests and probes of `plan`; all requests have been answered or have failed at the end."""
    seen = Seen()
    url = f"http://127.0.0.1:{plan.port}"
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with (
        aiohttp.ClientSession(url, timeout=timeout) as kept,
        # A new connection for every request: an attack on connections must not keep new clients out.
        aiohttp.ClientSession(url, timeout=timeout, connector=aiohttp.TCPConnector(force_close=True)) as fresh,
    ):
        probing = asyncio.ensure_future(_probe(url + plan.health, seen))
        started = time.perf_counter()
        tasks = []
        for number in range(round(plan.seconds * plan.rate)):
            # An open loop: a gateway that stalls does not delay the next request.
            await asyncio.sleep(max(started + number / plan.rate - time.perf_counter(), 0))
            session = (kept, fresh)[number % 2]
            tasks.append(asyncio.ensure_future(_send(session, plan, plan.asks[number // 2 % len(plan.asks)], seen)))
        await asyncio.gather(*tasks)
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
    return seen


async def _send(session: aiohttp.ClientSession, plan: Watch, ask: Ask, seen: Seen) -> None:
    seen.sent += 1
    started = time.perf_counter()
    problem = ""
    for _ in range(plan.retries + 1):
        try:
            async with session.post(ask.path, json=ask.body, headers=plan.headers) as response:
                problem = _problem(ask, response.status, response.headers, await response.read())
            break
        except (aiohttp.ClientError, TimeoutError) as error:
            problem = f"no answer ({type(error).__name__})"
    if problem:
        seen.wrong.append(problem)
    else:
        seen.latency_ms.append((time.perf_counter() - started) * 1e3)


def _problem(ask: Ask, status: int, headers: Mapping[str, str], content: bytes) -> str:
    if status != 200:
        return f"{status}: {content[:160].decode(errors='replace')}"
    card = headers.get("x-route-card")
    if ask.card is not None and card != ask.card:
        return f"answered by {card} instead of {ask.card}"
    if ask.body.get("stream") and not any(end in content for end in _ENDS):
        return f"a stream without its end: {content[-80:]!r}"
    return ""


async def _probe(url: str, seen: Seen) -> None:
    timeout = aiohttp.ClientTimeout(total=_PROBE_TIMEOUT_S)
    async with aiohttp.ClientSession(
        timeout=timeout, connector=aiohttp.TCPConnector(force_close=True, limit=0)
    ) as session:
        while True:
            started = time.perf_counter()
            try:
                async with session.get(url) as response:
                    await response.read()
                    # Gateways without a health endpoint answer 404, which shows as well that they respond.
                    responds = response.status < 500
                    duration_s = time.perf_counter() - started if responds else _PROBE_TIMEOUT_S
            except (aiohttp.ClientError, TimeoutError):
                duration_s = _PROBE_TIMEOUT_S
            except asyncio.CancelledError:
                # A probe that is still waiting counts with the time that it has waited.
                seen.health_ms = max(seen.health_ms, (time.perf_counter() - started) * 1e3)
                raise
            seen.health_ms = max(seen.health_ms, duration_s * 1e3)
            await asyncio.sleep(_PROBE_PAUSE_S)


class Clients:
    """`watch` in a process of its own, which serves one plan after the other."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    async def watch(self, plan: Watch, started: asyncio.Event | None = None) -> Seen:
        """The result of `plan`. `started` is set when the first request is sent."""
        try:
            try:
                await asyncio.to_thread(self._ask, plan)
            finally:
                # Whoever waits for it learns by the result that the process has ended.
                if started is not None:
                    started.set()
            return msgspec.json.decode(await asyncio.to_thread(self._line), type=Seen)
        except BaseException:
            # It may still be at work on this plan.
            self.end()
            raise

    def end(self) -> None:
        """End the process; another plan starts a new one."""
        if self._process is not None:
            with self._process as process:
                process.kill()
            self._process = None

    def _ask(self, plan: Watch) -> None:
        if self._process is None:
            command = (sys.executable, "-m", "bench.hostile.honest")
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(plan) + b"\n")
        self._process.stdin.flush()
        self._line()

    def _line(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextlib.contextmanager
def honest_clients() -> Iterator[Clients]:
    """Clients whose process ends with the block."""
    clients = Clients()
    try:
        yield clients
    finally:
        clients.end()


def main() -> None:
    """Run every Watch from standard input: an empty line when it begins, and its result."""
    for line in sys.stdin.buffer:
        plan = msgspec.json.decode(line, type=Watch)
        if plan.warm_s:
            asyncio.run(watch(msgspec.structs.replace(plan, seconds=plan.warm_s)))
        sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()
        sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(watch(plan))) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
