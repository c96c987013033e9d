"""The state of one deployment: running calls, rate limits, cooldowns after failures, for all keys and for each.

A client chooses what it sends, and so which errors its requests cause. Failures therefore count for the key that met
them; for others only where the error names the provider, or where requests of two keys met it.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from router.cards.servers import RateLimits
from router.dispatch.health.breaker import MAX_COOLDOWN_S, Breaker, Cooldown
from router.dispatch.health.evidence import Evidence

_MINUTE_S = 60.0
# More keys than this at one deployment are rare; those without any failure now are forgotten.
_MAX_KEYS = 1000


class Ticket(Struct, frozen=True):
    """One call at a deployment: `number` counts the calls there from 1, `key` is the id of the client's key.

    `latest` is the number of its last attempt; 0 where there was one only.
    """

    number: int
    key: str = ""
    latest: int = 0


class Unready(Struct, frozen=True):
    """Why a deployment should not be called now, and in how many seconds it can be.

    `cooling_down`: it failed. `rate_limited`: its server sent `Retry-After`, or a limit per minute is reached.
    `at_capacity`: its limit of concurrent calls is reached.
    """

    kind: Literal["cooling_down", "rate_limited", "at_capacity"]
    seconds: float


class _Scope:
    """The breaker of one key, or of all, and until when the server asked not to be called."""

    def __init__(self) -> None:
        self.breaker = Breaker()
        self.paused_until_s = 0.0
        # The pause was met by several keys, while the error did not say that it concerns all.
        self.is_inferred = False


class Health:
    """The state of one deployment. All times are in seconds of one monotonic clock.

    `may_share` says whether the deployment may cool down for keys that did not fail themselves: false where too many do
    already.
    """

    def __init__(self, may_share: Callable[[], bool] = lambda: True) -> None:
        self.running = 0
        self.begun_s = 0.0
        self._may_share = may_share
        self._number = 0
        self._all = _Scope()
        self._keys: dict[str, _Scope] = {}
        # Whether anything may be known against the deployment: else nobody's breaker or pause has to be asked.
        self._is_suspect = False
        # Whether the last call succeeded: of each key, and of those keys of which nothing is known.
        self._works_for: dict[str, bool] = {}
        self._works: bool | None = None
        self._started: collections.deque[float] = collections.deque()
        self._spent: collections.deque[tuple[float, int]] = collections.deque()

    def unready(self, limits: RateLimits, now_s: float, key: str = "") -> Unready | None:
        """Why calls of the key should not begin now; None where they can."""
        if self._is_suspect:
            scopes = self._scopes(key)
            paused_until_s = max(scope.paused_until_s for scope in scopes)
            if now_s < paused_until_s:
                return Unready("rate_limited", paused_until_s - now_s)
            cooling_s = max(scope.breaker.wait_s(now_s) for scope in scopes)
            if cooling_s > 0:
                return Unready("cooling_down", cooling_s)
        if limits.concurrency is not None and self.running >= limits.concurrency:
            return Unready("at_capacity", 1.0)
        if limits.rpm is None and limits.tpm is None:
            return None
        wait_s = max(self._request_wait_s(limits.rpm, now_s), self._token_wait_s(limits.tpm, now_s))
        return Unready("rate_limited", wait_s) if wait_s > 0 else None

    def works(self, key: str = "") -> bool | None:
        """Whether the key's last call succeeded, or that of another one where it made none; None if unknown."""
        return self._works_for.get(key, self._works)

    def is_well(self, now_s: float) -> bool:
        """Whether nothing is known against the deployment, for any key."""
        return not self._keys and self._all.breaker.is_idle and now_s >= self._all.paused_until_s

    def is_shared_out(self, now_s: float) -> bool:
        """Whether the deployment is closed to keys without a failure of their own, by evidence that a client could
        forge.
        """
        everyone = self._all
        is_open = everyone.breaker.wait_s(now_s) > 0 and not everyone.breaker.is_certain
        return is_open or (everyone.is_inferred and now_s < everyone.paused_until_s)

    def is_probed(self, now_s: float, key: str = "") -> bool:
        """Whether a call probes the deployment now, for all or for this key."""
        own = self._keys.get(key)
        return self._all.breaker.is_probed(now_s) or (own is not None and own.breaker.is_probed(now_s))

    def trickle_wait_s(self, now_s: float, key: str = "") -> float:
        """See `Breaker.trickle_wait_s`."""
        own = self._keys.get(key)
        of_key_s = 0.0 if own is None else own.breaker.trickle_wait_s(now_s)
        return max(self._all.breaker.trickle_wait_s(now_s), of_key_s)

    def begin(self, limits: RateLimits, now_s: float, key: str = "") -> Ticket:
        """Count the start of a call."""
        self.running += 1
        self.begun_s = now_s
        self._number += 1
        self._count_start(limits, now_s)
        if self._is_suspect:
            for scope in self._scopes(key):
                scope.breaker.begin(self._number, now_s)
        return Ticket(self._number, key)

    def retry(self, limits: RateLimits, ticket: Ticket, now_s: float) -> Ticket:
        """Count another attempt of a call that is running. Its failure shows no more than the first one did, but its
        success shows that the deployment works.
        """
        self._count_start(limits, now_s)
        self._number += 1
        return Ticket(ticket.number, ticket.key, self._number)

    def end(self, ticket: Ticket) -> None:
        """Count the end of a call, whatever its outcome."""
        self.running -= 1
        if self._is_suspect:
            for scope in self._scopes(ticket.key):
                scope.breaker.end(ticket.number)

    def spend(self, limits: RateLimits, tokens: int, now_s: float) -> None:
        """Count tokens against the limit per minute."""
        if limits.tpm is not None:
            self._spent.append((now_s, tokens))

    def record_answer(self, ticket: Ticket) -> None:
        """Record that the answer of a call has begun."""
        if self._is_suspect:
            for scope in self._scopes(ticket.key):
                scope.breaker.answer(ticket.number)

    def record_success(self, ticket: Ticket, now_s: float) -> None:
        """Record a successful response: end any cooldown of the key, and of all."""
        self._works = True
        self._works_for.pop(ticket.key, None)
        if not self._is_suspect:
            return
        for scope in self._scopes(ticket.key):
            scope.breaker.succeed(max(ticket.number, ticket.latest))
        own = self._keys.get(ticket.key)
        if own is not None and own.breaker.is_idle and now_s >= own.paused_until_s:
            del self._keys[ticket.key]
        self._is_suspect = not self.is_well(now_s)

    def forget_failures(self) -> None:
        """End every cooldown: the server was gone, and is back."""
        for scope in (self._all, *self._keys.values()):
            scope.breaker.forget()
            scope.paused_until_s = 0.0
        self._keys = {key: scope for key, scope in self._keys.items() if not scope.breaker.is_idle}
        self._works, self._works_for = None, {}

    def record(self, ticket: Ticket, evidence: Evidence, rule: Cooldown, now_s: float) -> None:
        """Record a failure. It may start a cooldown or a pause, and never shortens one."""
        if evidence.health == "unchanged":
            return
        self._is_suspect = True
        if len(self._works_for) >= _MAX_KEYS:
            self._works_for.clear()
        self._works_for[ticket.key] = False
        if evidence.blame == "provider":
            self._works = False
        if evidence.health != "failure" and evidence.pause_s is not None:
            self._pause(ticket, evidence, evidence.pause_s, now_s)
            return
        everyone, number, last = self._all.breaker, ticket.number, self._number
        if evidence.blame == "provider":
            everyone.open(rule, number, last, now_s, certain=True)
            return
        lasts = evidence.health == "cooldown"
        spare_s = 0.0
        if evidence.blame == "server" and everyone.count(rule, ticket.key, number, now_s, keys=2, lasts=lasts):
            is_probe = everyone.level > 0
            if is_probe or self._may_share():
                everyone.open(rule, number, last, now_s)
                # The next probe is left to another key, in case this key's requests are the cause.
                spare_s = everyone.until_s - now_s if is_probe else 0.0
        own = self._of_key(ticket.key, now_s).breaker
        if own.count(rule, ticket.key, number, now_s, lasts=lasts) or spare_s:
            own.open(rule, number, last, now_s, spare_s=spare_s)

    def _pause(self, ticket: Ticket, evidence: Evidence, seconds: float, now_s: float) -> None:
        until_s = now_s + min(seconds, MAX_COOLDOWN_S)
        own, everyone = self._of_key(ticket.key, now_s), self._all
        own.paused_until_s = max(own.paused_until_s, until_s)
        if evidence.blame != "provider":
            others = (scope for key, scope in self._keys.items() if key != ticket.key)
            is_met_by_two = evidence.blame == "server" and any(now_s < other.paused_until_s for other in others)
            if not is_met_by_two or not self._may_share():
                return
        everyone.is_inferred = evidence.blame != "provider" and (
            everyone.is_inferred or now_s >= everyone.paused_until_s
        )
        everyone.paused_until_s = max(everyone.paused_until_s, until_s)

    def _count_start(self, limits: RateLimits, now_s: float) -> None:
        if limits.rpm is not None:
            self._started.append(now_s)

    def _scopes(self, key: str) -> tuple[_Scope, ...]:
        own = self._keys.get(key)
        return (self._all,) if own is None else (self._all, own)

    def _of_key(self, key: str, now_s: float) -> _Scope:
        scope = self._keys.get(key)
        if scope is None:
            if len(self._keys) >= _MAX_KEYS:
                self._forget(now_s)
            scope = self._keys[key] = _Scope()
        return scope

    def _forget(self, now_s: float) -> None:
        """Forget the keys whose cooldowns and pauses have ended."""
        kept = {
            key: scope
            for key, scope in self._keys.items()
            if now_s < scope.paused_until_s or now_s < scope.breaker.until_s
        }
        self._keys = kept

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
