"""Which card and which server answered a conversation last, and what they made that only they can read."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from router.dispatch import Affinity
from router.store.state.protocol import Conversations, LastAnswer, StateError
from router.wire.reading.identity import Identity
from router.wire.reading.stored import made_in

_MAX_MADE = 12


class Sessions:
    """The conversations of all keys, in the state that workers share."""

    def __init__(self, store: Conversations, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock

    async def find(self, identity: Identity, key_id: str) -> LastAnswer | None:
        """Who made what the request refers to, else who answered the conversation last.

        Raises StateError where that cannot be read, and only one server can answer, or the operator wants that.
        """
        names = (*identity.stored.names, *(identity.names if identity.continues else ()))
        try:
            for name in dict.fromkeys(names):
                if last := await self._store.last_answer(name, self._clock(), key_id):
                    return last
        except StateError as error:
            if identity.stored.bound or error.denies:
                raise
        return None

    async def remember(self, identity: Identity, made: tuple[str, ...], answer: LastAnswer, key_id: str) -> None:
        """Store who answered, and what the answer contains. A state that cannot be written is no failure."""
        with contextlib.suppress(StateError):
            now_s = self._clock()
            for name in dict.fromkeys((*identity.names, *made[-_MAX_MADE:])):
                await self._store.remember(name, answer, now_s, key_id)


class Made:
    """Collects the names of what a Responses answer contains, as it is passed on. No other answer contains any."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def add(self, answer: bytes) -> None:
        """Read a whole body, or whole events."""
        self._names |= dict.fromkeys(made_in(answer))

    def names(self, body: Mapping[str, Any]) -> tuple[str, ...]:
        """The names, in the order in which the answer to `body` contains them.

        Answers that the server does not store, and their items, are never referred to by their ids.
        """
        if body.get("store") is not False:
            return tuple(self._names)
        return tuple(name for name in self._names if name.startswith("encrypted:"))


def affinity_of(identity: Identity, last: LastAnswer | None) -> Affinity:
    """The affinity of a request whose conversation `last` answered."""
    stored = identity.stored
    return Affinity() if last is None else Affinity(last.server, bool(last.server and stored.names), stored.bound)
