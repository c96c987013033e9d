"""The interface of the state that gateway workers share: request rates, spending, and which card answers which chat."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from router.errors import ConfigurationError


class StateError(ConfigurationError):
    """The shared state cannot be read or written now. Clients may see the message, so only the log names the path.

    `denies`: the operator wants the request refused, even where it could do without the state.
    """

    def __init__(self, message: str, *, denies: bool = False) -> None:
        self.denies = denies
        super().__init__(message)


class Claim(Struct, frozen=True):
    """What one request needs of the daily budget of its key, in US dollars.

    `reserved_usd` is set aside while it runs. `likely_usd` is what it costs on average, `worst_usd` at most; without
    them, what is reserved.
    """

    key_id: str
    budget_usd: float
    reserved_usd: float
    likely_usd: float | None = None
    worst_usd: float | None = None


class Reservation(Struct, frozen=True):
    """Part of a key's budget, reserved for one running request.

    `day` is the UTC day (since 1970) whose budget it counts against; `cost_nano` is in 1e-9 US dollars.
    """

    id: int
    key_id: str
    day: int
    cost_nano: int


class LastAnswer(Struct, frozen=True):
    """The card that answered a conversation last, and the name of its server; empty where it is unknown."""

    card: str
    server: str = ""


class TrialCounts(Struct, frozen=True):
    """The trial of the canary `card` in the place of `of`: answers since its beginning, and the bad ones among them.

    `stopped` is why it was rolled back, empty while it runs, and `stopped_s` when, in seconds since 1970, UTC.
    """

    card: str
    of: str
    new: int = 0
    new_bad: int = 0
    old: int = 0
    old_bad: int = 0
    stopped: str = ""
    stopped_s: int | None = None


class RemoteReport(Struct, frozen=True):
    """How a state on another machine does at present.

    `share`: the part of the limits that this process may use without it; None where that is unknown. `denied`: the
    kinds of counters whose requests are refused now. `failures`: calls of it that failed or took too long. `alone`:
    requests that were decided without it. `waiting`: costs that it has not been given yet.
    """

    reachable: bool
    share: float | None
    denied: tuple[str, ...]
    failures: int
    alone: int
    waiting: int


class Blob(Struct, frozen=True):
    """A small piece of state, at most some kilobytes. `version` grows with every change of any of them."""

    name: str
    version: int
    content: bytes


class Conversations(Protocol):
    """Who answered which conversation last. Its methods raise StateError if that cannot be read or written."""

    async def last_answer(self, session: str, now_s: float, key_id: str = "") -> LastAnswer | None:
        """Who last answered this conversation of the key; None if that is not known."""

    async def remember(self, session: str, answer: LastAnswer, now_s: float, key_id: str = "") -> None:
        """Store who answered the conversation."""


class StateStore(Conversations, Protocol):
    """Rate limits, budgets and conversations. Times are in seconds since 1970, UTC; days are UTC days.

    Every method but `maintain` and `close` raises StateError if the state cannot be read or written.
    """

    @property
    def problem(self) -> str | None:
        """Why the state cannot be written at present, as far as known; None while it can."""

    async def take_request(self, key_id: str, rpm: int, now_s: float) -> None:
        """Count one request against the key's limit of `rpm` requests a minute. Raises RateLimitError."""

    async def reserve(self, claim: Claim, now_s: float) -> Reservation:
        """Reserve a part of a key's budget for a request that starts now.

        Where the rest of the day's budget is less than the worst case, the request is accepted if no other one of the
        key runs and its likely cost is left. Raises BudgetError.
        """

    async def settle(self, reservation: Reservation, cost_usd: float) -> None:
        """Replace a reservation by the actual cost of the request. Call it once."""

    async def spent_usd(self, key_id: str, now_s: float) -> float:
        """What the key has spent today, without reservations."""

    async def count_trial(self, trial: tuple[str, str], *, is_new: bool, is_bad: bool, key_id: str = "") -> TrialCounts:
        """Count one answer to a key in the trial of a canary and its predecessor, given by their ids; return the counts
        of all keys.
        """

    async def trial_by_key(self, trial: tuple[str, str]) -> tuple[TrialCounts, ...]:
        """The counts of each key, in no order; `stopped` is empty."""

    async def stop_trial(self, trial: tuple[str, str], why: str, now_s: float) -> bool:
        """Roll a canary back. False where that has been done already."""

    async def restart_trial(self, trial: tuple[str, str]) -> None:
        """Forget the counts of a canary, and that it was rolled back."""

    async def trials(self) -> tuple[TrialCounts, ...]:
        """All trials."""

    async def swap_blob(self, blob: Blob, now_s: float) -> int:
        """Write a blob if its version in the store is `blob.version`, 0 for one that must not exist yet, in one step.

        Returns its new version, greater than that of every other blob; 0 where it has been changed meanwhile, and
        nothing was written. A blob that is not written for 90 days may be deleted.
        """

    async def blobs_after(self, version: int, prefix: str) -> tuple[Blob, ...]:
        """The blobs with a greater version whose names begin with `prefix`, in the order of their versions."""

    async def maintain(self) -> None:
        """Delete old entries from time to time, until cancelled."""

    def close(self) -> None:
        """Close the store."""


async def blob_named(store: StateStore, name: str, after: int = 0) -> Blob | None:
    """The blob of exactly this name, where its version is greater than `after`; else None. Raises StateError."""
    return next((blob for blob in await store.blobs_after(after, name) if blob.name == name), None)


class RemoteState(StateStore, Protocol):
    """A store on another machine, which may not respond while this one does."""

    def report(self) -> RemoteReport:
        """How it does, for operators."""
