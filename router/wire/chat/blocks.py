"""The content blocks of an answer, put in sequence from chunks that may interleave them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from router.wire.chat.answer import Delta, Kind, deltas, index_of_call, malformed
from router.wire.reasoning import StateReader


class Block:
    """Text of one kind, or one tool call. `index` is its position in the answer.

    `head` is the beginning of the block's delta events, which the writer prepares once.
    """

    __slots__ = ("_parsed_at", "_pending", "_texts", "head", "id", "index", "is_closed", "is_open", "kind", "name")

    def __init__(self, kind: Kind, index: int, id_: str) -> None:
        self.kind, self.index, self.id = kind, index, id_
        self.name, self.head = "", b""
        self.is_open = self.is_closed = False
        self._texts: list[str] = []
        self._pending: list[str] = []
        self._parsed_at = 0

    @property
    def text(self) -> str:
        """The whole text so far, or the JSON arguments of a tool call."""
        return "".join(self._texts)

    def add(self, text: str, *, sent: bool) -> None:
        """Append to the block; text that has not been `sent` yet is pending."""
        self._texts.append(text)
        if not sent:
            self._pending.append(text)

    def take_pending(self) -> str:
        """Return the pending text, and clear it."""
        pending = "".join(self._pending)
        self._pending.clear()
        return pending

    @property
    def is_complete(self) -> bool:
        """Whether the next block can follow: the arguments of a tool call must be a whole JSON value."""
        if self.kind != "tool":
            return True
        if len(self._texts) == self._parsed_at or not self._texts[-1].rstrip().endswith("}"):
            return False
        self._parsed_at = len(self._texts)
        try:
            msgspec.json.decode(self.text)
        except (ValueError, RecursionError):
            return False
        return True


class BlockWriter(Protocol):
    """Writes the events of blocks."""

    def on_start(self, block: Block) -> bytes:
        """The event for a block that starts; it has no text yet."""

    def on_delta(self, block: Block, text: str) -> bytes:
        """The event for the block's next text."""

    def on_stop(self, block: Block) -> bytes:
        """The event for a block that is complete."""


class Blocks:
    """The blocks of an answer in progress. Ids that the upstream omits are made from `answer_id`.

    Clients expect one open block at a time, while the deltas of several tool calls may be interleaved in chat. So the
    blocks after a tool call are held back until its arguments are complete.
    """

    def __init__(self, writer: BlockWriter, answer_id: str) -> None:
        self._writer, self._answer_id = writer, answer_id
        self._queue: deque[Block] = deque()
        self._calls: dict[int, Block] = {}
        self._newest_index = 0
        self._count = 0

    @property
    def has_calls(self) -> bool:
        """Whether the answer contains a tool call."""
        return bool(self._calls)

    def add(self, delta: Delta) -> Sequence[bytes]:
        """The events of a delta. Raises UpstreamError where a tool call continues after its end."""
        block = self._block_of(delta)
        if block.is_closed:
            if delta.text.strip():
                malformed("a tool call continues after its arguments are complete")
            return ()
        if not delta.text:
            return self._flush()
        if block.is_open and len(self._queue) == 1:
            block.add(delta.text, sent=True)
            return (self._writer.on_delta(block, delta.text),)
        block.add(delta.text, sent=False)
        return self._flush()

    def end(self) -> Sequence[bytes]:
        """The events that close every block. Raises UpstreamError for a tool call without a name."""
        return self._flush(at_end=True)

    def _flush(self, at_end: bool = False) -> Sequence[bytes]:
        events = []
        while self._queue:
            block = self._queue[0]
            if not block.is_open:
                if block.kind == "tool" and not block.name:
                    if at_end:
                        malformed("a tool call has no name")
                    break
                block.is_open = True
                events.append(self._writer.on_start(block))
            if pending := block.take_pending():
                events.append(self._writer.on_delta(block, pending))
            if not at_end and (len(self._queue) == 1 or not block.is_complete):
                break
            block.is_closed = True
            events.append(self._writer.on_stop(block))
            self._queue.popleft()
        return events

    def _block_of(self, delta: Delta) -> Block:
        if delta.kind == "tool":
            return self._call_block(delta)
        if delta.kind != "state":
            return self._text_block(delta.kind)
        block = self._new("state", f"{self._answer_id}_{self._count}")
        block.name = delta.name or ""
        return block

    def _text_block(self, kind: Kind) -> Block:
        if self._queue:
            newest = self._queue[-1]
            if newest.kind == kind:
                return newest
            # Behind an incomplete tool call, all pending text of one kind is in one block.
            for block in self._queue:
                if block.kind == kind:
                    return block
        return self._new(kind, f"{self._answer_id}_{self._count}")

    def _call_block(self, delta: Delta) -> Block:
        call_index = self._index_of(delta) if delta.call_index is None else delta.call_index
        block = self._calls.get(call_index)
        # Some upstreams give every call the index 0; then the id distinguishes them.
        if block is None or (delta.id and delta.name and block.name and delta.id != block.id):
            block = self._calls[call_index] = self._new("tool", delta.id or f"call_{self._answer_id}_{self._count}")
        elif delta.id and not block.is_open:
            block.id = delta.id
        if not block.name and delta.name:
            block.name = delta.name
        self._newest_index = call_index
        return block

    def _index_of(self, delta: Delta) -> int:
        known = {call_index: (block.id, block.name) for call_index, block in self._calls.items()}
        return index_of_call(delta.id, delta.name, known, self._newest_index)

    def _new(self, kind: Kind, id_: str) -> Block:
        block = Block(kind, self._count, id_)
        self._count += 1
        self._queue.append(block)
        return block


class _BlockCollector:
    def __init__(self) -> None:
        self.blocks: list[Block] = []

    def on_start(self, block: Block) -> bytes:
        self.blocks.append(block)
        return b""

    def on_delta(self, _block: Block, _text: str) -> bytes:
        return b""

    def on_stop(self, _block: Block) -> bytes:
        return b""


def blocks_of(message: Any, answer_id: str, state: StateReader, *, shows_thinking: bool = True) -> list[Block]:
    """The blocks of a complete chat message. Its state is a block before its first tool call."""
    writer = _BlockCollector()
    blocks = Blocks(writer, answer_id)
    state.read(message)
    for delta in with_state(deltas(message), state, shows_thinking=shows_thinking):
        blocks.add(delta)
    blocks.end()
    return writer.blocks


def with_state(parts: Iterable[Delta], state: StateReader, *, shows_thinking: bool) -> Iterator[Delta]:
    """The deltas that the client sees, and before those of a tool call the state that it has not been given yet."""
    for delta in parts:
        if delta.kind == "tool" and (seal := state.take(text_is_shown=shows_thinking)):
            yield Delta("state", "", name=seal)
        if delta.kind != "thinking" or shows_thinking:
            yield delta
