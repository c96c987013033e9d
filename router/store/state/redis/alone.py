"""What a gateway does without the shared state: its part of the limits, and what it must report afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from msgspec import Struct

from router.errors import BudgetError
from router.store.state.limits import MINUTE_US, NANO, amounts_of, nano, rate_rejection
from router.store.state.protocol import Claim, LastAnswer, Reservation, StateError
from router.store.state.redis.connection import UNAVAILABLE
from router.store.state.sqlite import SqliteState

_MAX_KEYS = 10_000
_MAX_SESSIONS = 20_000
_RETRY_S = 5.0
# The state is back before, or the day is over.
_HOLD_S = 2 * 86_400.0


class Held(Struct, frozen=True):
    """A reservation of a running request, with what it may cost at most, and the epoch in which it was made: another
    one shows that the server has lost its data.
    """

    reservation: Reservation
    worst_nano: int
    epoch: str = ""


class Charge(Struct, frozen=True):
    """What requests of a key have cost that the shared state does not know; `id` is that of the report."""

    id: int
    key_id: str
    day: int
    cost_nano: int


class Alone:
    """The part of the limits that one process may use while the shared state does not respond.

    The parts of all processes together are the limits. Of a budget, the part is one of what was left when the state
    was last asked.
    """

    def __init__(self) -> None:
        self.decided = 0
        self.open: dict[int, Held] = {}
        self._due_us: dict[str, float] = {}
        self._allowance_usd: dict[tuple[str, int], float] = {}
        self._owed: dict[tuple[str, int], int] = {}
        self._ledger = SqliteState(hold_s=_HOLD_S)
        self._conversations = SqliteState(max_sessions=_MAX_SESSIONS)

    def take_request(self, key_id: str, rpm: int, share: float, now_s: float) -> None:
        """Count one request against a part of the rate of its key. Raises RateLimitError."""
        self.decided += 1
        now_us, step_us = now_s * 1e6, MINUTE_US / (rpm * share)
        # A part below one request a minute still allows one now and then.
        burst_us = max(MINUTE_US, step_us)
        due_us = self._due_us.get(key_id, 0.0)
        # Times of parallel requests are not in order; what is further ahead shows that the clock was set back.
        free_us = due_us if now_us <= due_us <= now_us + burst_us + MINUTE_US else now_us
        if free_us + step_us > now_us + burst_us:
            raise rate_rejection(key_id, rpm, (free_us + step_us - now_us - burst_us) / 1e6)
        if len(self._due_us) >= _MAX_KEYS:
            self._due_us = {key: due for key, due in self._due_us.items() if due > now_us}
        self._due_us[key_id] = free_us + step_us

    async def reserve(self, claim: Claim, known_nano: int, share: float, now_s: float) -> Reservation:
        """Reserve from the part of what is left of a budget. Raises BudgetError."""
        self.decided += 1
        amounts = amounts_of(claim, now_s)
        allowance_usd = self._allowance_usd.setdefault(
            (claim.key_id, amounts.day), max(claim.budget_usd - known_nano / NANO, 0.0) * share
        )
        part = Claim(claim.key_id, allowance_usd, claim.reserved_usd, claim.likely_usd, claim.worst_usd)
        try:
            reservation = await self._ledger.reserve(part, now_s)
        except BudgetError:
            problem = (
                f'the daily budget of the key "{claim.key_id}" cannot be checked now: the shared state does not '
                f"respond, and the part of this gateway, {allowance_usd:.6g}$, is spent or reserved; retry in "
                f"{_RETRY_S:.0f} s"
            )
            raise BudgetError(problem, _RETRY_S, is_spent=False) from None
        self.open[reservation.id] = Held(reservation, amounts.worst)
        return reservation

    async def settle(self, reservation: Reservation, cost_usd: float) -> None:
        """Replace a reservation made here by its cost, which is owed to the shared state."""
        self.open.pop(reservation.id, None)
        await self._ledger.settle(reservation, cost_usd)
        if cost := nano(cost_usd):
            place = reservation.key_id, reservation.day
            self._owed[place] = self._owed.get(place, 0) + cost

    def take_charges(self) -> Iterator[Charge]:
        """What is owed to the shared state, once."""
        owed, self._owed = self._owed, {}
        for (key_id, day), cost in owed.items():
            yield Charge(secrets.randbits(62), key_id, day, cost)

    @property
    def owes(self) -> bool:
        """Whether there are costs that the shared state does not know."""
        return bool(self._owed)

    def reset(self) -> None:
        """The shared state knows everything again."""
        self._due_us.clear()
        self._allowance_usd.clear()
        self._ledger.close()
        self._ledger = SqliteState(hold_s=_HOLD_S)

    async def remember(self, session: str, answer: LastAnswer, now_s: float, key_id: str) -> None:
        """Store who answered a conversation, in memory."""
        await self._conversations.remember(session, answer, now_s, key_id)

    async def last_answer(self, session: str, now_s: float, key_id: str) -> LastAnswer:
        """Who answered the conversation here last. Raises StateError where that is not known: another gateway may know
        it.
        """
        last = await self._conversations.last_answer(session, now_s, key_id)
        if last is None:
            raise StateError(UNAVAILABLE)
        return last

    def maintain(self, now_s: float) -> None:
        """Forget old conversations."""
        self._conversations.maintain_once(now_s)

    def close(self) -> None:
        """Free the memory."""
        self._ledger.close()
        self._conversations.close()
