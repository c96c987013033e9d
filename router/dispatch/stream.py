"""A response as a stream of whole events, held back until the first one with content."""

from __future__ import annotations

import contextlib
import functools
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from router.dispatch.bounds.time_limit import TimeLimit
from router.dispatch.bounds.timeouts import FAIR_SHARE, Timeouts
from router.errors import UpstreamError, without_frames
from router.types import Usage
from router.wire.errors import Fault, ReportedError, fault_in_event
from router.wire.protocols import WireProtocol
from router.wire.sse import DONE, Event, EventSplitter, end_of_event, read_event
from router.wire.streams.plain_events import usage_message
from router.wire.streams.text_events import TextEvents
from router.wire.usage import Delivered, may_report, usage_in

MAX_EVENT_BYTES = 16 * 1024 * 1024
_DRAIN_S = 0.5

Take = Callable[[bytes], bool]
"""Takes a piece of whole events. False where it cannot now; then nothing has happened."""


class Source(Struct, frozen=True, eq=False):
    """The bytes of a stream. `read` returns b"" at the end and raises UpstreamError where the connection breaks.
    `close` ends the call, and may keep the connection open where `read` has reached the end.

    `redact` removes the gateway's secrets from the upstream's error messages. `arrived` estimates the tokens of the
    answer that have arrived in all, also of what `read` has not returned, where that is counted. `offer_to`, where
    bytes can be had as soon as they arrive, has what arrives while a `read` waits offered to a callback first, or to
    none. `read_now` returns what `read` would, and None where that would wait, or fail.
    """

    card: str
    read: Callable[[], Awaitable[bytes]]
    close: Callable[[], Awaitable[object]]
    redact: Callable[[str], str] = str
    arrived: Callable[[], int] = int
    offer_to: Callable[[Take | None], object] | None = None
    read_now: Callable[[], bytes | None] = lambda: None


