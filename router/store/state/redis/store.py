"""The state that several gateways share, in Redis or Valkey: request rates, spending, conversations, canary trials."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import math
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Struct

from router.store.state.limits import DAY_S, NANO, Amounts, amounts_of, budget_rejection, digest, nano, rate_rejection
from router.store.state.limits import step_us as step_of
from router.store.state.loss import SharedState
from router.store.state.protocol import Blob, Claim, LastAnswer, RemoteReport, Reservation, StateError, TrialCounts
from router.store.state.redis import scripts, trials
from router.store.state.redis.alone import Alone, Held
from router.store.state.redis.blobs import Blobs
from router.store.state.redis.connection import UNAVAILABLE, LostError, RedisConnection
from router.store.state.redis.scripts import Script
from router.store.state.redis.url import RedisUrl

_LOG = logging.getLogger(__name__)
_MAINTAIN_EVERY_S = 5.0
_PRUNE_EVERY = 12
_MEMBER_S = 20
_MAX_KNOWN = 10_000
_MAX_LATE_SESSIONS = 4096
_CLOSE_S = 2.0
Kind = Literal["rate_limits", "budgets", "conversations"]


class _Late(Struct, frozen=True):
    """A change that could not be made yet. It has no further effect where it was made after all."""

    script: Script
    keys: tuple[str, ...]
    arguments: tuple[object, ...]


class RedisState:
    """The `StateStore` of many gateways. Use it on one event loop; `close` may be called from another thread.

    Each call has a time limit. While the server does not respond, `rules()` says for each kind of counter whether this
    process continues with its part of the limits or raises StateError; costs are reported when the server is back.
    `workers` is the number of processes of each gateway. A reservation that is neither renewed, as `maintain` does it,
    nor settled is spent after `hold_s`.

    The clocks of the gateways must agree to some seconds.
    """

    def __init__(
        self,
        url: RedisUrl,
        *,
        hold_s: float,
        rules: Callable[[], SharedState] = SharedState,
        workers: int = 1,
        session_age_s: float = 86_400.0,
    ) -> None:
        """Raises MissingExtraError. Connects with the first call."""
        self._prefix, self._hold_s, self._rules, self._workers = url.prefix, hold_s, rules, workers
        self._session_age_s = session_age_s
        self._connection = RedisConnection(url, lambda: self._rules().timeout_s, self._recover)
        self._blobs = Blobs(self._connection, f"{self._prefix}:{{blobs}}")
        self._alone = Alone()
        self._id = secrets.token_hex(8)
        # How many processes share the state, when it was last asked.
        self._members: int | None = None
        self._running: dict[int, Held] = {}
        # What each key had spent on which day, as the server reported it last.
        self._known: dict[str, tuple[int, int]] = {}
        self._late: collections.deque[_Late] = collections.deque()
        self._late_sessions: dict[tuple[str, str], _Late] = {}

    @property
    def problem(self) -> str | None:
        """Which limits cannot be kept at present; None while all can, if only by a part of them."""
        denied = [kind for kind in self._denied() if kind != "conversations"]
        return f"the shared state does not respond; refused meanwhile: {', '.join(denied)}" if denied else None

    def report(self) -> RemoteReport:
        """How the server does, for operators."""
        return RemoteReport(
            reachable=not self._connection.is_lost,
            share=self._share(),
            denied=self._denied(),
            failures=self._connection.failures,
            alone=self._alone.decided,
            waiting=len(self._late) + len(self._alone.open),
        )

    async def take_request(self, key_id: str, rpm: int, now_s: float) -> None:
        """Count one request. A key may send a burst of `rpm` requests, and then one every `60 / rpm` seconds.

        Raises RateLimitError with the seconds until the next request is allowed; rejected requests do not count.
        """
        try:
            wait_us = await self._connection.run(
                scripts.TAKE, (self._key(key_id, "pace"),), round(now_s * 1e6), step_of(rpm)
            )
        except LostError:
            self._alone.take_request(key_id, rpm, self._share_of("rate_limits"), now_s)
            return
        if int(wait_us):
            raise rate_rejection(key_id, rpm, int(wait_us) / 1e6)

    async def reserve(self, claim: Claim, now_s: float) -> Reservation:
        """Reserve a part of a key's budget for a request that starts now. See `StateStore.reserve`.

        A UTC day's spending exceeds the budget by the worst case of one request at most. Raises BudgetError.
        """
        amounts = amounts_of(claim, now_s)
        held = Held(Reservation(secrets.randbits(62), claim.key_id, amounts.day, amounts.cost), amounts.worst)
        try:
            reply = await self._reserve(self._connection.run, held, amounts, now_s)
        except LostError as error:
            if error.was_sent:
                self._undo(held.reservation)
            return await self._reserve_alone(claim, amounts, now_s)
        except asyncio.CancelledError:
            self._undo(held.reservation)
            raise
        is_granted, spent, reserved = int(reply[0]), int(reply[1]), int(reply[2])
        self._know(claim.key_id, amounts.day, spent)
        if not is_granted:
            raise budget_rejection(claim, amounts, spent, reserved, now_s, self._wait_s(claim.key_id, reply[3], now_s))
        self._running[held.reservation.id] = msgspec.structs.replace(held, epoch=reply[3].decode())
        return held.reservation

    async def settle(self, reservation: Reservation, cost_usd: float) -> None:
        """Replace the reservation by the actual cost of the request, which may be 0. Call it once.

        Where the server does not respond, that is done later.
        """
        if reservation.id in self._alone.open:
            await self._alone.settle(reservation, cost_usd)
            with contextlib.suppress(LostError):
                await self._report_costs(self._connection.run)
            return
        held = self._running.pop(reservation.id, None)
        late = self._settlement(reservation, nano(cost_usd), epoch="" if held is None else held.epoch)
        try:
            await self._connection.run(late.script, late.keys, *late.arguments)
        except (LostError, asyncio.CancelledError) as error:
            self._late.append(late)
            if isinstance(error, asyncio.CancelledError):
                raise

    async def spent_usd(self, key_id: str, now_s: float) -> float:
        """What the key has spent today (UTC), without reservations. Spending is counted for keys with a budget only."""
        day = int(now_s // DAY_S)
        spent = int(await self._connection.run(scripts.SPENT, self._budget(key_id), day, now_s))
        self._know(key_id, day, spent)
        return spent / NANO

    async def last_answer(self, session: str, now_s: float, key_id: str = "") -> LastAnswer | None:
        """Who last answered this conversation of the key; None if that is not known."""
        try:
            stored = await self._connection.command("GET", self._conversation(session, key_id))
        except LostError:
            self._share_of("conversations")
            return await self._alone.last_answer(session, now_s, key_id)
        if stored is None:
            return None
        seen_s, card, server = stored.decode().split("\0")
        return LastAnswer(card, server) if int(seen_s) > math.floor(now_s - self._session_age_s) else None

    async def remember(self, session: str, answer: LastAnswer, now_s: float, key_id: str = "") -> None:
        """Store who answered the conversation. The session name is stored as a hash only."""
        await self._alone.remember(session, answer, now_s, key_id)
        place = key_id, session
        name, seen_s, value, expires_s = self._remembered(session, answer, now_s, key_id)
        try:
            await self._connection.command("SET", name, value, "EXAT", expires_s)
        except LostError:
            if place in self._late_sessions or len(self._late_sessions) < _MAX_LATE_SESSIONS:
                self._late_sessions[place] = _Late(scripts.REMEMBER, (name,), (seen_s, value, expires_s))
        else:
            # What waits is older.
            self._late_sessions.pop(place, None)

    async def count_trial(self, trial: tuple[str, str], *, is_new: bool, is_bad: bool, key_id: str = "") -> TrialCounts:
        """Count one answer of the canary or its predecessor."""
        return await trials.count(self._connection, self._trials, trial, is_new=is_new, is_bad=is_bad, key_id=key_id)

    async def trial_by_key(self, trial: tuple[str, str]) -> tuple[TrialCounts, ...]:
        """The counts of each key."""
        return await trials.by_key(self._connection, self._trials, trial)

    async def stop_trial(self, trial: tuple[str, str], why: str, now_s: float) -> bool:
        """Roll a canary back. False where that has been done already."""
        return await trials.stop(self._connection, self._trials, trial, why, now_s)

    async def restart_trial(self, trial: tuple[str, str]) -> None:
        """Forget the counts of a canary, and that it was rolled back."""
        await trials.forget(self._connection, self._trials, trial)

    async def trials(self) -> tuple[TrialCounts, ...]:
        """All trials, by the ids of their cards."""
        return await trials.all_trials(self._connection, self._trials)

    async def swap_blob(self, blob: Blob, now_s: float) -> int:
        """See `StateStore`."""
        return await self._blobs.swap(blob, now_s)

    async def blobs_after(self, version: int, prefix: str) -> tuple[Blob, ...]:
        """See `StateStore`."""
        return await self._blobs.after(version, prefix)

    async def maintain(self, clock: Callable[[], float] = time.time, every_s: float = _MAINTAIN_EVERY_S) -> None:
        """Renew the reservations of running requests and count the processes, until cancelled."""
        runs = 0
        while True:
            with contextlib.suppress(StateError):
                await self.renew(clock())
            runs += 1
            if runs % _PRUNE_EVERY == 0:
                await asyncio.to_thread(self._alone.maintain, clock())
            await asyncio.sleep(every_s)

    async def renew(self, now_s: float) -> None:
        """Keep the reservations of this process's requests from expiring, and learn how many processes there are."""
        self._members = int(await self._connection.run(scripts.JOIN, (self._gateways,), self._id, _MEMBER_S))
        by_key = collections.defaultdict(list)
        for id_, held in self._running.items():
            by_key[held.reservation.key_id].append(id_)
        expires = math.ceil(now_s + self._hold_s)
        for key_id, ids in by_key.items():
            await self._connection.run(scripts.RENEW, self._budget(key_id), expires, *ids)
        await self._report_late()

    async def aclose(self) -> None:
        """Report the costs that wait, if the server responds, and close the connections."""
        if not self._connection.is_lost:
            with contextlib.suppress(StateError):
                await self._report_costs(self._connection.run)
                if self._members is not None:
                    await self._connection.run(scripts.JOIN, (self._gateways,), self._id, 0)
        if unreported := len(self._late) + len(self._alone.open):
            _LOG.warning("the costs of %d requests could not be reported to the shared state", unreported)
        await self._connection.aclose()
        self._alone.close()

    def close(self) -> None:
        """Do `aclose` on the event loop that uses the store, from another thread, within two seconds."""
        loop = self._connection.loop
        if loop is None or not loop.is_running():
            return
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self.aclose(), loop).result(_CLOSE_S)

    def _denied(self) -> tuple[str, ...]:
        if not self._connection.is_lost:
            return ()
        rules, share = self._rules().on_loss, self._share()
        kinds: dict[Kind, str] = {"rate_limits": rules.rate_limits, "budgets": rules.budgets}
        denied = tuple(kind for kind, rule in kinds.items() if rule == "deny" or share is None)
        return (*denied, "conversations") if rules.conversations == "deny" else denied

    def _share(self) -> float | None:
        replicas = self._rules().replicas
        if replicas is not None:
            return 1 / (replicas * self._workers)
        # A process that has not been counted yet is one more.
        return None if self._members is None else 1 / max(self._members, self._workers)

    def _share_of(self, kind: Kind) -> float:
        """This process's part of the limits. Raises StateError where it has none."""
        share = self._share()
        if getattr(self._rules().on_loss, kind) == "deny":
            raise StateError(UNAVAILABLE, denies=True)
        if share is None and kind != "conversations":
            raise StateError(UNAVAILABLE)
        return share or 0.0

    async def _reserve(
        self, run: Callable[..., Coroutine[Any, Any, Any]], held: Held, amounts: Amounts, now_s: float, force: int = 0
    ) -> Any:
        reservation = held.reservation
        return await run(
            scripts.RESERVE,
            self._budget(reservation.key_id),
            reservation.id,
            reservation.day,
            reservation.cost_nano,
            amounts.likely,
            held.worst_nano,
            amounts.budget,
            now_s,
            math.ceil(now_s + self._hold_s),
            force,
            self._known_spent(reservation.key_id, reservation.day),
        )

    async def _reserve_alone(self, claim: Claim, amounts: Amounts, now_s: float) -> Reservation:
        share = self._share_of("budgets")
        return await self._alone.reserve(claim, self._known_spent(claim.key_id, amounts.day), share, now_s)

    def _undo(self, reservation: Reservation) -> None:
        """Nobody knows whether the reservation was made: nobody uses it."""
        self._late.append(self._settlement(reservation, 0, is_undone=True))

    def _settlement(self, reservation: Reservation, cost: int, *, is_undone: bool = False, epoch: str = "") -> _Late:
        known = self._known_spent(reservation.key_id, reservation.day)
        arguments = (reservation.id, cost, int(is_undone), time.time(), epoch, reservation.day, known)
        return _Late(scripts.SETTLE, self._budget(reservation.key_id), arguments)

    async def _recover(self) -> None:
        """Write what the server has missed. Raises LostError."""
        run = self._connection.run_now
        # A server without its data gets the running requests again; for another one they are nothing new.
        for id_, held in tuple(self._running.items()):
            if id_ in self._running:
                await self._adopt(held)
        # Others begin and end meanwhile.
        while self._alone.open or self._alone.owes or self._late:
            for id_, held in tuple(self._alone.open.items()):
                if id_ in self._alone.open:
                    await self._adopt(held)
                    if self._alone.open.pop(id_, None) is None:
                        # It ended meanwhile, and its cost is owed.
                        self._late.append(self._settlement(held.reservation, 0))
            await self._report_costs(run)
        self._alone.reset()

    async def _adopt(self, held: Held) -> None:
        """Let the server know of a request that runs, whatever is left of the budget."""
        reservation = held.reservation
        amounts = Amounts(reservation.day, reservation.cost_nano, 0, held.worst_nano, 0)
        reply = await self._reserve(self._connection.run_now, held, amounts, time.time(), force=1)
        if reservation.id in self._running or reservation.id in self._alone.open:
            self._running[reservation.id] = msgspec.structs.replace(held, epoch=reply[3].decode())

    async def _report_costs(self, run: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        """Report what is owed. Raises LostError."""
        for charge in self._alone.take_charges():
            known = self._known_spent(charge.key_id, charge.day)
            arguments = (charge.id, charge.day, charge.cost_nano, time.time(), known)
            self._late.append(_Late(scripts.CHARGE, self._budget(charge.key_id), arguments))
        while self._late:
            late = self._late.popleft()
            try:
                await run(late.script, late.keys, *late.arguments)
            except (LostError, asyncio.CancelledError):
                self._late.appendleft(late)
                raise

    async def _report_late(self) -> None:
        await self._report_costs(self._connection.run)
        while self._late_sessions:
            place, late = next(iter(self._late_sessions.items()))
            await self._connection.run(late.script, late.keys, *late.arguments)
            # Another answer of the conversation may have become late meanwhile.
            if self._late_sessions.get(place) is late:
                del self._late_sessions[place]

    def _remembered(self, session: str, answer: LastAnswer, now_s: float, key_id: str) -> tuple[str, int, str, int]:
        """The key of a conversation, the time of its answer, the value to store, and when that expires."""
        seen_s = int(now_s)
        value = f"{seen_s}\0{answer.card}\0{answer.server}"
        return self._conversation(session, key_id), seen_s, value, seen_s + math.ceil(self._session_age_s)

    def _know(self, key_id: str, day: int, spent: int) -> None:
        if len(self._known) >= _MAX_KNOWN and key_id not in self._known:
            self._known.clear()
        self._known[key_id] = day, spent

    def _known_spent(self, key_id: str, day: int) -> int:
        known = self._known.get(key_id)
        return known[1] if known is not None and known[0] == day else 0

    def _wait_s(self, key_id: str, first: bytes, now_s: float) -> float:
        """When a running request ends: one of this process at any moment, and that of a killed one when it expires."""
        is_ours = any(held.reservation.key_id == key_id for held in self._running.values())
        return 1.0 if is_ours or not first else max(float(first) - now_s, 1.0)

    def _key(self, key_id: str, name: str) -> str:
        return f"{self._prefix}:{{{quote(key_id, safe='')}}}:{name}"

    def _budget(self, key_id: str) -> tuple[str, ...]:
        return tuple(self._key(key_id, name) for name in ("spend", "held", "expiry", "booked"))

    def _conversation(self, session: str, key_id: str) -> str:
        return f"{self._prefix}:talk:{digest(key_id, session).hex()}"

    @property
    def _trials(self) -> str:
        return f"{self._prefix}:{{trials}}"

    @property
    def _gateways(self) -> str:
        return f"{self._prefix}:gateways"
