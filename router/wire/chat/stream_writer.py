"""The base of the writers that convert a chat stream to the events of another protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from router.errors import UpstreamError
from router.types import Usage
from router.wire.chat.answer import (
    Chunk,
    Delta,
    Finish,
    choices_of,
    deltas,
    finish_of,
    first_choice,
    identity,
    malformed,
)
from router.wire.chat.blocks import Block, Blocks, with_state
from router.wire.reasoning import StateReader
from router.wire.usage import usage_in


class StreamWriter(ABC):
    """The common part of the event writers of messages and responses: it reads chunks and orders blocks."""

    def __init__(self, maker: str = "") -> None:
        self._state = StateReader(maker)
        self._blocks: Blocks | None = None
        self._finish: Finish | None = None
        self._usage: Usage | None = None
        self._choice: Mapping[str, Any] = {}
        self._has_deltas = False

    def feed(self, chunk: Chunk) -> Sequence[bytes]:
        """See `EventWriter.feed`."""
        if not isinstance(chunk, dict):
            malformed("a chunk is not an object")
        choice = first_choice(chunk)
        self._usage = usage_in(chunk, self._usage)
        events: list[bytes] = []
        if choice is None:
            # Azure's first chunk has neither choices nor an id.
            return events
        self._choice = choice
        blocks = self._blocks
        if blocks is None:
            id_, model, created = identity(chunk)
            blocks = self._blocks = Blocks(self, id_)
            events += self._start_events(id_, model, created)
        part = self._part_of(choice)
        self._state.read(part)
        for delta in with_state(deltas(part), self._state, shows_thinking=self._shows_thinking):
            events += blocks.add(delta)
        self._finish = finish_of(choice) or self._finish
        return events

    def end(self) -> Sequence[bytes]:
        """See `EventWriter.end`."""
        if self._blocks is None or self._finish is None:
            raise UpstreamError("the upstream ended the stream without a finish reason", fault="cut")
        seal = self._state.take(text_is_shown=self._shows_thinking) if self._blocks.has_calls else ""
        late = self._blocks.add(Delta("state", "", name=seal)) if seal else ()
        return [*late, *self._blocks.end(), *self._end_events(self._finish, self._usage, self._blocks.has_calls)]

    def _part_of(self, choice: Mapping[str, Any]) -> Any:
        """The choice's delta. Some servers call it `message`; others repeat the whole message after the deltas."""
        part = choice.get("delta")
        self._has_deltas = self._has_deltas or bool(part)
        return part if part is not None or self._has_deltas else choice.get("message")

    @property
    def _shows_thinking(self) -> bool:
        return True

    @abstractmethod
    def _start_events(self, id_: str, model: str, created: int) -> Sequence[bytes]: ...

    @abstractmethod
    def _end_events(self, finish: Finish, usage: Usage | None, has_calls: bool) -> Sequence[bytes]: ...

    @abstractmethod
    def on_start(self, block: Block) -> bytes:
        """See `BlockWriter.on_start`."""

    @abstractmethod
    def on_delta(self, block: Block, text: str) -> bytes:
        """See `BlockWriter.on_delta`."""

    @abstractmethod
    def on_stop(self, block: Block) -> bytes:
        """See `BlockWriter.on_stop`."""


def only_choice(chat: Mapping[str, Any]) -> Mapping[str, Any]:
    """The choice of a whole completion; the first where there are several."""
    if not isinstance(chat, dict):
        malformed("it is not an object")
    choices = choices_of(chat)
    if not choices:
        malformed("it has no choices")
    return first_choice(chat) or choices[0]
