"""The blocks of an answer, one after the other, from chunks that may mix them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from router.wire.chat.answer import Delta, Kind, deltas, malformed


class Block:
    """Some words of one kind, or one tool call. `index` is its place in the answer.

    `head` is what the writer of events begins each of the block's deltas with.
    """

    __slots__ = ("_parsed_at", "_texts", "_waiting", "head", "id", "index", "is_closed", "is_open", "kind", "name")

    def __init__(self, kind: Kind, index: int, id_: str) -> None:
        self.kind, self.index, self.id = kind, index, id_
        self.name, self.head = "", b""
        self.is_open = self.is_closed = False
        self._texts: list[str] = []
        self._waiting: list[str] = []
        self._parsed_at = 0

    @property
    def text(self) -> str:
        """All of it until now: the words, or a call's JSON arguments."""
        return "".join(self._texts)

    def add(self, text: str, *, shown: bool) -> None:
        """Let the block grow; what is not `shown` yet waits."""
        self._texts.append(text)
        if not shown:
            self._waiting.append(text)

    def released(self) -> str:
        """What waited, which waits no longer."""
        waiting = "".join(self._waiting)
        self._waiting.clear()
        return waiting

    @property
    def is_whole(self) -> bool:
        """Whether nothing more is to come, so that the next block may follow: arguments end with a JSON object."""
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


class Writer(Protocol):
    """Says what becomes of a block."""

    def on_start(self, block: Block) -> bytes:
        """The block begins; it has no text yet."""

    def on_delta(self, block: Block, text: str) -> bytes:
        """The block's next words."""

    def on_stop(self, block: Block) -> bytes:
        """The block is complete."""


class Blocks:
    """An answer's blocks as they grow; `answer` is the answer's id, from which ids that upstreams leave out are made.

    One is open at a time, as clients expect, while chat lets several calls grow at once. So a call whose arguments are
    not complete holds back what stands behind it, and no longer than that.
    """

    def __init__(self, writer: Writer, answer: str) -> None:
        self._writer, self._answer = writer, answer
        self._queue: deque[Block] = deque()
        self._slots: dict[int, Block] = {}
        self._newest_slot = 0
        self._count = 0

    @property
    def has_calls(self) -> bool:
        """Whether a tool was called."""
        return bool(self._slots)

    def add(self, piece: Delta) -> Sequence[bytes]:
        """The events of a piece. Raises UpstreamError where a call goes on that was complete."""
        block = self._call_of(piece) if piece.kind == "tool" else self._words_of(piece.kind)
        if block.is_closed:
            if piece.text.strip():
                malformed("a tool call goes on after its arguments were complete")
            return ()
        if not piece.text:
            return self._settled()
        if block.is_open and len(self._queue) == 1:
            block.add(piece.text, shown=True)
            return (self._writer.on_delta(block, piece.text),)
        block.add(piece.text, shown=False)
        return self._settled()

    def end(self) -> Sequence[bytes]:
        """The events that close every block. Raises UpstreamError for a call that never got a name."""
        return self._settled(at_end=True)

    def _settled(self, at_end: bool = False) -> Sequence[bytes]:
        written = []
        while self._queue:
            block = self._queue[0]
            if not block.is_open:
                if block.kind == "tool" and not block.name:
                    if at_end:
                        malformed("a tool call has no name")
                    break
                block.is_open = True
                written.append(self._writer.on_start(block))
            if waiting := block.released():
                written.append(self._writer.on_delta(block, waiting))
            if not at_end and (len(self._queue) == 1 or not block.is_whole):
                break
            block.is_closed = True
            written.append(self._writer.on_stop(block))
            self._queue.popleft()
        return written

    def _words_of(self, kind: Kind) -> Block:
        if self._queue:
            newest = self._queue[-1]
            if newest.kind == kind:
                return newest
            # Behind a call that is not complete, all words of a kind wait in one block.
            for block in self._queue:
                if block.kind == kind:
                    return block
        return self._new(kind, f"{self._answer}_{self._count}")

    def _call_of(self, piece: Delta) -> Block:
        slot = self._slot_of(piece) if piece.slot is None else piece.slot
        block = self._slots.get(slot)
        # Some upstreams give every call the index 0; then the id tells them apart.
        if block is None or (piece.id and piece.name and block.name and piece.id != block.id):
            block = self._slots[slot] = self._new("tool", piece.id or f"call_{self._answer}_{self._count}")
        elif piece.id and not block.is_open:
            block.id = piece.id
        if not block.name and piece.name:
            block.name = piece.name
        self._newest_slot = slot
        return block

    def _slot_of(self, piece: Delta) -> int:
        """The slot of a call without an index: that of its id, else the newest, unless a name begins another."""
        if piece.id:
            known = (slot for slot, block in self._slots.items() if block.id == piece.id)
            return next(known, self._free_slot())
        newest = self._slots.get(self._newest_slot)
        return self._free_slot() if newest and newest.name and piece.name else self._newest_slot

    def _free_slot(self) -> int:
        return max(self._slots, default=-1) + 1

    def _new(self, kind: Kind, id_: str) -> Block:
        block = Block(kind, self._count, id_)
        self._count += 1
        self._queue.append(block)
        return block


class _Silent:
    def __init__(self) -> None:
        self.blocks: list[Block] = []

    def on_start(self, block: Block) -> bytes:
        self.blocks.append(block)
        return b""

    def on_delta(self, _block: Block, _text: str) -> bytes:
        return b""

    def on_stop(self, _block: Block) -> bytes:
        return b""


def blocks_of(message: Any, answer: str) -> list[Block]:
    """The blocks of a whole chat message."""
    writer = _Silent()
    blocks = Blocks(writer, answer)
    for piece in deltas(message):
        blocks.add(piece)
    blocks.end()
    return writer.blocks
