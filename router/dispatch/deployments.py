"""Every deployment with its health: which one to call next, and which cards to leave out of a decision."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from router.cards.schema import Card, RateLimits
from router.dispatch.health import Cooldown, Health, Unready
from router.errors import BusyError
from router.formats.quantities import Seconds

_SHORTEST_WAIT_S = 1.0
_NO_LIMITS = RateLimits()


class Deployment(Struct, frozen=True, eq=False):
    """One server of a card. `card` is the card as if this were its only one."""

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


class Queue(Struct, frozen=True, forbid_unknown_fields=True, rename={"wait_s": "wait"}):
    """How many requests may wait for a free slot, and for how long. Any further request is rejected."""

    size: Annotated[int, Meta(ge=0, le=1_000_000)] = 1024
    # A factory, because msgspec cannot write a quantity's default into a JSON Schema.
    wait_s: Seconds = msgspec.field(default_factory=lambda: Seconds(10))


class DeploymentPool:
    """The deployments of all cards. Used on one event loop; both settings may be changed at any time."""

    def __init__(self, cooldown: Cooldown, queue: Queue) -> None:
        self.cooldown, self.queue = cooldown, queue
        self._deployments: dict[str, tuple[Card, tuple[Deployment, ...]]] = {}
        self._health: dict[tuple[str, str | None], Health] = {}
        self._unwell: dict[str, Card] = {}
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()

    @property
    def waiting(self) -> int:
        """How many calls wait for a deployment that is full."""
        return len(self._waiting)

    def resting(self) -> dict[str, str]:
        """The cards none of whose deployments should be called now, and why; those that never failed are left out."""
        if not self._unwell:
            return {}
        now_s = time.monotonic()
        reasons = {}
        for card in self._unwell.values():
            unready = [self._unready(deployment, now_s) for deployment in self.deployments_of(card)]
            if all(each is not None and each.kind != "full" for each in unready):
                reasons[card.id] = "its upstream failed lately, and rests"
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

    async def next(self, cards: Sequence[Card], tried: set[str]) -> Deployment | None:
        """The next deployment to call: a ready one, in the order of `cards`, the least busy of a card first.

        For the first call of a request (nothing `tried`), a full one is waited for where none is ready, and where all
        rest, the one that has rested longest is called. None where nothing is left. Raises BusyError where nothing may
        be called at all.
        """
        left_s = self.queue.wait_s
        while True:
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
                    return min(ready, key=lambda each: self.health_of(each).running)
            if tried or not unready:
                return None
            problem, deployment = min(unready, key=lambda pair: (_PATIENCE[pair[0].kind], pair[0].seconds))
            if problem.kind == "resting":
                return deployment
            if problem.kind == "told":
                raise BusyError("every model that fits asked to be left alone for a while", problem.seconds, 429)
            left_s -= await self._room(left_s)

    def begin(self, deployment: Deployment) -> None:
        """A call starts."""
        self.health_of(deployment).begin(deployment.limits, time.monotonic())

    def end(self, deployment: Deployment) -> None:
        """A call is over: whoever waits for room may look again."""
        self.health_of(deployment).end()
        while self._waiting:
            room = self._waiting.popleft()
            if not room.done():
                room.set_result(None)
                return

    def well(self, deployment: Deployment, tokens: int = 0) -> None:
        """The deployment answered, with so many tokens."""
        health = self.health_of(deployment)
        health.succeeded()
        health.spend(deployment.limits, tokens, time.monotonic())
        self._unwell.pop(deployment.card.id, None)

    def failed(self, deployment: Deployment, leave_alone_s: float | None = None) -> None:
        """The deployment failed, or asked to be left alone for so many seconds."""
        health, now_s = self.health_of(deployment), time.monotonic()
        if leave_alone_s is None:
            health.failed(self.cooldown, now_s)
        else:
            health.back_off(leave_alone_s, now_s)
        self._unwell[deployment.card.id] = self._deployments[deployment.card.id][0]

    def _unready(self, deployment: Deployment, now_s: float) -> Unready | None:
        return self.health_of(deployment).unready(deployment.limits, now_s)

    async def _room(self, left_s: float) -> float:
        """Wait until a call ends somewhere; the seconds that it took. Raises BusyError where it takes too long."""
        full = BusyError("every model that fits is busy; try again soon", _SHORTEST_WAIT_S)
        if left_s <= 0 or len(self._waiting) >= self.queue.size:
            raise full
        started_s = time.monotonic()
        room = asyncio.get_running_loop().create_future()
        self._waiting.append(room)
        try:
            async with asyncio.timeout(left_s):
                await room
        except TimeoutError:
            raise full from None
        finally:
            if room in self._waiting:
                self._waiting.remove(room)
        return time.monotonic() - started_s


# What to do where nothing is ready: wait for one that is full, else call one that rests.
_PATIENCE = {"full": 0, "resting": 1, "told": 2}
