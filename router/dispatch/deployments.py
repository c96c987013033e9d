"""The deployments of cards and their health: which one to call next, and which cards are cooling down."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Collection, Sequence

import msgspec
from msgspec import Struct

from router.cards.schema import Card
from router.cards.servers import RateLimits
from router.dispatch.bounds.retry_budget import Standing
from router.dispatch.call import NO_AFFINITY, Affinity
from router.dispatch.failover import Account, account_of
from router.dispatch.health import Cooldown, Health, Unready
from router.dispatch.providers import missing_credentials
from router.dispatch.queue import RETRY_AFTER_S, QueueLimits, WaitingQueue
from router.errors import BusyError
from router.wire.errors import Meaning

_NO_LIMITS = RateLimits()


def server_of(card: Card) -> str:
    """The name of the server and account that a card with one server is called at, the same for all models there.

    It is a hash, so that neither the address nor the variable of the key is stored with conversations.
    """
    place = f"{card.provider}\n{card.base_url or ''}\n{card.api_key_env or ''}"
    return hashlib.blake2b(place.encode(), digest_size=8).hexdigest()


class Deployment(Struct, frozen=True, eq=False):
    """One server of a card, called with one key. `card` is the card with this server and this key alone, `server` the
    name of both.

    `is_one_key`: the server has other deployments with other keys, which are used in turn.
    """

    name: str
    card: Card
    server: str
    is_one_key: bool = False

    @property
    def limits(self) -> RateLimits:
        """The rate limits of the server."""
        return self.card.rate_limits or _NO_LIMITS


def deployments_of(card: Card) -> tuple[Deployment, ...]:
    """The servers of `card`, each with each of its keys: named `small` where it has one, else `small#1`, `small#2` …

    The efforts of a card have the same servers as the card itself, so they share health, limits and cooldowns.
    """
    servers = [
        msgspec.structs.replace(
            card,
            base_url=server.base_url,
            api_key_env=server.api_key_env,
            rate_limits=server.rate_limits,
            deployments=(),
        )
        for server in card.deployments
    ] or [card]
    with_one_key = [(one, len(_keys_of(server)) > 1) for server in servers for one in _with_each_key(server)]
    if not card.deployments and len(with_one_key) == 1:
        one, _ = with_one_key[0]
        return (Deployment(card.server_id, one, server_of(one)),)
    return tuple(
        Deployment(f"{card.server_id}#{number}", one, server_of(one), is_one_key)
        for number, (one, is_one_key) in enumerate(with_one_key, 1)
    )


def _keys_of(card: Card) -> tuple[str | None, ...]:
    """The variables of the card's keys; None where it names none."""
    return card.api_key_env if isinstance(card.api_key_env, tuple) else (card.api_key_env,)


def _with_each_key(card: Card) -> list[Card]:
    if not isinstance(card.api_key_env, tuple):
        return [card]
    return [msgspec.structs.replace(card, api_key_env=variable) for variable in card.api_key_env]


