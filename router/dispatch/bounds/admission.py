"""The requests that one worker runs at once, and how they are divided among keys and cards."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from msgspec import Struct

from router.dispatch.bounds.share import Shares, fits, room
from router.dispatch.pool.queue import RETRY_AFTER_S, QueueLimits, WaitingQueue
from router.errors import BusyError

T = TypeVar("T")

_CARD_IS_FULL = "the limit of concurrent calls for this card is reached (`shares.card` of gateway.yaml); try again soon"
_KEY_IS_FULL = (
    "the limit of concurrent calls of one key for this card is reached (`shares.key` of gateway.yaml); try again soon"
)


class Turn(Struct, frozen=True):
    """Who wants to run a request: the id of a key and that of a card, each empty where it is the only one.

    `most` is the key's own limit of requests in progress.
    """

    key: str = ""
    card: str = ""
    most: int | None = None


_ANYBODY = Turn()


class Running:
    """A request that runs, until it leaves. Of a plan, each call counts at the card that it calls, and the request
    itself at none.
    """

    def __init__(self, admission: Admission, turn: Turn) -> None:
        self.turn = turn
        self._admission, self._counts_cards = admission, bool(turn.card)

    def end(self) -> None:
        """The request runs no longer."""
        self._admission._release(self.turn)

    def leave_card(self) -> None:
        """Count at the called cards alone from now on."""
        if self._counts_cards:
            self.turn = self._admission.left_card(self.turn)

    def begin_call(self, card: str) -> Callable[[], None]:
        """Count a call at a card until the result is called. Raises BusyError at the limit of the card, or of
        the key at it.
        """
        return self._admission.begun_call(self.turn.key, card) if self._counts_cards else _nothing


def _nothing() -> None:
    pass


class Admission:
    """Limits the requests that one worker runs at once to `max_running`, and the parts of keys and cards of them.

    Keys that wait get freed slots in turn, whatever number of requests each has. All limits may be changed at any time.
    """

    def __init__(self, max_running: int, limits: QueueLimits, shares: Shares = Shares()) -> None:  # noqa: B008 - frozen
        self.max_running, self.limits, self.shares = max_running, limits, shares
        self.running = 0
        self._of_key: dict[str, int] = {}
        self._of_card: dict[str, int] = {}
        self._of_both: dict[tuple[str, str], int] = {}
        self._queue: WaitingQueue[Turn] = WaitingQueue(self._release)

    @property
    def waiting(self) -> int:
        """How many requests wait for admission."""
        return len(self._queue)

    def check_room(self, key: str = "") -> None:
        """Raise BusyError where a request of this key could neither run nor wait, before it costs anything."""
        if self.running >= self.max_running and not self._queue.has_room(self.limits, key):
            raise _busy()

    @contextlib.asynccontextmanager
    async def turn(self, turn: Turn = _ANYBODY) -> AsyncIterator[Running]:
        """Run the body of `async with` once admitted. Raises BusyError where the queue is full or too slow."""
        running = await self.begin(turn)
        try:
            yield running
        finally:
            running.end()

    async def begin(self, turn: Turn) -> Running:
        """A request that may run, once it is admitted; call its `end` once. Raises what `turn` raises."""
        taken = self._take(turn)
        if taken is None:
            taken = await self._queue.wait(
                lambda: self._take(turn), self.limits, self._problem(turn), tenant=turn.key, group=(turn.key, turn.card)
            )
        return Running(self, taken)

    def left_card(self, turn: Turn) -> Turn:
        """The turn of a running request that counts at no card any more."""
        self._count_at_card(turn.key, turn.card, -1)
        self._queue.notify()
        return Turn(turn.key, most=turn.most)

    def begun_call(self, key: str, card: str) -> Callable[[], None]:
        """See `Running.begin_call`. The request runs already, so no slot need be free."""
        shares = self.shares
        most = self.max_running * shares.card
        running = self._of_card.get(card, 0)
        if shares.card < 1 and running >= max(int(most), 1):
            raise BusyError(_CARD_IS_FULL, RETRY_AFTER_S)
        if key and shares.key < 1 and self._of_both.get((key, card), 0) >= max(int(most * shares.key), 1):
            raise BusyError(_KEY_IS_FULL, RETRY_AFTER_S)
        self._count_at_card(key, card, 1)
        is_open = True

        def end() -> None:
            nonlocal is_open
            if is_open:
                is_open = False
                self._count_at_card(key, card, -1)
                self._queue.notify()

        return end

    def _take(self, turn: Turn) -> Turn | None:
        free = self.max_running - self.running
        if free <= 0 or self._is_at_most(turn):
            return None
        if turn.key and not fits(self._of_key.get(turn.key, 0), 1, free, self.shares.key):
            return None
        if turn.card and not self._has_room_at_card(turn, free):
            return None
        self.running += 1
        _add(self._of_key, turn.key, 1)
        self._count_at_card(turn.key, turn.card, 1)
        return turn

    def _count_at_card(self, key: str, card: str, more: int) -> None:
        if card:
            _add(self._of_card, card, more)
            if key:
                _add(self._of_both, (key, card), more)

    def _has_room_at_card(self, turn: Turn, free: int) -> bool:
        """A card's part is divided among keys as all slots are: one key must not take a card from the others."""
        left = room(self._of_card.get(turn.card, 0), free, self.shares.card)
        if not turn.key:
            return left > 0
        return fits(self._of_both.get((turn.key, turn.card), 0), 1, left, self.shares.key)

    def _is_at_most(self, turn: Turn) -> bool:
        return turn.most is not None and self._of_key.get(turn.key, 0) >= turn.most

    def _problem(self, turn: Turn) -> BusyError:
        if self._is_at_most(turn):
            return BusyError(f"this API key has {turn.most} requests in progress, its limit", RETRY_AFTER_S, 429)
        return _busy()

    def _release(self, turn: Turn) -> None:
        self.running -= 1
        _add(self._of_key, turn.key, -1)
        self._count_at_card(turn.key, turn.card, -1)
        self._queue.notify()


def _add(counter: dict[T, int], name: T, more: int) -> None:
    if count := counter.get(name, 0) + more:
        counter[name] = count
    else:
        del counter[name]


def _busy() -> BusyError:
    return BusyError("the gateway is busy; try again soon", RETRY_AFTER_S)
