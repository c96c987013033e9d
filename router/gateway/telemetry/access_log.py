"""The access log: one line of JSON per request. It never contains prompts, keys or URLs."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from router.formats.json import encodable
from router.gateway.telemetry.line_writer import LineWriter
from router.store.records.record import Record

# Writes to a pipe are atomic up to 4,096 bytes, so lines of several workers never mix. These limits keep a line below.
_MAX_NAME_LENGTH = 128
_MAX_FAULTS = 16
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,48}")
_MAX_TOKENS = 2**53


class AccessLogLine(Struct, frozen=True, rename={"requested_model": "asked"}):
    """The fields of a line; unknown values are None.

    `time` is the arrival of the request, UTC. `client` is the client's address. `requested_model` is the client's
    `model`, cut at 128 characters. `faults` are those of the failed calls, in order.
    """

    time: str
    id: str
    surface: str
    client: str | None
    key: str | None
    requested_model: str
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
    """Writes the line of each record, without ever waiting for the reader. `dropped` counts lost lines."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    @property
    def dropped(self) -> int:
        """The lines that were not written."""
        return self._writer.dropped

    def write(self, records: Iterable[Record]) -> None:
        """Write the lines of the records, or queue them until the reader reads."""
        self._writer.write(*map(line_of, records))

    def close(self, timeout_s: float = 1.0) -> None:
        """Write the queued lines within `timeout_s`, and drop the rest. The descriptor stays open."""
        self._writer.flush(timeout_s)


def line_of(record: Record) -> bytes:
    """The record as a line of JSON, at most 4,096 bytes with its line break."""
    outcome, decision = record.outcome, record.decision
    usage, model = outcome.usage, record.asked[:_MAX_NAME_LENGTH]
    faults = [safe_code(attempt.fault) for attempt in outcome.attempts if attempt.fault]
    milliseconds = int(record.at * 1000)
    line = AccessLogLine(
        time=f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03}Z",
        id=record.id,
        surface=record.surface,
        client=record.client,
        key=record.key,
        requested_model=model if model.isascii() else encodable(model),
        policy=decision.policy if decision else None,
        card=outcome.card,
        status=outcome.status,
        stream=record.stream,
        input_tokens=None if usage is None else _exact_count(usage.input_tokens),
        output_tokens=None if usage is None else _exact_count(usage.output_tokens),
        cached_input_tokens=None if usage is None else _exact_count(usage.cached_input_tokens),
        cost_usd=_rounded(outcome.cost_usd, 1e9),
        ttft_ms=_rounded(outcome.ttft_ms, 1e3),
        total_ms=_rounded(outcome.total_ms, 1e3),
        overhead_ms=_rounded(outcome.overhead_ms, 1e3),
        retries=outcome.retries,
        faults=tuple(faults[:_MAX_FAULTS]),
        error=safe_code(outcome.error) if outcome.error else None,
    )
    return _ENCODER.encode(line) + b"\n"


@functools.lru_cache(maxsize=1024)
def safe_code(text: str) -> str:
    """`text` if it is a code such as `rate_limited`, else `other`: upstreams may send any text as a code."""
    return text if _CODE.fullmatch(text) else "other"


@functools.lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _rounded(value: float | None, steps: float) -> float | None:
    # Four times as fast as `round`. Infinity becomes NaN, which is encoded as null.
    return None if value is None else (value * steps + 0.5) // 1 / steps


def _exact_count(tokens: int) -> int | None:
    # An upstream may report any number, and JSON numbers are exact only up to here.
    return tokens if 0 <= tokens <= _MAX_TOKENS else None


_ENCODER = msgspec.json.Encoder()
