"""The budget of repeated calls: when upstreams fail, clients' requests are not multiplied into a storm of calls."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from router.formats.quantities import Seconds

# So many budgets are kept before those that have nothing to remember are forgotten.
_MOST_KEPT = 1024

Standing = Literal["works", "failing", "untried", "unknown"]
"""What is known of a deployment: its last call succeeded, or failed; there was none; or the first ones are running."""


class RetryLimits(Struct, frozen=True, forbid_unknown_fields=True, rename={"window_s": "window"}):
    """Within `window_s`, the repeated calls of a key may fail `share` times as often as it sends requests, and `least`
    times besides.
    """

    share: Annotated[float, Meta(ge=0, le=10)] = 0.2
    least: Annotated[int, Meta(ge=0, le=1_000_000)] = 10
    # A factory, because msgspec cannot write a quantity's default into a JSON Schema.
    window_s: Seconds = msgspec.field(default_factory=lambda: Seconds(10))


class Paid:
    """A call that may be made: a block ends it, where it counts. `failed` says what it came to; a call that is
    cancelled counts as failed.
    """

    __slots__ = ("_budget", "_is_unproven", "failed")

    def __init__(self, budget: _KeyBudget | None = None, *, is_unproven: bool = False) -> None:
        self.failed = True
        self._budget, self._is_unproven = budget, is_unproven

    def __enter__(self) -> Paid:
        return self

    def __exit__(self, *_: object) -> None:
        if self._budget is not None:
            self._budget.running -= self._is_unproven
            self._budget.end(failed=self.failed)


class RetryBudget:
    """The budgets of all keys. Use it on one event loop; `limits` may be changed at any time.

    A repeated call is one beyond the first of its request, at the same deployment or another. Those that succeed cost
    nothing, so a fallback that works serves every request. Those to a deployment that is not known to work are made
    only while the budget could pay for the failure of all of them, except for the very first one.
    """

    def __init__(self, limits: RetryLimits) -> None:
        self.limits = limits
        self._of_key: dict[str, _KeyBudget] = {}
        self._most = _MOST_KEPT

    def first(self, key: str) -> Paid:
        """A permit for the first call for a request of `key`, to be entered at once."""
        self._of(key).count_request()
        return Paid()

    async def repeated(self, key: str, standing: Callable[[], Standing]) -> Paid | None:
        """A permit for another call for a request of `key`, to be entered at once; None where the budget does not allow
        it.

        `standing` is that of the deployment now. While calls run to deployments that are not known to work, this waits
        for what they show.
        """
        budget = self._of(key)
        while (known := standing()) not in ("works", "untried") and not budget.has_rest(self.limits):
            if not budget.running:
                return None
            await budget.changed()
        is_unproven = known != "works"
        budget.running += is_unproven
        return Paid(budget, is_unproven=is_unproven)

    def _of(self, key: str) -> _KeyBudget:
        budget = self._of_key.get(key)
        if budget is None or budget.window_s != self.limits.window_s:
            if len(self._of_key) >= self._most:
                self._forget_unused()
            budget = self._of_key[key] = _KeyBudget(self.limits.window_s)
        return budget

    def _forget_unused(self) -> None:
        self._of_key = {key: budget for key, budget in self._of_key.items() if budget.is_used}
        # Where most are in use, the next look comes only after twice as many.
        self._most = max(_MOST_KEPT, 2 * len(self._of_key))


class _KeyBudget:
    """What one key has sent and repeated within the window."""

    def __init__(self, window_s: float) -> None:
        self.window_s, self.running = window_s, 0
        self._requests: collections.deque[float] = collections.deque()
        self._failed: collections.deque[float] = collections.deque()
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def is_used(self) -> bool:
        """Whether a call runs or waits, or the window has any."""
        self._forget(time.monotonic())
        return bool(self.running or self._waiting or self._requests or self._failed)

    def count_request(self) -> None:
        """Count a request, which allows some more failures."""
        now_s = time.monotonic()
        self._forget(now_s)
        self._requests.append(now_s)

    def has_rest(self, limits: RetryLimits) -> bool:
        """Whether one more call could fail, even if all that are running do."""
        self._forget(time.monotonic())
        return len(self._failed) + self.running + 1 <= limits.least + limits.share * len(self._requests)

    def end(self, *, failed: bool) -> None:
        """Count a repeated call that has ended."""
        if failed:
            self._failed.append(time.monotonic())
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def changed(self) -> None:
        """Wait until a running call ends."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    def _forget(self, now_s: float) -> None:
        for times in (self._requests, self._failed):
            while times and times[0] <= now_s - self.window_s:
                times.popleft()
