"""The stores of the shared state for tests without an event loop: every method waits for its coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from router.errors import BudgetError, RateLimitError
from router.formats.quantities import Seconds
from router.store.state.loss import SharedState
from router.store.state.protocol import Blob, Claim, LastAnswer, Reservation, StateStore, TrialCounts
from router.store.state.redis.store import RedisState
from router.store.state.redis.url import read_url
from router.store.state.sqlite import SqliteState

T = TypeVar("T")
NOW = 1_800_000_000.0 - 1_800_000_000 % 86_400 + 12 * 3600
"""Noon, UTC."""


class State:
    """A store, of which every method waits for its coroutine."""

    store: StateStore

    def wait(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(call)

    def take_request(self, key_id: str, rpm: int, now_s: float) -> None:
        self.wait(self.store.take_request(key_id, rpm, now_s))

    def reserve(self, claim: Claim, now_s: float) -> Reservation:
        return self.wait(self.store.reserve(claim, now_s))

    def settle(self, reservation: Reservation, cost_usd: float) -> None:
        self.wait(self.store.settle(reservation, cost_usd))

    def spent_usd(self, key_id: str, now_s: float) -> float:
        return self.wait(self.store.spent_usd(key_id, now_s))

    def last_answer(self, session: str, now_s: float, key_id: str = "") -> LastAnswer | None:
        return self.wait(self.store.last_answer(session, now_s, key_id))

    def card_of(self, session: str, now_s: float, key_id: str = "") -> str | None:
        last = self.last_answer(session, now_s, key_id)
        return None if last is None else last.card

    def remember(self, session: str, card: str, now_s: float, key_id: str = "", server: str = "") -> None:
        self.wait(self.store.remember(session, LastAnswer(card, server), now_s, key_id))

    def count_trial(self, trial: tuple[str, str], *, is_new: bool, is_bad: bool, key_id: str = "") -> TrialCounts:
        return self.wait(self.store.count_trial(trial, is_new=is_new, is_bad=is_bad, key_id=key_id))

    def trial_by_key(self, trial: tuple[str, str]) -> tuple[TrialCounts, ...]:
        return self.wait(self.store.trial_by_key(trial))

    def stop_trial(self, trial: tuple[str, str], why: str, now_s: float) -> bool:
        return self.wait(self.store.stop_trial(trial, why, now_s))

    def restart_trial(self, trial: tuple[str, str]) -> None:
        self.wait(self.store.restart_trial(trial))

    def trials(self) -> tuple[TrialCounts, ...]:
        return self.wait(self.store.trials())

    def swap_blob(self, name: str, version: int, content: bytes, now_s: float = 1.0) -> int:
        return self.wait(self.store.swap_blob(Blob(name, version, content), now_s))

    def blobs_after(self, version: int, prefix: str = "") -> tuple[Blob, ...]:
        return self.wait(self.store.blobs_after(version, prefix))

    def maintain_once(self, now_s: float) -> None:
        """Book the reservations of the key `ci` that have expired."""
        raise NotImplementedError

    def renew(self, now_s: float) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.store.close()


class Sqlite(State):
    def __init__(self, file: Path | None = None, **options: Any) -> None:
        self.store: SqliteState = SqliteState(file, **options)

    def maintain_once(self, now_s: float | None = None) -> None:
        self.store.maintain_once(now_s)

    def renew(self, now_s: float) -> None:
        self.store.renew(now_s)


class Redis(State):
    """One event loop for all calls, since connections belong to a loop."""

    def __init__(self, url: str, hold_s: float = 30.0) -> None:
        self._runner, self._closed = asyncio.Runner(), False
        self.store: RedisState = RedisState(read_url(url), hold_s=hold_s, rules=lambda: PATIENT)

    def wait(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def maintain_once(self, now_s: float) -> None:
        self.spent_usd("ci", now_s)

    def renew(self, now_s: float) -> None:
        self.wait(self.store.renew(now_s))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.wait(self.store.aclose())
            self._runner.close()


PATIENT = SharedState(timeout_s=Seconds(10))
"""A shared machine may be slow."""
Open = Callable[..., State]
"""Opens a new store, or another client of the store that has the name in its first argument."""


def is_taken(state: State, rpm: int, now_s: float, key: str = "ci") -> bool:
    try:
        state.take_request(key, rpm, now_s)
    except RateLimitError:
        return False
    return True


def is_granted(state: State, budget_usd: float, cost_usd: float, now_s: float = NOW) -> bool:
    try:
        state.reserve(Claim("ci", budget_usd, cost_usd), now_s)
    except BudgetError:
        return False
    return True
