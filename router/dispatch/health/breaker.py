"""A circuit breaker: closed, open for the time of a cooldown, then probed by one call."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from router.formats.quantities import Seconds

MAX_COOLDOWN_S = 300.0
_MAX_DOUBLINGS = 5
# A probe that takes longer no longer keeps others from probing: a long answer, or a client that reads slowly.
_PROBE_S = 10.0
# Where nothing else can be called, a server that cools down is probed more often: after one second, two, four …
_MAX_TRICKLE_S = 10.0


class Cooldown(Struct, frozen=True, forbid_unknown_fields=True, rename={"window_s": "window", "time_s": "time"}):
    """After `failures` consecutive failures, each within `window_s` of the one before, a deployment cools down for
    `time_s`. Then one call probes it; another failure doubles the cooldown.

    At most `share` of the deployments of a card, and of all, cool down at once for keys whose own requests did not
    fail there, but always one may.
    """

    failures: Annotated[int, Meta(ge=1, le=1_000_000)] = 3
    # Factories, because msgspec cannot write a quantity's default into a JSON Schema.
    window_s: Seconds = msgspec.field(default_factory=lambda: Seconds(30))
    time_s: Seconds = msgspec.field(default_factory=lambda: Seconds(30))
    share: Annotated[float, Meta(ge=0, le=1)] = 0.5


class Breaker:
    """One breaker. Calls are numbered in the order in which they begin: what began before the present cooldown shows
    nothing that its start did not, so it neither extends nor ends it. Times are in seconds of one monotonic clock.
    """

    def __init__(self) -> None:
        self.level = 0
        self.until_s = 0.0
        # It names the provider: a refused key or connection.
        self.is_certain = False
        self._last_number = 0
        self._failures: dict[str, int] = {}
        self._last_failure_s = 0.0
        self._probe, self._probe_s = 0, 0.0
        self._is_answering = False
        self._trickle, self._next_trickle_s = 0, 0.0

    @property
    def is_idle(self) -> bool:
        """Whether there is neither a cooldown nor a failure."""
        return not self.level and not self._failures

    def wait_s(self, now_s: float) -> float:
        """The seconds until a call may begin; 0 where it may now."""
        if not self.level:
            return 0.0
        if now_s < self.until_s:
            return self.until_s - now_s
        return 1.0 if self.is_probed(now_s) else 0.0

    def is_probed(self, now_s: float) -> bool:
        """Whether a probe is running, whose outcome others should wait for."""
        return bool(self._probe) and now_s < self._probe_s + _PROBE_S

    def trickle_wait_s(self, now_s: float) -> float:
        """The seconds until a call may probe a cooldown that has not ended, where nothing else can be called."""
        return max(self._next_trickle_s - now_s, 0.0) if self.level else 0.0

    def begin(self, number: int, now_s: float) -> None:
        """Begin the call `number`, which is a probe if there is a cooldown, even one that has not ended."""
        if self.level and not self._is_answering:
            self._probe, self._probe_s = number, now_s

    def end(self, number: int) -> None:
        """End the call `number`. The probe of another call remains."""
        if self._probe == number:
            self._probe = 0

    def answer(self, number: int) -> None:
        """Take in that the call `number` is being answered: others need not wait for the end of this probe."""
        if self._probe == number:
            self._probe = 0
            self.until_s = self._next_trickle_s = 0.0
            self._is_answering = True

    def succeed(self, number: int) -> None:
        """Take in a success, which ends the cooldown."""
        if number <= self._last_number and self.is_certain:
            # For example a stream that began before the key was revoked.
            return
        if not self.is_idle:
            self.forget()

    def forget(self) -> None:
        """End the cooldown, and count failures anew."""
        self.level, self.until_s = 0, 0.0
        self.is_certain = self._is_answering = False
        self._failures.clear()
        self._probe = self._trickle = 0
        self._next_trickle_s = 0.0

    def count(self, rule: Cooldown, key: str, number: int, now_s: float, *, keys: int = 1, lasts: bool = False) -> bool:
        """Count a failure of the call `number` of `key`. Returns whether a cooldown should start: another one after a
        probe, or the first after `rule.failures` failures of at least `keys` keys. One that `lasts` counts as so many.
        """
        if number <= self._last_number:
            return False
        if self.level:
            return True
        if now_s - self._last_failure_s > rule.window_s:
            self._failures.clear()
        self._last_failure_s = now_s
        self._failures[key] = self._failures.get(key, 0) + (rule.failures if lasts else 1)
        return len(self._failures) >= keys and sum(self._failures.values()) >= rule.failures

    def open(
        self, rule: Cooldown, number: int, last: int, now_s: float, *, spare_s: float = 0.0, certain: bool = False
    ) -> None:
        """Start a cooldown, twice as long as the one before, and longer by `spare_s`. `number` is that of the call that
        failed, `last` that of the call that began last. `certain`: it concerns all requests.
        """
        if number <= self._last_number:
            return
        time_s = min(rule.time_s * 2 ** min(self.level, _MAX_DOUBLINGS), MAX_COOLDOWN_S) + spare_s
        if self.level or spare_s:
            self._trickle += 1
            self._next_trickle_s = now_s + min(2.0 ** (self._trickle - 1), _MAX_TRICKLE_S) + min(spare_s, 1.0)
        self.level += 1
        self.is_certain, self._is_answering = certain, False
        self.until_s = max(self.until_s, now_s + time_s)
        self._last_number = last
        self._failures.clear()
        if self._probe <= last:
            self._probe = 0
