"""One line of JSON a request, for people and for log collectors. No prompt, no key, no URL ever stands in it."""

from __future__ import annotations

import asyncio
import datetime
import functools
import os
import re
import select
import time
from collections import deque

import msgspec
from msgspec import Struct

from router.formats.json import encodable
from router.store.records.record import Record

MOST_WAITING = 10_000
"""Lines kept for a reader that has stopped reading; more are dropped and counted."""

# A pipe takes up to 4,096 bytes in one piece, so that lines of several workers never mix. These keep a line below it.
_LONGEST_NAME = 128
_MOST_FAULTS = 16
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,48}")
_RETRY_S = 0.05
_MOST_TOKENS = 2**53


class Line(Struct, frozen=True):
    """What the log says of a request; None where it is not known.

    `time` is when the request came, UTC. `asked` is the client's `model`, cut at 128 characters. `faults` are those of
    the calls that failed, in order.
    """

    time: str
    id: str
    surface: str
    key: str | None
    asked: str
    policy: str | None
    card: str | None
    status: int
    stream: bool
    input_tokens: int | None
    output_tokens: int | None
    cached_input_tokens: int | None
    cost_usd: float | None
    ttft_ms: float | None
    total_ms: float | None
    overhead_ms: float | None
    retries: int
    faults: tuple[str, ...]
    error: str | None


class AccessLog:
    """A sink that writes to the file descriptor `fd`, one write a line.

    A reader that stops reading never stops the gateway: lines wait for it, up to MOST_WAITING; `dropped` counts those
    lost to a full queue, a full disk or a reader that has gone.
    """

    def __init__(self, fd: int) -> None:
        self.dropped = 0
        self._fd = fd
        self._waiting: deque[bytes] = deque()
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._retry: asyncio.TimerHandle | None = None

    def sink(self, record: Record) -> None:
        """Write the record's line, or keep it until the reader takes it."""
        if len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            return
        self._waiting.append(line_of(record))
        if self._retry is None:
            self._write()

    def close(self, patience_s: float = 1.0) -> None:
        """Write what waits, for at most `patience_s`; what is left then is dropped. The descriptor stays open."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        deadline = time.monotonic() + patience_s
        while self._waiting and (left_s := deadline - time.monotonic()) > 0:
            if self._poll.poll(left_s * 1000):
                self._write_one()
        self.dropped += len(self._waiting)
        self._waiting.clear()

    def _write(self) -> None:
        self._retry = None
        while self._waiting:
            if not self._poll.poll(0) or not self._write_one():
                self._retry = asyncio.get_running_loop().call_later(_RETRY_S, self._write)
                return

    def _write_one(self) -> bool:
        """Write the oldest line that waits; false where the descriptor takes nothing now."""
        line = self._waiting[0]
        try:
            written = os.write(self._fd, line)
        except BlockingIOError:
            return False
        except OSError:
            self.dropped += 1
            written = len(line)
        if written < len(line):
            self._waiting[0] = line[written:]
        else:
            self._waiting.popleft()
        return True


def line_of(record: Record) -> bytes:
    """The record as a line of JSON, at most 4,096 bytes with its line break."""
    outcome, decision = record.outcome, record.decision
    usage, asked = outcome.usage, record.asked[:_LONGEST_NAME]
    faults = tuple([word(attempt.fault) for attempt in outcome.attempts if attempt.fault])
    seconds, milliseconds = divmod(int(record.at * 1000), 1000)
    line = Line(
        time=f"{_second(seconds)}.{milliseconds:03}Z",
        id=record.id,
        surface=record.surface,
        key=record.key,
        asked=asked if asked.isascii() else encodable(asked),
        policy=decision.policy if decision else None,
        card=outcome.card,
        status=outcome.status,
        stream=record.stream,
        input_tokens=None if usage is None else _countable(usage.input_tokens),
        output_tokens=None if usage is None else _countable(usage.output_tokens),
        cached_input_tokens=None if usage is None else _countable(usage.cached_input_tokens),
        cost_usd=_rounded(outcome.cost_usd, 1e9),
        ttft_ms=_rounded(outcome.ttft_ms, 1e3),
        total_ms=_rounded(outcome.total_ms, 1e3),
        overhead_ms=_rounded(outcome.overhead_ms, 1e3),
        retries=outcome.retries,
        faults=faults[:_MOST_FAULTS],
        error=word(outcome.error) if outcome.error else None,
    )
    return _ENCODER.encode(line) + b"\n"


@functools.lru_cache(maxsize=1024)
def word(text: str) -> str:
    """`text` where it is a word such as `rate_limited`, else `other`: upstreams may put anything into a code."""
    return text if _WORD.fullmatch(text) else "other"


@functools.lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _rounded(value: float | None, steps: float) -> float | None:
    # A quarter of the time that `round` takes. What is infinite becomes NaN, which JSON writes as null.
    return None if value is None else (value * steps + 0.5) // 1 / steps


def _countable(tokens: int) -> int | None:
    # An upstream may count anything, and JSON holds no more exactly.
    return tokens if 0 <= tokens <= _MOST_TOKENS else None


_ENCODER = msgspec.json.Encoder()
