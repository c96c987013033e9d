"""The problems that a fuzzer has found."""

from __future__ import annotations

import asyncio
import collections
import heapq
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec

SEED = 4
CONNECTIONS = 8
_SLOWEST = 3
# At the start of a line: a library's text inside a line is none.
_TRACEBACK = "\nTraceback (most recent call last):"
_NEXT_LINE = "\n{"


class Finding(msgspec.Struct, frozen=True):
    """A problem, and the number of the input that caused it; None if that is unknown."""

    problem: str
    number: int | None = None


class Result(msgspec.Struct):
    """The result of a run. `statuses` counts responses, 0 for none; `upstream_calls` the calls that upstreams got.

    `slowest` are the longest durations in seconds, with the numbers of their inputs.
    """

    findings: list[Finding] = []
    statuses: collections.Counter[int] = msgspec.field(default_factory=collections.Counter)
    upstream_calls: int = 0
    elapsed_s: float = 0.0
    slowest: list[tuple[float, int]] = []

    def add_duration(self, seconds: float, number: int) -> None:
        """Keep the duration if it is among the longest."""
        self.slowest = heapq.nlargest(_SLOWEST, [*self.slowest, (seconds, number)])

    def add_log(self, log: Path) -> None:
        """Add the tracebacks in the gateway's log."""
        for trace in log.read_text(errors="replace").split(_TRACEBACK)[1:]:
            # The end of a traceback is the most useful part; after it comes the next line of the access log.
            self.findings.append(Finding(f"a traceback in the log: …{trace.partition(_NEXT_LINE)[0][-500:]}"))


async def run_all(numbers: list[int], send: Callable[[int], Awaitable[None]], result: Result) -> None:
    """`send` every number, on as many tasks as there are connections, and time each."""
    queue = iter(numbers)

    async def send_from(numbers: Iterator[int]) -> None:
        for number in numbers:
            started = time.perf_counter()
            await send(number)
            result.add_duration(time.perf_counter() - started, number)

    started = time.perf_counter()
    await asyncio.gather(*(send_from(queue) for _ in range(CONNECTIONS)))
    result.elapsed_s = time.perf_counter() - started
