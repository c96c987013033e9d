"""Cooldowns and pauses of deployments, shared between gateways and workers through the shared state.

A cooldown that one process publishes is applied by the others as if a call of the same key had failed there. So the
rules about whom a failure concerns hold across processes. Each process keeps its own counts of single failures;
without the shared state, each acts alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import time
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct

from router.cards.schema import Card
from router.cards.servers import RateLimits
from router.dispatch.health import Evidence, Health, Unready
from router.dispatch.pool.deployment import Deployment
from router.dispatch.pool.pool import DeploymentPool
from router.store.records.record import Record
from router.store.state.protocol import Blob, StateError, StateStore
from router.wire.errors import Blame

COOLDOWNS = "cooldown/"
_EVERY_S = 1.0
# Too short to be worth it; clocks of gateways differ, too.
_LEAST_S = 2.0
# A published cooldown is published again where it has become longer by this.
_LONGER_S = 5.0
_MOST = 1000
_NO_LIMITS = RateLimits()
# No id of a key, so it has no failures of its own; and what stands for all keys in the name of a blob.
_NOBODY, _ALL = "*", "*"
_COOLING_DOWN = "cooling_down"

Place = tuple[str, str]


class Published(Struct, frozen=True, omit_defaults=True):
    """Calls of `key` (`*`: of all) should not begin at a deployment before `until_s`, in seconds since 1970; 0 where
    one has succeeded since. `by` is the process that published it. `blame` is whom the failures concern.
    """

    deployment: str
    key: str
    until_s: float
    by: str
    kind: str = _COOLING_DOWN
    blame: Blame = "request"


class SharedCooldowns:
    """The cooldowns of the deployments of `cards` in `pool`, shared through `store`; without a store, none are."""

    def __init__(
        self,
        pool: DeploymentPool,
        store: StateStore | None,
        cards: Callable[[], Iterable[Card]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool, self._store, self._cards, self._clock = pool, store, cards, clock
        self._name = secrets.token_hex(8)
        # Deployments by name, and the keys whose calls failed there: what may have to be published.
        self._failed: set[Place] = set()
        self._known: dict[str, tuple[int, Published]] = {}
        self._seen = 0

    def sink(self, record: Record) -> None:
        """Note the deployments and keys of failed calls."""
        if self._store is None:
            return
        for attempt in record.outcome.attempts:
            if attempt.fault and len(self._failed) < _MOST:
                self._failed.add((attempt.deployment, record.key or ""))

    async def run(self) -> None:
        """Refresh every second, until cancelled; ends at once where nothing is shared."""
        while self._store is not None:
            await asyncio.sleep(_EVERY_S)
            await self.refresh()

    async def refresh(self) -> None:
        """Publish the cooldowns of this process, and apply those of others."""
        if self._store is None:
            return
        with contextlib.suppress(StateError):
            changed = await self._store.blobs_after(self._seen, COOLDOWNS)
            if not changed and not self._failed:
                return
            deployments = {each.name: each for card in self._cards() for each in self._pool.deployments_of(card)}
            for blob in changed:
                self._apply(blob, deployments)
                self._seen = max(self._seen, blob.version)
            if len(self._known) > _MOST:
                # Drop those that have ended; one that is published again is read again first.
                self._known = {name: one for name, one in self._known.items() if one[1].until_s > self._clock()}
            for place in list(self._failed):
                await self._publish(self._store, place, deployments.get(place[0]))

    def _apply(self, blob: Blob, deployments: dict[str, Deployment]) -> None:
        try:
            published = msgspec.json.decode(blob.content, type=Published)
        except msgspec.DecodeError:
            # Of another release.
            return
        _, before = self._known.get(blob.name, (0, None))
        self._known[blob.name] = blob.version, published
        deployment = deployments.get(published.deployment)
        # The same name may be another server there.
        if published.by == self._name or deployment is None or blob.name != _name_of(deployment, published.key):
            return
        health, now_s = self._pool.health_of(deployment), time.monotonic()
        key = "" if published.key == _ALL else published.key
        left_s = published.until_s - self._clock()
        own = health.unready(_NO_LIMITS, now_s, key)
        if left_s > _LEAST_S and (own is None or own.seconds < left_s - _LONGER_S):
            pause_s = None if published.kind == _COOLING_DOWN else left_s
            slot = self._pool.begin(deployment, key)
            self._pool.record_failure(
                slot, Evidence("cooldown" if pause_s is None else "pause", published.blame, pause_s)
            )
            self._pool.end(slot)
        elif not published.until_s and before is not None and own is not None and own.kind == "cooling_down":
            # Its probe succeeded there.
            slot = self._pool.begin(deployment, key)
            self._pool.record_success(slot)
            self._pool.end(slot)

    async def _publish(self, store: StateStore, place: Place, deployment: Deployment | None) -> None:
        """Publish the state of a deployment for one key, or for all where the provider is to blame."""
        if deployment is None:
            self._failed.discard(place)
            return
        health, now_s = self._pool.health_of(deployment), time.monotonic()
        key, (unready, blame) = place[1], _state_of(health, place[1], now_s)
        if blame == "provider":
            key = _ALL
        name = _name_of(deployment, key)
        # What was published for all keys ends for all of them.
        _, of_all = self._known.get(_name_of(deployment, _ALL), (0, None))
        if unready is None and of_all is not None and of_all.until_s > self._clock():
            name, key = _name_of(deployment, _ALL), _ALL
        version, known = self._known.get(name, (0, None))
        left_s = 0.0 if unready is None else unready.seconds
        known_s = 0.0 if known is None else known.until_s - self._clock()
        if unready is None or health.is_probed(now_s, place[1]):
            if unready is None:
                self._failed.discard(place)
            if known_s <= 0 or health.works(place[1]) is not True:
                return
            published = Published(deployment.name, key, 0.0, self._name)
        else:
            is_known = known is not None and (known.by != self._name or known.blame == blame)
            if left_s <= _LEAST_S or (is_known and known_s > left_s - _LONGER_S):
                return
            published = Published(deployment.name, key, self._clock() + left_s, self._name, unready.kind, blame)
        version = await store.swap_blob(Blob(name, version, msgspec.json.encode(published)), self._clock())
        if version:
            self._known[name] = version, published
            return
        # Another process was faster, or the state has forgotten it: the next round tries again.
        self._known.pop(name, None)
        for other in await store.blobs_after(0, name):
            with contextlib.suppress(msgspec.DecodeError):
                self._known[other.name] = other.version, msgspec.json.decode(other.content, type=Published)


def _state_of(health: Health, key: str, now_s: float) -> tuple[Unready | None, Blame]:
    """Why calls of the key should not begin now, and whom that concerns."""
    of_all = health.unready(_NO_LIMITS, now_s, _NOBODY)
    is_inferred = health.is_shared_out(now_s)
    if of_all is not None and not is_inferred:
        return of_all, "provider"
    return health.unready(_NO_LIMITS, now_s, key), "server" if is_inferred else "request"


def _name_of(deployment: Deployment, key: str) -> str:
    """The name of a deployment's blob; it includes the server, since the cards of gateways may differ in it."""
    server = hashlib.sha256((deployment.card.base_url or "").encode()).hexdigest()[:8]
    return f"{COOLDOWNS}{deployment.name}/{server}/{key}"