class Events(Protocol):
    """The events of a response as they arrive, in chunks of whole events. Iterating ends after a complete stream, else
    raises UpstreamError.
    """

    @property
    def usage(self) -> Usage | None:
        """The token usage that the upstream has reported so far."""

    @property
    def delivered(self) -> Delivered:
        """The texts of the answer that have arrived."""

    @property
    def arrived_tokens(self) -> int:
        """An estimate of the tokens of the answer that have arrived, also of what was not read."""

    def prolong(self, seconds: float) -> None:
        """Let reading take this many seconds from now, although the time of the exchange may be over. The client gets
        nothing more.
        """

    @property
    def complete(self) -> bool:
        """Whether the last chunk has been returned."""

    @property
    def problem(self) -> UpstreamError | None:
        """How the upstream failed; None where it has not."""

    def on_close(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, when the upstream call ends."""

    def failure(self, message: str, kind: str, code: str | None) -> bytes | None:
        """The event that ends a stream that broke off; None where the protocol has no special one."""

    def __aiter__(self) -> Events: ...

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None:
        """End the upstream call."""


class EventStream:
    """The events of one response. Iterating returns chunks of whole events, byte for byte, and ends after a complete
    stream; a stream that breaks off, pauses too long or reports an error raises UpstreamError.

    A stream is complete if everything in it that began is finished, whatever the upstream's last event says. Without
    `keep_usage`, an event that contains only usage is left out, since the client did not request it. With `decode`,
    every event is decoded once, an event that cannot be decoded ends the stream, and `take_decoded` returns those of
    the chunks returned so far; without it, only the events that matter to the gateway are decoded. `arrived_whole`: the
    upstream sent a whole answer, of which this stream was made.
    """

    def __init__(
        self,
        source: Source,
        protocol: WireProtocol,
        timeouts: Timeouts,
        *,
        keep_usage: bool,
        decode: bool = False,
    ) -> None:
        self.protocol = protocol
        self.usage: Usage | None = None
        self.delivered = Delivered(protocol.texts)
        self.arrived_whole = False
        self.problem: UpstreamError | None = None
        self._source, self._timeouts, self._keep_usage, self._decode = source, timeouts, keep_usage, decode
        self._ends_s = time.monotonic() + timeouts.total_s
        self._fair_s = min(timeouts.idle_s, timeouts.total_s / FAIR_SHARE)
        self._splitter, self._progress, self._ready = EventSplitter(), protocol.progress(), b""
        self._text_events = TextEvents(protocol.texts)
        self._passed_s = 0.0
        self._decoded: list[Mapping[str, Any]] = []
        self._has_content = self._done = False
        self._error: UpstreamError | None = None
        self._callbacks: list[Callable[[], object]] = []

    @property
    def complete(self) -> bool:
        """Whether the last chunk has been returned."""
        return self._done and not self._ready

    @property
    def arrived_tokens(self) -> int:
        """See `Events.arrived_tokens`."""
        return max(self.delivered.tokens, self._source.arrived())

    def prolong(self, seconds: float) -> None:
        """See `Events.prolong`."""
        self.offer_to(None)
        self._ends_s = max(self._ends_s, time.monotonic() + seconds)

    def on_close(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, when the upstream call ends."""
        self._callbacks.append(callback)

    def failure(self, message: str, kind: str, code: str | None) -> None:
        """See `Events.failure`."""

    def take_decoded(self) -> list[Mapping[str, Any]]:
        """The decoded events of the chunks returned since the last call. Needs `decode`."""
        decoded, self._decoded = self._decoded, []
        return decoded

    def offer_to(self, take: Take | None) -> None:
        """From now on, give events that only continue a text to `take` as soon as they arrive while a read waits, which
        then goes on waiting; reading returns all others, and those that `take` does not take. None ends it.
        """
        if self._source.offer_to is not None and not self._decode:
            self._source.offer_to(None if take is None else functools.partial(self._passes, take))

    def _passes(self, take: Take, piece: bytes) -> bool:
        texts: list[bytes] = []
        if self._splitter.size or self._text_events.skip(piece, 0, texts) < len(piece) or not take(piece):
            return False
        self.delivered.add_texts(texts)
        self._passed_s = time.monotonic()
        return True

    async def start(self) -> None:
        """Read up to the first content, so that a failure before it is a failure of the whole call."""
        deadline_s = min(time.monotonic() + self._timeouts.first_token_s, self._ends_s)
        chunks: list[bytes] = []
        while not self._has_content and not self._done:
            chunks.append(await self._next_events(deadline_s))
            if self._error is not None and not self._has_content:
                raise self._error
        if not self._has_content:
            raise self._failure("sent a stream without content", 502, "empty")
        self._ready = b"".join(chunks)

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        if self._ready:
            ready, self._ready = self._ready, b""
            return ready
        if self._error is not None:
            raise self._error
        while not self._done:
            events = await self._next_events(self._idle_until_s(time.monotonic()))
            if events:
                return events
            if self._error is not None:
                raise self._error
        raise StopAsyncIteration

    async def whole(self) -> bytes:
        """The whole rest of the stream."""
        return b"".join([chunk async for chunk in self])

    async def aclose(self) -> None:
        """End the call. The connection of a complete stream is read to its end, if that comes soon, and kept open."""
        self.offer_to(None)
        try:
            # Mostly all has arrived, and nothing has to be waited for.
            if self.complete and self._source.read_now() != b"":
                with contextlib.suppress(UpstreamError, TimeoutError), TimeLimit(_DRAIN_S):
                    while await self._source.read():
                        pass
            await self._source.close()
        finally:
            for error in (self._error, self.problem):
                if error is not None:
                    without_frames(error)
            callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback()

    async def _next_events(self, deadline_s: float) -> bytes:
        """The next whole events, which may be none."""
        # What has arrived already needs no time limit.
        chunk = self._source.read_now()
        started_s = 0.0 if chunk is not None else time.monotonic()
        while chunk is None:
            try:
                with TimeLimit(deadline_s - time.monotonic()):
                    chunk = await self._source.read()
            except TimeoutError:
                if self._passed_s > started_s:
                    # The time is that of a chunk which arrived meanwhile, and was passed on.
                    started_s, deadline_s = self._passed_s, self._idle_until_s(self._passed_s)
                    continue
                late = self._failure("did not respond in time", 504, "late")
                if time.monotonic() - started_s < self._fair_s:
                    # For example a client that has read so slowly that the exchange is over.
                    self.problem = None
                raise late from None
            except UpstreamError as error:
                self.problem = error
                raise
        if not chunk:
            return self._end()
        events = self._splitter.feed(chunk)
        if not events:
            if self._splitter.size > MAX_EVENT_BYTES:
                raise self._failure("sent an event that is too large", 502, "garbage")
            return b""
        return self._read(events)

    def _idle_until_s(self, chunk_at_s: float) -> float:
        return min(chunk_at_s + self._timeouts.idle_s, self._ends_s)

    def _must_read(self, event: bytes) -> bool:
        """Whether an event of an answer that has begun needs to be decoded: most only continue its text."""
        return self.protocol.matters.search(event) is not None or may_report(event)

    def _end(self) -> bytes:
        """The last events of a stream that the upstream has ended."""
        rest = self._splitter.rest()
        if read_event(rest).is_unreadable:
            # The upstream stopped inside an event.
            self.delivered.add(rest)
            self._error = self._cut()
            return b""
        events = self._read(rest) if rest else b""
        if self._done or self._error is not None:
            return events
        if self.protocol.done_may_be_missing and self._progress.is_finished and self._has_content:
            # The response is complete; only the closing event is missing, for which clients wait.
            self._done = True
            return events + DONE
        self._error = self._cut()
        return events

    def _read(self, events: bytes) -> bytes:
        """`events` without those that the client did not request, up to one that reports an error, or is the last."""
        kept: list[bytes] = []
        kept_to = at = 0
        has_cr = b"\r" in events
        while at < len(events) and not self._done:
            is_plain = self._has_content and not self._decode
            if is_plain:
                texts: list[bytes] = []
                at = self._text_events.skip(events, at, texts)
                if texts:
                    self.delivered.add_texts(texts)
                if at == len(events):
                    break
            if (found := self._take_recognised(events, at)) is not None:
                if found.lastgroup == "usage" and not self._keep_usage:
                    kept.append(events[kept_to:at])
                    kept_to = found.end()
                at = found.end()
                continue
            end = end_of_event(events, at, has_cr=has_cr)
            raw = events[at:end]
            self.delivered.add(raw)
            if is_plain and not self._must_read(raw):
                self._text_events.learn(raw)
                at = end
                continue
            event = read_event(raw)
            self._error = self._problem_of(event)
            if self._error is not None:
                break
            self._done = self.protocol.is_closing(event)
            if event.value is not None:
                self._take_usage(event.value)
                if not self._keep_usage and _reports_only_usage(event.value):
                    kept.append(events[kept_to:at])
                    kept_to = end
                elif self._decode:
                    self._decoded.append(event.value)
            at = end
        kept.append(events[kept_to:at])
        return b"".join(kept)

    def _take_recognised(self, events: bytes, at: int) -> re.Match[bytes] | None:
        """Do what the event at `at` means, if its bytes alone say that, and return it; None where it has to be decoded,
        which does the same in more time.
        """
        plain = self.protocol.plain
        if plain is None or self._decode:
            return None
        if not self._has_content:
            found = plain.begins.match(events, at)
            if found is None:
                return None
            start, end = found.span("text")
            self.delivered.add_texts([events[start:end]])
            self._progress.begin_first()
            if end > start:
                self._has_content = True
                self._text_events.know(events[at:start], events[end : found.end()])
            return found
        found = plain.ends.match(events, at)
        if found is None:
            return None
        match found.lastgroup:
            case "finish":
                self.delivered.add(found[0])
                self._progress.finish_first()
            case "usage":
                self._take_usage(usage_message(found))
            case "done":
                if not self._progress.is_finished:
                    return None
                self._done = True
        return found

    def _take_usage(self, message: Mapping[str, Any]) -> None:
        usage = usage_in(message, self.usage)
        if usage is not None and usage is not self.usage and usage.output_tokens:
            self.delivered.is_reported()
        self.usage = usage

    def _problem_of(self, event: Event) -> UpstreamError | None:
        """The failure that an event reports, or that it is."""
        message = event.value
        if message is None:
            if self._decode and event.is_unreadable:
                return self._failure("sent an event that cannot be read", 502, "garbage")
        elif fault := fault_in_event(message, at_start=not self._has_content):
            return self._reported(fault)
        else:
            self._progress.read(message)
            if self._progress.failure is not None:
                return self._failure(self._progress.failure, 502, "error_event")
            self._has_content = self._has_content or self.protocol.has_content(message)
        if self.protocol.is_closing(event) and self._has_content and not self._progress.is_finished:
            return self._cut()
        return None

    def _cut(self) -> UpstreamError:
        if self._has_content:
            return self._failure("ended the stream before it was complete", 502, "cut")
        return self._failure("sent an empty stream", 502, "empty")

    def _reported(self, fault: Fault) -> UpstreamError:
        upstream, details = f'the upstream of the card "{self._source.card}"', fault.details.message
        reason = f": {self._source.redact(details)}" if details else ""
        says = f" {fault.meaning.refusal}" if fault.meaning.refusal else f" reported an error{reason}"
        self.problem = ReportedError(upstream + says, fault)
        return self.problem

    def _failure(self, problem: str, status: int, fault: str) -> UpstreamError:
        self.problem = UpstreamError(f'the upstream of the card "{self._source.card}" {problem}', status, fault)
        return self.problem


def _reports_only_usage(message: Mapping[str, Any]) -> bool:
    return message.get("choices") == [] and isinstance(message.get("usage"), dict)
