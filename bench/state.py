"""What a call of the shared state costs, in SQLite and in Redis: `python -m bench.state [--url URL] [--calls N]`.

Without a URL, a Redis server is started on loopback. CPU is that of the gateway's process, in both of its threads for
SQLite; the server's own is apart. Times on a shared machine vary; the ratio of two columns of one run varies less.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from msgspec import Struct

from router.formats.quantities import Seconds
from router.store.state.loss import SharedState
from router.store.state.protocol import Claim, LastAnswer, StateStore
from router.store.state.redis.store import RedisState
from router.store.state.redis.url import read_url
from router.store.state.sqlite import SqliteState
from router.store.state.threaded import ThreadedState
from tests.redis_server import COMMAND, RedisServer, redis_server, with_prefix

_PARALLEL = 32
_KEYS = 50
_WARM = 200
_OBJECTS = 2000
Call = Callable[[StateStore, int], Awaitable[object]]

REQUEST_OPERATIONS = 5
"""Of `ask_for_request`: count the request, find the conversation, reserve, settle, remember the conversation."""


class Cost(Struct, frozen=True):
    """One kind of call, in microseconds: CPU, the median latency alone, and that of 32 at once."""

    cpu_us: float
    alone_us: float
    parallel_us: float


def main() -> None:
    """Print a row for each kind of call, and what each kind of entry takes in Redis."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a Redis or Valkey server that nobody else uses now")
    parser.add_argument("--calls", type=int, default=2000, help="calls of each kind")
    options = parser.parse_args()
    if options.url is None and COMMAND is None:
        parser.exit(1, "redis-server is not installed (scripts/system installs it); or use --url\n")
    with contextlib.ExitStack() as stack:
        server = None if options.url else stack.enter_context(redis_server())
        url = options.url or server.url  # type: ignore[union-attr]
        with tempfile.TemporaryDirectory() as folder:
            of_sqlite = asyncio.run(
                _costs(lambda: ThreadedState(SqliteState(Path(folder) / "s.sqlite")), options.calls)
            )
        before_s = _cpu_s(server)
        of_redis = asyncio.run(_costs(lambda: redis_state(with_prefix(url)), options.calls))
        server_us = None if server is None else (_cpu_s(server) - before_s) * 1e6 / _calls_made(options.calls)
        _print(of_sqlite, of_redis, server_us)
        if server is not None:
            for line in asyncio.run(_memory(server)):
                print(line)


def redis_state(url: str) -> RedisState:
    """The gateway's own state in a Redis server."""
    rules = SharedState(timeout_s=Seconds(10))
    return RedisState(read_url(url), hold_s=60.0, rules=lambda: rules)


async def ask_for_request(state: StateStore, number: int) -> None:
    """What a request of a key with a rate and a budget asks of the state, in a conversation: `REQUEST_OPERATIONS`."""
    await _take(state, number)
    await _last(state, number)
    await _reserve_and_settle(state, number)
    await _remember(state, number)


async def _take(state: StateStore, number: int) -> None:
    await state.take_request(_key(number), 1_000_000, time.time())


async def _reserve_and_settle(state: StateStore, number: int) -> None:
    await _spend(state, _key(number))


async def _spend(state: StateStore, key_id: str) -> None:
    await state.settle(await state.reserve(Claim(key_id, 1e6, 0.01, 0.005, 0.05), time.time()), 0.007)


async def _remember(state: StateStore, number: int) -> None:
    await state.remember(f"talk {number % 500}", LastAnswer(f"card-{number % 7}", "server"), time.time(), _key(number))


async def _last(state: StateStore, number: int) -> None:
    await state.last_answer(f"talk {number % 500}", time.time(), _key(number))


KINDS: dict[str, Call] = {
    "count a request": _take,
    "reserve and settle": _reserve_and_settle,
    "remember a conversation": _remember,
    "find a conversation": _last,
    "a whole request": ask_for_request,
}


def _key(number: int) -> str:
    return f"key-{number % _KEYS}"


def _calls_made(calls: int) -> int:
    return len(KINDS) * (_WARM + 2 * calls)


async def _costs(open_state: Callable[[], StateStore], calls: int) -> dict[str, Cost]:
    costs = {}
    for name, call in KINDS.items():
        state = open_state()
        for number in range(_WARM):
            await call(state, number)
        times, cpu_s = [], time.process_time()
        for number in range(calls):
            start = time.perf_counter()
            await call(state, number)
            times.append(time.perf_counter() - start)
        cpu_us = (time.process_time() - cpu_s) * 1e6 / calls
        start = time.perf_counter()
        for group in range(0, calls, _PARALLEL):
            await asyncio.gather(*(call(state, number) for number in range(group, min(group + _PARALLEL, calls))))
        parallel_us = (time.perf_counter() - start) * 1e6 / calls
        costs[name] = Cost(cpu_us, statistics.median(times) * 1e6, parallel_us)
        await asyncio.to_thread(state.close)
    return costs


def _print(of_sqlite: dict[str, Cost], of_redis: dict[str, Cost], server_us: float | None) -> None:
    print("| call | CPU, SQLite | CPU, Redis | ratio | latency, SQLite | latency, Redis | of 32 at once, each |")
    print("|---|---|---|---|---|---|---|")
    for name, sqlite in of_sqlite.items():
        redis = of_redis[name]
        print(
            f"| {name} | {sqlite.cpu_us:.0f} µs | {redis.cpu_us:.0f} µs | {redis.cpu_us / sqlite.cpu_us:.1f} | "
            f"{sqlite.alone_us:.0f} µs | {redis.alone_us:.0f} µs | {sqlite.parallel_us:.0f}, "
            f"{redis.parallel_us:.0f} µs |"
        )
    if server_us is not None:
        print(f"\nThe server's own CPU: {server_us:.0f} µs for each of these rows, on average.")


def _cpu_s(server: RedisServer | None) -> float:
    if server is None:
        return 0.0
    info = server.command("INFO", "cpu").decode()
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    return float(fields["used_cpu_sys"]) + float(fields["used_cpu_user"])


async def _memory(server: RedisServer) -> Iterator[str]:
    """What entries take in the server: keys whose limits are used, running requests, conversations."""

    def used() -> int:
        info = server.command("INFO", "memory").decode()
        return int(next(line for line in info.splitlines() if line.startswith("used_memory:")).split(":")[1])

    state, lines, now_s = redis_state(with_prefix(server.url)), [], time.time()
    await state.take_request("first", 1, now_s)
    before = used()

    async def measure(name: str, call: Callable[[int], Awaitable[object]]) -> None:
        nonlocal before
        for number in range(_OBJECTS):
            await call(number)
        after = used()
        lines.append(f"{name}: {(after - before) / _OBJECTS:.0f} bytes")
        before = after

    await measure("a key with a rate", lambda number: state.take_request(f"key-{number}", 60, now_s))
    await measure("a key with a budget", lambda number: _spend(state, f"key-{number}"))
    await measure("a running request", lambda _: state.reserve(Claim("busy", 1e6, 0.01), now_s))
    talk = LastAnswer("claude-sonnet", "api.anthropic.com")
    await measure("a conversation", lambda number: state.remember(f"talk {number}", talk, now_s, "team"))
    await state.aclose()
    return iter(lines)


if __name__ == "__main__":
    main()
