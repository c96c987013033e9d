"""The deployments of cards and their health: which one to call next, and which cards are cooling down."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from router.cards.catalog import Catalog
from router.cards.schema import Card
from router.dispatch.bounds.retry_budget import Standing
from router.dispatch.call import NO_AFFINITY, Affinity
from router.dispatch.failover import RefusedAccounts
from router.dispatch.health import FAILURE, Cooldown, Evidence, Health, Unready
from router.dispatch.lora.claims import Claim
from router.dispatch.lora.placing import Adapters, Placing
from router.dispatch.pool.deployment import Deployment, Found, Search, Slot, deployments_of
from router.dispatch.pool.load import Load
from router.dispatch.pool.queue import RETRY_AFTER_S, QueueLimits, WaitingQueue
from router.dispatch.providers import missing_credentials
from router.errors import BusyError

_NO_ROOM = Unready("at_capacity", 1.0)


class DeploymentPool:
    """The deployments of all cards. Use it on one event loop; both settings may be changed at any time."""

    def __init__(self, cooldown: Cooldown, queue_limits: QueueLimits, adapters: Adapters | None = None) -> None:
        self.cooldown, self.queue_limits = cooldown, queue_limits
        self._deployments: dict[str, tuple[Card, tuple[Deployment, ...]]] = {}
        self._health: dict[tuple[str, str | None], Health] = {}
        # By the servers of adapters: the state of the deployment there whose call succeeded last.
        self._answered_last: dict[str | None, Health] = {}
        # The servers of these cards (`id_without_effort`) have failed.
        self._failing: set[str] = set()
        # Deployments with these are called last.
        self._refused = RefusedAccounts()
        self._callable: Callable[[], Iterable[Card]] | None = None
        self._queue: WaitingQueue[Slot] = WaitingQueue(self.end)
        self._load = Load()
        self._placing = Placing(adapters, self._load.running)
        # An adapter may find room at a server that it did not find before.
        self.room_found = self._queue.notify_soon

    @property
    def waiting(self) -> int:
        """How many calls wait for a deployment that is at capacity."""
        return len(self._queue)

    def share_among(self, callable_cards: Callable[[], Iterable[Card]]) -> None:
        """Set of which cards `Cooldown.share` is a share; by default of those that have been called."""
        self._callable = callable_cards

    def cooling_down(self, key: str = "") -> dict[str, str]:
        """The cards whose deployments are all cooling down or rate limited for this key, and why."""
        if not self._failing:
            return {}
        now_s = time.monotonic()
        reasons = {}
        for card, _ in self._deployments.values():
            if card.id_without_effort not in self._failing:
                continue
            unready = [self._unready(deployment, now_s, key) for deployment in self.deployments_of(card)]
            if all(problem is not None and problem.kind != "at_capacity" for problem in unready):
                reasons[card.id] = "cooling down after recent upstream failures"
        return reasons

    def load(self, catalog: Catalog) -> Mapping[str, float]:
        """How busy the servers of these cards are, in [0, 1]; those that are not named are idle."""
        return self._load.shares(catalog, self.deployments_of)

    def deployments_of(self, card: Card) -> tuple[Deployment, ...]:
        """The servers of `card`."""
        known = self._deployments.get(card.id)
        if known is None or known[0] is not card:
            known = self._deployments[card.id] = card, deployments_of(card)
        return known[1]

    def health_of(self, deployment: Deployment) -> Health:
        """The state of one server, which is kept when its card is edited."""
        server = deployment.name, deployment.card.base_url
        health = self._health.get(server)
        if health is None:
            health = self._health[server] = Health(functools.partial(self._may_share, deployment))
        return health

    def _may_share(self, deployment: Deployment) -> bool:
        """Whether one more deployment may be closed to keys without a failure of their own."""
        now_s, share = time.monotonic(), self.cooldown.share
        closed = {name for (name, _), health in self._health.items() if health.is_shared_out(now_s)} - {deployment.name}
        cards = [card for card, _ in self._deployments.values()] if self._callable is None else self._callable()
        names = {each.name for card in cards for each in self.deployments_of(card)}
        of_card = {name for name in names if name.partition("#")[0] == deployment.card.id_without_effort}
        return all(len(closed & some) + 1 <= max(1, int(share * len(some))) for some in (names, of_card))

    async def acquire(
        self,
        cards: Sequence[Card],
        tried: Collection[str],
        avoids: Callable[[Deployment], bool] = lambda _: False,
        *,
        affinity: Affinity = NO_AFFINITY,
        key: str = "",
        tenant: str = "",
        is_batch: bool = False,
    ) -> Slot | None:
        """Begin a call of the client's `key` at the least busy deployment of the first card that has a ready one.

        Deployments in `tried` are left out. Those that `avoids` names, which is asked once any was tried, and those of
        an account that was refused lately, are called only where no other is ready. End the call with `end`. None where
        no deployment is left to try.

        Of a card's ready deployments, that of the `affinity` is taken. A request that is bound to it is called nowhere
        else; one with an affinity that binds waits for it, unless it fails or is rate limited. Where a card has
        deployments for batches, a call that `is_batch` is begun at these alone, and another one only where no other is
        ready.

        Where none is ready for the first call of a request (`tried` is empty), this waits for one that is at capacity;
        where all are cooling down, one call at a time probes the one whose cooldown ends first, and the others wait for
        its outcome. The waiting tenant that has used the fewest tokens is next. Raises BusyError where all are rate
        limited, where a probe has just failed, or the queue is full or too slow.
        """
        search = Search(cards, tried, avoids, affinity.server, key, tenant, is_batch)
        if affinity.binds and self._has_server(cards, affinity.server):
            bound = msgspec.structs.replace(search, only=affinity.server)
            if affinity.bound:
                return await self._acquire(bound)
            if not tried and self._is_worth_waiting_for(cards, affinity.server, key):
                with contextlib.suppress(BusyError):
                    return await self._acquire(bound)
        if len(cards) > 1 and not tried and self._placing.places(cards[0]) and self._lacks_only_room(search):
            # The fallbacks lack what the adapter has learned.
            with contextlib.suppress(BusyError):
                return await self._acquire(msgspec.structs.replace(search, cards=cards[:1]))
        return self._take(search) or await self._wait(search)

    async def _acquire(self, search: Search) -> Slot | None:
        return self._take(search) or await self._wait(search)

    async def _wait(self, search: Search) -> Slot | None:
        cards = search.cards
        if search.tried and not (self._placing.places(cards[0]) and self._lacks_only_room(search)):
            return None
        busy = BusyError("all eligible models are at capacity; try again soon", RETRY_AFTER_S)
        eligible = frozenset(card.id_without_effort for card in cards)
        # A waiter that is bound to one server, or can wait, may get none where another gets one.
        group = eligible, search.key, search.only, search.is_batch
        deployments = self.deployments_of(cards[0])
        # After failures, what failed says more than that there was no room.
        unless_tried = contextlib.suppress(BusyError) if search.tried else contextlib.nullcontext()
        placing = self._placing.waiting(cards[0], deployments, search.tenant)
        take = functools.partial(self._take, search)
        with unless_tried, self._load.waiting(deployments), placing as is_warm:
            return await self._queue.wait(
                take, self.queue_limits, busy, eligible, tenant=search.tenant, group=group, is_warm=is_warm
            )
        return None

    def _lacks_only_room(self, search: Search) -> bool:
        """Whether deployments of the first card, an adapter's, are ready, but have no room for the adapter, or no more
        for this tenant.
        """
        anywhere = msgspec.structs.replace(search, avoids=lambda _: False, only="")
        ready = self._ready_of(search.cards[0], anywhere, Found(), time.monotonic())
        return bool(ready) and not self._placing.can_hold_any(ready, search.tenant)

    def has_ready(self, cards: Sequence[Card], tried: Collection[str], key: str) -> bool:
        """Whether another deployment than those in `tried` could be called now for the client's `key`."""
        now_s = time.monotonic()
        for card in cards:
            for each in self.deployments_of(card):
                if each.name not in tried and self._unready(each, now_s, key) is None:
                    return True
        return False

    def standing(self, slot: Slot) -> Standing:
        """What is known of the deployment while a call at it begins."""
        health = slot.health
        works = health.works(slot.ticket.key)
        if works is None and (answered := self._answered_last.get(slot.deployment.card.base_url)) is not None:
            # A server that answers with other adapters works.
            works = answered.works(slot.ticket.key) or None
        if works is not None:
            return "works" if works else "failing"
        return "untried" if health.running <= 1 else "unknown"

    def begin(self, deployment: Deployment, key: str = "", tenant: str = "", claim: Claim | None = None) -> Slot:
        """Count the start of a call of the client's `key`, with its claim to the adapter; without, it uses none."""
        self._queue.counters.begin(tenant)
        self._load.begin(deployment)
        if claim is not None:
            self._placing.begin(deployment, tenant)
        health = self.health_of(deployment)
        return Slot(deployment, health, health.begin(deployment.limits, time.monotonic(), key), tenant, claim)

    def retry(self, slot: Slot) -> Slot:
        """Count another attempt of a call that has begun, and keeps its place."""
        ticket = slot.health.retry(slot.deployment.limits, slot.ticket, time.monotonic())
        return msgspec.structs.replace(slot, ticket=ticket)

    def end(self, slot: Slot, tokens: int | None = None) -> None:
        """Count the end of a call, and grant its slot to the first waiting call that it fits.

        While any tenant waits, that of the call is charged with the `tokens` that it has used; None where they are not
        known, as of calls that failed: as many as calls usually use.
        """
        self._queue.counters.end(slot.tenant)
        if slot.tenant and self._queue:
            self._queue.counters.charge(slot.tenant, tokens)
        self._load.end(slot.deployment)
        slot.health.end(slot.ticket)
        if slot.claim is not None:
            slot.claim.release()
            self._placing.end(slot.deployment, slot.tenant)
        self._queue.notify(slot.deployment.card.id_without_effort)

    def record_answer(self, slot: Slot) -> None:
        """Record that an answer has begun."""
        slot.health.record_answer(slot.ticket)
        if self._failing:
            self._queue.notify(slot.deployment.card.id_without_effort)

    def counts_tokens(self, slot: Slot) -> bool:
        """Whether the tokens of this call matter: to the limit of its deployment, or to the order in which waiting
        tenants are served.
        """
        return slot.deployment.limits.tpm is not None or bool(slot.tenant and self._queue)

    def record_success(self, slot: Slot, tokens: int = 0) -> None:
        """Record a successful response that used `tokens` tokens."""
        deployment, health, now_s = slot.deployment, slot.health, time.monotonic()
        health.record_success(slot.ticket, now_s)
        if deployment.card.adapters is not None:
            self._answered_last[deployment.card.base_url] = health
        health.spend(deployment.limits, tokens, now_s)
        if self._failing and health.is_well(now_s):
            self._failing.discard(deployment.card.id_without_effort)
        self._refused.remove(deployment.card)

    def record_failure(self, slot: Slot, evidence: Evidence = FAILURE, *, of_account: bool = False) -> None:
        """Record a failure. `of_account`: the server refuses the account, at other deployments too."""
        if evidence.health == "unchanged":
            return
        now_s, deployment = time.monotonic(), slot.deployment
        slot.health.record(slot.ticket, evidence, self.cooldown, now_s)
        self._failing.add(deployment.card.id_without_effort)
        # Others must not lose an account because of an error that quotes a request.
        if of_account and evidence.blame == "provider":
            self._refused.add(deployment.card, now_s + self.cooldown.time_s)

    def have_restarted(self, deployments: Iterable[Deployment]) -> None:
        """Forget the failures of servers that were gone and are back."""
        for deployment in deployments:
            self.health_of(deployment).forget_failures()
            self._failing.discard(deployment.card.id_without_effort)
            self._queue.notify(deployment.card.id_without_effort)

    def _has_server(self, cards: Sequence[Card], server: str) -> bool:
        return any(deployment.server == server for card in cards for deployment in self.deployments_of(card))

    def _is_worth_waiting_for(self, cards: Sequence[Card], server: str, key: str) -> bool:
        """Whether a deployment of `server` is ready, or only at capacity."""
        now_s = time.monotonic()
        own = (deployment for card in cards for deployment in self.deployments_of(card) if deployment.server == server)
        problems = (self._unready(each, now_s, key) for each in own)
        return any(problem is None or problem.kind == "at_capacity" for problem in problems)

    def _take(self, search: Search) -> Slot | None:
        """Begin a call like `acquire`, but without waiting. None where the call should wait for a deployment at
        capacity, or where no deployment is left to try.
        """
        found, now_s, key, tenant = Found(), time.monotonic(), search.key, search.tenant
        for card in search.cards:
            ready = self._ready_of(card, search, found, now_s)
            if ready and self._placing.places(card):
                ready = self._placing.in_order(card, ready, search.preferred)
            elif len(ready) > 1:
                ready.sort(key=lambda each: (each.server != search.preferred, *self._preference(each)))
            if (slot := self._begin_first(ready, found, key, tenant)) is not None:
                return slot
        if (slot := self._begin_first([*found.spare, *found.last], found, key, tenant)) is not None:
            return slot
        return None if search.tried or not found.unready else self._of_unready(found.unready, key, now_s, tenant)

    def _begin_first(self, deployments: Iterable[Deployment], found: Found, key: str, tenant: str) -> Slot | None:
        """Begin a call at the first of these with room for its adapter, if it needs one; `found` gets the others."""
        for each in deployments:
            claim = self._placing.claim(each, tenant)
            if claim != "no_room":
                return self.begin(each, key, tenant, claim)
            found.unready.append((_NO_ROOM, each))
        return None

    def _ready_of(self, card: Card, search: Search, found: Found, now_s: float) -> list[Deployment]:
        """The card's deployments that a call may begin at now; `found` gets the others."""
        ready: list[Deployment] = []
        deployments, tried, only, is_batch = self.deployments_of(card), search.tried, search.only, search.is_batch
        # Where all are of one kind, there is no choice; a request that is bound to a server has none either.
        are_mixed = not only and len(deployments) > 1 and len({each.for_batches for each in deployments}) > 1
        for deployment in deployments:
            if deployment.name in tried or (only and deployment.server != only):
                continue
            if are_mixed and is_batch and not deployment.for_batches:
                continue
            if deployment.is_one_key and missing_credentials(deployment.card):
                continue
            problem = self._unready(deployment, now_s, search.key)
            if problem is not None:
                found.unready.append((problem, deployment))
            elif (tried and search.avoids(deployment)) or self._refused.has(deployment.card, now_s):
                found.last.append(deployment)
            elif are_mixed and deployment.for_batches and not is_batch:
                found.spare.append(deployment)
            else:
                ready.append(deployment)
        return ready

    def _of_unready(
        self, unready: list[tuple[Unready, Deployment]], key: str, now_s: float, tenant: str
    ) -> Slot | None:
        """Begin a call that probes one of these, none of which is ready. None where the call should wait for a probe
        that is running, or for a deployment at capacity.
        """
        kinds = {problem.kind for problem, _ in unready}
        unready.sort(key=lambda pair: pair[0].seconds)
        if kinds == {"rate_limited"}:
            raise BusyError("all eligible models are rate limited", unready[0][0].seconds, 429)
        if "at_capacity" in kinds:
            return None
        cooling_down = [deployment for problem, deployment in unready if problem.kind == "cooling_down"]
        probed = next((each for each in cooling_down if self._may_probe(each, key, now_s)), None)
        if probed is not None:
            return self._begin_first((probed,), Found(), key, tenant)
        if any(self.health_of(each).is_probed(now_s, key) for each in cooling_down):
            return None
        wait_s = min(self.health_of(each).trickle_wait_s(now_s, key) for each in cooling_down)
        if wait_s <= 0:
            return None
        raise BusyError("all eligible models are cooling down after failures; try again soon", max(wait_s, 1.0))

    def _preference(self, deployment: Deployment) -> tuple[int, float]:
        """The least busy deployment first; of the keys of one server, the one that has not been used for longest."""
        health = self.health_of(deployment)
        return health.running, health.begun_s if deployment.is_one_key else 0.0

    def _may_probe(self, deployment: Deployment, key: str, now_s: float) -> bool:
        """Whether a call may begin at a deployment that is cooling down, since there is no other: one at a time, and
        some time after the last one failed.
        """
        health, limit = self.health_of(deployment), deployment.limits.concurrency
        if health.is_probed(now_s, key) or health.trickle_wait_s(now_s, key) > 0:
            return False
        return limit is None or health.running < limit

    def _unready(self, deployment: Deployment, now_s: float, key: str) -> Unready | None:
        return self.health_of(deployment).unready(deployment.limits, now_s, key)
