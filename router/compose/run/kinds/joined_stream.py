"""The answers to the parts of a prompt as one stream: the first as it comes, the others after it, in their order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from router.compose.run.kinds.parts import beginning
from router.compose.run.ledger import Called
from router.compose.run.member import Members
from router.dispatch.stream import EventStream
from router.errors import UpstreamError
from router.types import Usage
from router.wire import CONVERSIONS, EventWriter
from router.wire.sse import DONE, data
from router.wire.streams.progress import choices_in
from router.wire.usage import Delivered
from router.wire.usage.added import with_added

if TYPE_CHECKING:
    from router.compose.run.kinds.segments import Work

_HEAD = ("id", "object", "created", "model", "system_fingerprint")


class _ChatWriter:
    """Chunks as they are, for clients of chat. See `EventWriter`."""

    def __init__(self, *, wants_usage: bool) -> None:
        self._wants_usage = wants_usage

    def feed(self, chunk: Mapping[str, Any]) -> tuple[bytes, ...]:
        """See `EventWriter.feed`."""
        return (data(chunk),) if chunk.get("choices") or self._wants_usage else ()

    def end(self) -> tuple[bytes, ...]:
        """See `EventWriter.end`."""
        return (DONE,)


class JoinedStream:
    """See `router.dispatch.stream.Events`. One id, one role and one end; the finish reason is that of the first
    answer.
    """

    def __init__(self, first: EventStream, members: Members, called: Called, work: Work) -> None:
        self._first, self._members, self._called, self._work = first, members, called, work
        call = members.call
        self._converting: EventWriter | None = None
        if call.api == "chat":
            self._writer: _ChatWriter | EventWriter = _ChatWriter(wants_usage=call.wants_usage)
        else:
            self._writer = self._converting = CONVERSIONS[call.api].events(call.body, called.card.id_without_effort)
        self._pieces = self._joined()
        self._text, self._finish = list[str](), "stop"
        self._head: dict[str, Any] = {}
        # Of several tasks in one call the answer writes the numbers itself.
        self._start = "" if len(work.groups[0].segments) > 1 else beginning(work.parts, work.groups[0], "")
        self._callback: Callable[[], object] | None = None
        self.complete = False

    @property
    def usage(self) -> Usage | None:
        """The usage of the first answer so far."""
        return self._first.usage

    @property
    def delivered(self) -> Delivered:
        """The texts of the first answer that have arrived."""
        return self._first.delivered

    @property
    def arrived_tokens(self) -> int:
        """See `Events.arrived_tokens`."""
        return self._first.arrived_tokens

    def prolong(self, seconds: float) -> None:
        """See `Events.prolong`."""
        self._first.prolong(seconds)

    @property
    def problem(self) -> UpstreamError | None:
        """How the first upstream failed; None where it has not."""
        return self._first.problem

    def on_close(self, callback: Callable[[], object]) -> None:
        """See `Events.on_close`."""
        self._callback = callback

    def failure(self, message: str, kind: str, code: str | None) -> bytes | None:
        """See `Events.failure`."""
        return None if self._converting is None else self._converting.fail(message, kind, code)

    def __aiter__(self) -> JoinedStream:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._pieces)

    async def aclose(self) -> None:
        """End every call that is not done."""
        try:
            await self._pieces.aclose()
            await self._work.stop()
            await self._first.aclose()
            self._called.end(self._called.verdict)
        finally:
            if self._callback is not None:
                callback, self._callback = self._callback, None
                callback()

    async def _joined(self) -> AsyncGenerator[bytes, None]:
        parts, groups = self._work.parts, self._work.groups
        while not self._first.complete:
            await anext(self._first, b"")
            events = list[bytes]()
            for chunk in self._first.take_decoded():
                kept = self._without_end(chunk)
                if kept is not None:
                    events += self._writer.feed(kept)
            if events:
                yield b"".join(events)
        await self._first.aclose()
        shown = "".join(self._text)
        if text := shown.strip():
            self._called.end("shown")
        else:
            self._called.end("rejected", "empty")
            text = await self._work.first_by_another(self._called.card.id)
            begins = beginning(parts, groups[0], text) if not shown else ""
            yield b"".join(self._writer.feed(self._chunk({"content": begins + text})))
        self._work.first.set_result(text)
        for group, task in zip(groups[1:], self._work.tasks, strict=True):
            text = await task
            yield b"".join(self._writer.feed(self._chunk({"content": beginning(parts, group, text) + text})))
        events = [*self._writer.feed(self._chunk({}, self._finish))]
        total = self._members.ledger.usage()
        if total is not None:
            events += self._writer.feed(with_added("chat", {**self._head, "choices": []}, total, total))
        events += self._writer.end()
        self.complete = True
        yield b"".join(events)

    def _without_end(self, chunk: Mapping[str, Any]) -> dict[str, Any] | None:
        """A chunk of the first answer without its finish reason and usage; None where nothing is left of it."""
        self._head = self._head or {name: chunk[name] for name in _HEAD if name in chunk}
        choice = next(iter(choices_in(chunk)), None)
        if choice is None:
            return None
        if isinstance(reason := choice.get("finish_reason"), str) and reason:
            self._finish = reason
        given = choice.get("delta")
        delta = {
            name: value for name, value in (given.items() if isinstance(given, Mapping) else ()) if value is not None
        }
        if isinstance(content := delta.get("content"), str):
            self._text.append(content)
            if content:
                # The number of the first answer comes with its first text.
                delta["content"], self._start = self._start + content, ""
        return self._chunk(delta) if delta else None

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