class DeploymentPool:
    """The deployments of all cards. Use it on one event loop; both settings may be changed at any time."""

    def __init__(self, cooldown: Cooldown, queue_limits: QueueLimits) -> None:
        self.cooldown, self.queue_limits = cooldown, queue_limits
        self._deployments: dict[str, tuple[Card, tuple[Deployment, ...]]] = {}
        self._health: dict[tuple[str, str | None], Health] = {}
        # The servers of these cards (`server_id`) have failed.
        self._failing: set[str] = set()
        # Accounts that a server refused, and until when deployments with them are called last.
        self._refused_until_s: dict[Account, float] = {}
        self._queue: WaitingQueue[Deployment] = WaitingQueue(self.end)

    @property
    def waiting(self) -> int:
        """How many calls wait for a deployment that is at capacity."""
        return len(self._queue)

    def cooling_down(self) -> dict[str, str]:
        """The cards whose deployments are all cooling down or rate limited, and why."""
        if not self._failing:
            return {}
        now_s = time.monotonic()
        reasons = {}
        for card, _ in self._deployments.values():
            if card.server_id not in self._failing:
                continue
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
        """The state of one server, which is kept when its card is edited."""
        server = deployment.name, deployment.card.base_url
        health = self._health.get(server)
        if health is None:
            health = self._health[server] = Health()
        return health

    async def acquire(
        self,
        cards: Sequence[Card],
        tried: Collection[str],
        avoids: Callable[[Deployment], bool] = lambda _: False,
        *,
        affinity: Affinity = NO_AFFINITY,
        tenant: str = "",
    ) -> Deployment | None:
        """Begin a call at the least busy deployment of the first card that has a ready one, except those in `tried`.
        Deployments that `avoids` names, and those of an account that was refused lately, are called only where no other
        is ready. End the call with `end`. None where no deployment is left to try.

        Of a card's ready deployments, that of the `affinity` is taken. A request that is bound to it is called nowhere
        else; one with an affinity that binds waits for it, unless it fails or is rate limited.

        Where none is ready for the first call of a request (`tried` is empty), this waits for one that is at capacity;
        where all are cooling down, it takes the one whose cooldown ends first. Raises BusyError where all are rate
        limited, or the queue is full or too slow. Waiting tenants get deployments in turn.
        """
        own = affinity.server if affinity.binds and self._has_server(cards, affinity.server) else ""
        if own and affinity.bound:
            return await self._acquire(cards, tried, avoids, affinity.server, own, tenant=tenant)
        if own and not tried and self._is_worth_waiting_for(cards, own):
            with contextlib.suppress(BusyError):
                return await self._acquire(cards, tried, avoids, affinity.server, own, tenant=tenant)
        return await self._acquire(cards, tried, avoids, affinity.server, tenant=tenant)

    async def _acquire(
        self,
        cards: Sequence[Card],
        tried: Collection[str],
        avoids: Callable[[Deployment], bool],
        preferred: str,
        only: str = "",
        *,
        tenant: str,
    ) -> Deployment | None:
        take = functools.partial(self._take, cards, tried, avoids, preferred, only)
        deployment = take()
        if deployment is not None or tried:
            return deployment
        busy = BusyError("all eligible models are at capacity; try again soon", RETRY_AFTER_S)
        eligible = frozenset(card.server_id for card in cards)
        take = functools.partial(take, waiting=True)
        return await self._queue.wait(take, self.queue_limits, busy, eligible, tenant=tenant)

    def has_ready(self, cards: Sequence[Card], tried: Collection[str]) -> bool:
        """Whether another deployment than those in `tried` could be called now."""
        now_s = time.monotonic()
        each = (deployment for card in cards for deployment in self.deployments_of(card))
        return any(one.name not in tried and self._unready(one, now_s) is None for one in each)

    def standing(self, deployment: Deployment) -> Standing:
        """What is known of the deployment while a call at it begins."""
        health = self.health_of(deployment)
        if health.works is not None:
            return "works" if health.works else "failing"
        return "untried" if health.running <= 1 else "unknown"

    def begin(self, deployment: Deployment) -> None:
        """Count the start of a call."""
        self.health_of(deployment).begin(deployment.limits, time.monotonic())

    def retry(self, deployment: Deployment) -> None:
        """Count another attempt of a call that has begun and keeps its slot."""
        self.health_of(deployment).retry(deployment.limits, time.monotonic())

    def end(self, deployment: Deployment) -> None:
        """Count the end of a call, and grant its slot to the first waiting call that it fits."""
        self.health_of(deployment).end()
        self._queue.notify(deployment.card.server_id)

    def record_success(self, deployment: Deployment, tokens: int = 0) -> None:
        """Record a successful response that used `tokens` tokens."""
        health = self.health_of(deployment)
        health.record_success()
        health.spend(deployment.limits, tokens, time.monotonic())
        self._failing.discard(deployment.card.server_id)
        if self._refused_until_s and (account := account_of(deployment.card)) is not None:
            self._refused_until_s.pop(account, None)

    def record_failure(self, deployment: Deployment, retry_after_s: float | None = None) -> None:
        """Record a failure, or a rate limit that ends in `retry_after_s` seconds."""
        health, now_s = self.health_of(deployment), time.monotonic()
        if retry_after_s is None:
            health.record_failure(self.cooldown, now_s)
        else:
            health.back_off(retry_after_s, now_s)
        self._failing.add(deployment.card.server_id)

    def record_fault(self, deployment: Deployment, meaning: Meaning, pause_s: float | None) -> None:
        """Record an error of the upstream; `pause_s` is the time for which its server asks to wait."""
        if meaning.health == "unchanged":
            return
        if meaning.health == "cooldown" and pause_s is None:
            self.health_of(deployment).record_failure(self.cooldown, time.monotonic(), lasts=True)
            self._failing.add(deployment.card.server_id)
        else:
            self.record_failure(deployment, None if meaning.health == "failure" else pause_s)
        if meaning.shared_by == "key" and (account := account_of(deployment.card)) is not None:
            self._refused_until_s[account] = time.monotonic() + self.cooldown.time_s

    def _is_refused(self, deployment: Deployment, now_s: float) -> bool:
        if not self._refused_until_s:
            return False
        account = account_of(deployment.card)
        return account is not None and now_s < self._refused_until_s.get(account, 0.0)

    def _has_server(self, cards: Sequence[Card], server: str) -> bool:
        return any(deployment.server == server for card in cards for deployment in self.deployments_of(card))

    def _is_worth_waiting_for(self, cards: Sequence[Card], server: str) -> bool:
        """Whether a deployment of `server` is ready, or only at capacity."""
        now_s = time.monotonic()
        own = (deployment for card in cards for deployment in self.deployments_of(card) if deployment.server == server)
        return any((unready := self._unready(each, now_s)) is None or unready.kind == "at_capacity" for each in own)

    def _take(
        self,
        cards: Sequence[Card],
        tried: Collection[str],
        avoids: Callable[[Deployment], bool],
        preferred: str = "",
        only: str = "",
        *,
        waiting: bool = False,
    ) -> Deployment | None:
        """Begin a call like `acquire`, but without waiting. None where the call should wait for a deployment at
        capacity, or where no deployment is left to try. `preferred` and `only` are names of servers. `waiting`: the
        call has waited already.
        """
        unready: list[tuple[Unready, Deployment]] = []
        last: list[Deployment] = []
        now_s = time.monotonic()
        for card in cards:
            ready: list[Deployment] = []
            for deployment in self.deployments_of(card):
                if deployment.name in tried or (only and deployment.server != only):
                    continue
                if deployment.is_one_key and missing_credentials(deployment.card):
                    continue
                problem = self._unready(deployment, now_s)
                if problem is not None:
                    unready.append((problem, deployment))
                elif avoids(deployment) or self._is_refused(deployment, now_s):
                    last.append(deployment)
                else:
                    ready.append(deployment)
            if ready:
                return self._begin_at(min(ready, key=lambda each: (each.server != preferred, *self._preference(each))))
        if last:
            return self._begin_at(last[0])
        if tried or not unready:
            return None
        kinds = {problem.kind for problem, _ in unready}
        unready.sort(key=lambda pair: pair[0].seconds)
        if kinds == {"rate_limited"}:
            raise BusyError("all eligible models are rate limited", unready[0][0].seconds, 429)
        if "at_capacity" in kinds:
            return None
        cooling_down = (deployment for problem, deployment in unready if problem.kind == "cooling_down")
        probed = next((deployment for deployment in cooling_down if self._may_probe(deployment, waiting)), None)
        return None if probed is None else self._begin_at(probed)

    def _preference(self, deployment: Deployment) -> tuple[int, float]:
        """The least busy deployment first; of the keys of one server, the one that has not been used for longest."""
        health = self.health_of(deployment)
        return health.running, health.begun_s if deployment.is_one_key else 0.0

    def _may_probe(self, deployment: Deployment, waiting: bool) -> bool:
        """Whether a call may begin at a deployment that is cooling down. Calls that waited probe it one by one: else
        all of them would call it as soon as it fails.
        """
        running, limit = self.health_of(deployment).running, deployment.limits.concurrency
        return running == 0 if waiting else limit is None or running < limit

    def _begin_at(self, deployment: Deployment) -> Deployment:
        self.begin(deployment)
        return deployment

    def _unready(self, deployment: Deployment, now_s: float) -> Unready | None:
        return self.health_of(deployment).unready(deployment.limits, now_s)
