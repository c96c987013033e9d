"""The deployments of cards with their health: which one to call next, and which cards to leave out of a decision."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import msgspec
from msgspec import Struct

from router.cards.schema import Card, RateLimits
from router.dispatch.health import Cooldown, Health, Unready
from router.dispatch.queue import RETRY_AFTER_S, QueueLimits, WaitingQueue
from router.errors import BusyError

_NO_LIMITS = RateLimits()


class Deployment(Struct, frozen=True, eq=False):
    """One server of a card. `card` is the card as if this were its only server."""

    name: str
    card: Card

    @property
    def limits(self) -> RateLimits:
        """What the server accepts."""
        return self.card.rate_limits or _NO_LIMITS


def deployments_of(card: Card) -> tuple[Deployment, ...]:
    """The servers of `card`: `small` where it has one, else `small#1`, `small#2` …"""
    if not card.deployments:
        return (Deployment(card.id, card),)
    return tuple(
        Deployment(
            f"{card.id}#{number}",
            msgspec.structs.replace(
                card,
                base_url=place.base_url,
                api_key_env=place.api_key_env,
                rate_limits=place.rate_limits,
                deployments=(),
            ),
        )
        for number, place in enumerate(card.deployments, 1)
    )


class DeploymentPool:
    """The deployments of all cards. Used on one event loop; both settings may be changed at any time."""

    def __init__(self, cooldown: Cooldown, queue_limits: QueueLimits) -> None:
        self.cooldown, self.queue_limits = cooldown, queue_limits
        self._deployments: dict[str, tuple[Card, tuple[Deployment, ...]]] = {}
        self._health: dict[tuple[str, str | None], Health] = {}
        self._failing: dict[str, Card] = {}
        self._queue: WaitingQueue[Deployment] = WaitingQueue(self.end)

    @property
    def waiting(self) -> int:
        """How many calls wait for a deployment that is at capacity."""
        return len(self._queue)

    def cooling_down(self) -> dict[str, str]:
        """The cards none of whose deployments should be called now, and why. Cards that never failed are left out."""
        if not self._failing:
            return {}
        now_s = time.monotonic()
        reasons = {}
        for card in self._failing.values():
            unready = [self._unready(deployment, now_s) for deployment in self.deployments_of(card)]
            if all(problem is not None and problem.kind != "at_capacity" for problem in unready):
                reasons[card.id] = "cooling down after recent upstream failures"
        return reasons

    def deployments_of(self, card: Card) -> tuple[Deployment, ...]:
        """The servers of `card`."""
        known = self._deployments.get(card.id)
        if known is None or known[0] is not card:
            known = self._deployments[card.id] = card, deployments_of(card)
        return known[1]

    def health_of(self, deployment: Deployment) -> Health:
        """The state of one server, which outlives edits of its card."""
        place = deployment.name, deployment.card.base_url
        health = self._health.get(place)
        if health is None:
            health = self._health[place] = Health()
        return health

    async def acquire(self, cards: Sequence[Card], tried: Collection[str]) -> Deployment | None:
        """Begin a call at the best deployment that is not in `tried`: of the first card that has a ready one, the least
        busy. End it with `end`. None where nothing is left to try.

        For the first call of a request (`tried` is empty), this waits for a deployment that is at capacity where none
        is ready, and where all are cooling down, takes the one that is due first. Raises BusyError where none may be
        called at all, or waiting takes too long.
        """
        found = self._take(cards, tried)
        if found is not None or tried:
            return found
        busy = BusyError("all eligible models are at capacity; try again soon", RETRY_AFTER_S)
        eligible = frozenset(card.id for card in cards)
        return await self._queue.wait(lambda: self._take(cards, tried), self.queue_limits, busy, eligible)

    def begin(self, deployment: Deployment) -> None:
        """Count a call that starts."""
        self.health_of(deployment).begin(deployment.limits, time.monotonic())

    def end(self, deployment: Deployment) -> None:
        """Count a call that has ended, and grant its slot to the first waiting call that it fits."""
        self.health_of(deployment).end()
        self._queue.notify(deployment.card.id)

    def record_success(self, deployment: Deployment, tokens: int = 0) -> None:
        """The deployment answered; the answer used this many tokens."""
        health = self.health_of(deployment)
        health.record_success()
        health.spend(deployment.limits, tokens, time.monotonic())
        self._failing.pop(deployment.card.id, None)

    def record_failure(self, deployment: Deployment, retry_after_s: float | None = None) -> None:
        """The deployment failed, or asked not to be called for `retry_after_s` seconds."""
        health, now_s = self.health_of(deployment), time.monotonic()
        if retry_after_s is None:
            health.record_failure(self.cooldown, now_s)
        else:
            health.back_off(retry_after_s, now_s)
        self._failing[deployment.card.id] = self._deployments[deployment.card.id][0]

    def _take(self, cards: Sequence[Card], tried: Collection[str]) -> Deployment | None:
        """Begin a call at a deployment, as `acquire` does without waiting. None where one at capacity is worth waiting
        for, or where nothing is left to try.
        """
        unready: list[tuple[Unready, Deployment]] = []
        now_s = time.monotonic()
        for card in cards:
            ready: list[Deployment] = []
            for deployment in self.deployments_of(card):
                if deployment.name in tried:
                    continue
                problem = self._unready(deployment, now_s)
                if problem is None:
                    ready.append(deployment)
                else:
                    unready.append((problem, deployment))
            if ready:
                return self._begun(min(ready, key=lambda deployment: self.health_of(deployment).running))
        if tried or not unready:
            return None
        problem, deployment = min(unready, key=lambda pair: (_PREFERENCE[pair[0].kind], pair[0].seconds))
        if problem.kind == "rate_limited":
            raise BusyError("all eligible models are rate limited", problem.seconds, 429)
        return self._begun(deployment) if problem.kind == "cooling_down" else None

    def _begun(self, deployment: Deployment) -> Deployment:
        self.begin(deployment)
        return deployment

    def _unready(self, deployment: Deployment, now_s: float) -> Unready | None:
        return self.health_of(deployment).unready(deployment.limits, now_s)


# What to do where nothing is ready: wait for a deployment at capacity, else call one that is cooling down.
_PREFERENCE = {"at_capacity": 0, "cooling_down": 1, "rate_limited": 2}
