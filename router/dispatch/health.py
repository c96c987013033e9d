"""The state of one deployment: running calls, rate limits, cooldown after failures."""

from __future__ import annotations

import collections
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from router.cards.servers import RateLimits
from router.formats.quantities import Seconds

_MINUTE_S = 60.0
_MAX_COOLDOWN_S = 300.0
_MAX_DOUBLINGS = 5


class Cooldown(Struct, frozen=True, forbid_unknown_fields=True, rename={"window_s": "window", "time_s": "time"}):
    """After `failures` consecutive failures, each within `window_s` of the one before, a deployment cools down for
    `time_s`. Then one call probes it; another failure doubles the cooldown.
    """

    failures: Annotated[int, Meta(ge=1, le=1_000_000)] = 3
    # Factories, because msgspec cannot write a quantity's default into a JSON Schema.
    window_s: Seconds = msgspec.field(default_factory=lambda: Seconds(30))
    time_s: Seconds = msgspec.field(default_factory=lambda: Seconds(30))


class Unready(Struct, frozen=True):
    """Why a deployment should not be called now, and in how many seconds it can be.

    `cooling_down`: it failed. `rate_limited`: its server sent `Retry-After`, or a limit per minute is reached.
    `at_capacity`: its limit of concurrent calls is reached.
    """

    kind: Literal["cooling_down", "rate_limited", "at_capacity"]
    seconds: float


class Health:
    """The state of one deployment. All times are in seconds of one monotonic clock. `works`: whether its last call
    succeeded, None before that is known.
    """

    def __init__(self) -> None:
        self.running = 0
        self.works: bool | None = None
        self.begun_s = 0.0
        self._failures = 0
        self._cooldowns = 0
        self._last_failure_s = 0.0
        self._cooling_until_s = 0.0
        self._limited_until_s = 0.0
        self._probing = False
        self._started: collections.deque[float] = collections.deque()
        self._spent: collections.deque[tuple[float, int]] = collections.deque()

    def unready(self, limits: RateLimits, now_s: float) -> Unready | None:
        """Why the deployment should not be called now; None where it can be called."""
        if now_s < self._limited_until_s:
            return Unready("rate_limited", self._limited_until_s - now_s)
        if now_s < self._cooling_until_s:
            return Unready("cooling_down", self._cooling_until_s - now_s)
        if self._cooldowns and self._probing:
            return Unready("cooling_down", 1.0)
        if limits.concurrency is not None and self.running >= limits.concurrency:
            return Unready("at_capacity", 1.0)
        wait_s = max(self._request_wait_s(limits.rpm, now_s), self._token_wait_s(limits.tpm, now_s))
        return Unready("rate_limited", wait_s) if wait_s > 0 else None

    def begin(self, limits: RateLimits, now_s: float) -> None:
        """Count the start of a call."""
        self.running += 1
        self.begun_s = now_s
        self.retry(limits, now_s)

    def retry(self, limits: RateLimits, now_s: float) -> None:
        """Count another attempt of a call that is running."""
        self._probing = self._cooldowns > 0
        if limits.rpm is not None:
            self._started.append(now_s)

    def end(self) -> None:
        """Count the end of a call, whatever its outcome."""
        self.running -= 1
        self._probing = False

    def spend(self, limits: RateLimits, tokens: int, now_s: float) -> None:
        """Count tokens against the limit per minute."""
        if limits.tpm is not None:
            self._spent.append((now_s, tokens))

    def record_success(self) -> None:
        """Record a successful response: end any cooldown."""
        self.works = True
        self._failures = self._cooldowns = 0
        self._cooling_until_s = 0.0

    def record_failure(self, cooldown: Cooldown, now_s: float, *, lasts: bool = False) -> None:
        """Record a failure. It may start a cooldown, and never shortens one. A failure that `lasts`, such as that of a
        refused key, starts one at once.
        """
        self.works = False
        if now_s - self._last_failure_s > cooldown.window_s:
            self._failures = 0
        self._failures += 1
        self._last_failure_s = now_s
        if lasts or self._cooldowns or self._failures >= cooldown.failures:
            cooldown_s = min(cooldown.time_s * 2 ** min(self._cooldowns, _MAX_DOUBLINGS), _MAX_COOLDOWN_S)
            self._cooldowns += 1
            self._failures = 0
            self._cooling_until_s = max(self._cooling_until_s, now_s + cooldown_s)

    def back_off(self, seconds: float, now_s: float) -> None:
        """Call the deployment no more for this many seconds, as its server asked by `Retry-After`."""
        self.works = False
        self._limited_until_s = max(self._limited_until_s, now_s + min(seconds, _MAX_COOLDOWN_S))

    def _request_wait_s(self, rpm: int | None, now_s: float) -> float:
        while self._started and self._started[0] <= now_s - _MINUTE_S:
            self._started.popleft()
        if rpm is None or len(self._started) < rpm:
            return 0.0
        return self._started[len(self._started) - rpm] + _MINUTE_S - now_s

    def _token_wait_s(self, tpm: int | None, now_s: float) -> float:
        while self._spent and self._spent[0][0] <= now_s - _MINUTE_S:
            self._spent.popleft()
        if tpm is None:
            return 0.0
        excess = sum(tokens for _, tokens in self._spent) - tpm
        if excess < 0:
            return 0.0
        for at_s, tokens in self._spent:
            excess -= tokens
            if excess < 0:
                return at_s + _MINUTE_S - now_s
        return 0.0
