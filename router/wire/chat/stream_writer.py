"""A stream's answer as it grows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from router.errors import UpstreamError
from router.wire.chat.answer import (
    Chunk,
    Finish,
    Kind,
    Tokens,
    choices_of,
    deltas,
    finish_of,
    first_choice,
    identity,
    malformed,
    tokens,
)
from router.wire.chat.blocks import Block, Blocks


class StreamWriter(ABC):
    """What the event writers of messages and responses share: reading chunks, and the order of blocks."""

    def __init__(self) -> None:
        self._blocks: Blocks | None = None
        self._ending: Finish | None = None
        self._tokens: Tokens | None = None
        self._choice: Mapping[str, Any] = {}

    def feed(self, chunk: Chunk) -> Sequence[bytes]:
        """See `EventWriter.feed`."""
        if not isinstance(chunk, dict):
            malformed("a chunk is no object")
        choice = first_choice(chunk)
        if usage := chunk.get("usage"):
            self._tokens = tokens(usage) or self._tokens
        written: list[bytes] = []
        if choice is None:
            # Azure's first chunk has neither choices nor an id.
            return written
        self._choice = choice
        blocks = self._blocks
        if blocks is None:
            id_, model, created = identity(chunk)
            blocks = self._blocks = Blocks(self, id_)
            written += self._begun(id_, model, created)
        for piece in deltas(choice.get("delta")):
            if self._is_shown(piece.kind):
                written += blocks.add(piece)
        self._ending = finish_of(choice) or self._ending
        return written

    def end(self) -> Sequence[bytes]:
        """See `EventWriter.end`."""
        if self._blocks is None or self._ending is None:
            raise UpstreamError("the upstream ended the stream without a finish reason", fault="cut")
        return [*self._blocks.end(), *self._ended(self._ending, self._tokens, self._blocks.has_calls)]

    def _is_shown(self, _kind: Kind) -> bool:
        return True

    @abstractmethod
    def _begun(self, id_: str, model: str, created: int) -> Sequence[bytes]: ...

    @abstractmethod
    def _ended(self, finish_of: Finish, tokens: Tokens | None, has_calls: bool) -> Sequence[bytes]: ...

    @abstractmethod
    def opened(self, block: Block) -> bytes:
        """See `Writer.opened`."""

    @abstractmethod
    def grew(self, block: Block, text: str) -> bytes:
        """See `Writer.grew`."""

    @abstractmethod
    def closed(self, block: Block) -> bytes:
        """See `Writer.closed`."""


def only_choice(chat: Mapping[str, Any]) -> Mapping[str, Any]:
    """The choice of a whole completion that is asked for one."""
    if not isinstance(chat, dict):
        malformed("it is no object")
    choices = choices_of(chat)
    if not choices:
        malformed("it has no choices")
    return first_choice(chat) or choices[0]
