"""Adapters are loaded before they are called: where, and instead of which, the residency decides."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from router.cards.schema import Card
from router.dispatch.bodies.redaction import one_line
from router.dispatch.call import Call
from router.dispatch.lora.api import Activity, AdapterServerError
from router.dispatch.lora.claims import Claim, Hold
from router.dispatch.lora.holder import Holder
from router.dispatch.lora.http import ServerClient, failure
from router.dispatch.lora.loading import LIST_S, Loader, Sharing
from router.dispatch.lora.places import Place, places_of, server_key
from router.dispatch.pool.deployment import Deployment
from router.dispatch.residency import Full, Load, Residency, ServerLoad, ServerResidency, Usage
from router.errors import FieldError

_LOG = logging.getLogger(__name__)


class AdapterControl:
    """The adapters of all servers of one process. Create and use it on one event loop.

    `on_room` is called with a server's name whenever an adapter may find room there that did not before.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.on_room: Callable[[str], None] = lambda _: None
        self._now_s = now_s
        self._client = ServerClient()
        self._residency = Residency()
        self._loader = Loader(self._residency, self._notify, now_s)
        self._places: dict[str, Place] = {}
        # What servers call the adapters, by the ids of their cards.
        self._names: dict[str, str] = {}
        self._tickets = itertools.count()
        self._holder = Holder(self._residency, self._loader, self._placed, self._ended, self._tickets, now_s)
        # Adapters without a card, by server: they are unloaded as soon as no call uses them.
        self._gone: set[tuple[str, str]] = set()
        self._waits: Counter[str] = Counter()

    def configure(self, cards: Iterable[Card]) -> None:
        """Take over the servers and adapters of these cards. What is loaded stays known; what had a card, and has none
        now, is unloaded at the next `expire`.
        """
        places = places_of(cards, self._client, self._places)
        for server in self._places.keys() - places.keys():
            self._residency.remove_server(server)
        for server, place in places.items():
            self._residency.set_server(server, place.slots, place.pinned)
        adapters = [(name, card) for place in places.values() for name, card in place.cards.items()]
        ttl_s = {name: card.ttl_s for name, card in adapters}
        for name in {*self._names.values(), *ttl_s}:
            self._residency.set_ttl(name, ttl_s.get(name))
        before, self._places = self._places, places
        for server, name in self._loader.troubled:
            # Where the card states other weights now, or is gone, they may be tried at once.
            earlier, later = before.get(server), places.get(server)
            if earlier is None or later is None or earlier.path_of(name) != later.path_of(name):
                self._loader.forget(server, name)
        for server, place in places.items():
            had = before[server].cards.keys() if server in before and place.loads else ()
            self._gone |= {(server, name) for name in had if name not in place.cards}
        self._gone = {pair for pair in self._gone if pair[0] in places and pair[1] not in places[pair[0]].cards}
        self._names = {card.id: name for name, card in adapters}
        for place in (before | places).values():
            self._notify(place)

    def order(
        self, card: Card, deployments: Sequence[Deployment], running: Callable[[Deployment], int]
    ) -> list[Deployment]:
        """The deployments of an adapter's card, best first; where it failed to load lately comes last. `running`: how
        many calls run at a deployment.
        """
        if not self._is_adapter(card):
            return list(deployments)
        calls: dict[str, int] = {}
        for each in deployments:
            calls[server_key(each)] = calls.get(server_key(each), 0) + running(each)
        name = self._name(card, deployments)
        ranked = self._residency.rank(name, [ServerLoad(server, count) for server, count in calls.items()])
        place_of = {server: position for position, server in enumerate(ranked)}
        return sorted(deployments, key=lambda each: (self._is_blocked(each), place_of[server_key(each)]))

    def can_hold(self, deployment: Deployment) -> bool:
        """Whether the adapter of this deployment's card is loaded there, or could be now; else a call should wait."""
        place = self._place(deployment)
        if place is None or not place.loads or not self._is_adapter(deployment.card):
            return True
        # What an unknown server holds may leave less room, which `hold` finds out.
        return self._residency.can_begin(place.server, place.naming.name_of(deployment.card))

    def is_loaded(self, deployment: Deployment) -> bool:
        """Whether the adapter of this deployment's card is loaded there, or being loaded."""
        place = self._place(deployment)
        return place is not None and self._residency.holds(place.server, place.naming.name_of(deployment.card))

    def expect(self, card: Card, must_leave: Callable[[str], Collection[str]] = lambda _: ()) -> int:
        """A call waits for this adapter. The value is a ticket; give it to `forget` when the call waits no longer.

        `must_leave`: of which cards' adapters at a server one has to leave before the call may begin there.
        """
        ticket = next(self._tickets)
        name = self._names.get(card.id)
        if name is not None:
            servers = [server for server, place in self._places.items() if name in place.cards]
            self._waits.update(servers[:1])
            names = self._names
            self._residency.enqueue(
                name, ticket, servers, lambda server: [names[each] for each in must_leave(server) if each in names]
            )
            self._prefetch()
        return ticket

    def forget(self, ticket: int) -> None:
        """A call waits no longer."""
        self._residency.dequeue(ticket)

    def claim(self, deployment: Deployment) -> Claim | None:
        """The claim of a call to the adapter of this deployment's card, which is counted from now on; where it must be
        loaded, that begins at once. None where there is no room, and the call should wait. `settle` it before the call.
        """
        place, card = self._place(deployment), deployment.card
        if place is None or not place.loads or not place.is_known or not self._is_adapter(card):
            return Claim()
        server, name = place.server, place.naming.name_of(card)
        if self._loader.wait_s(place, name) > 0 and not self._residency.holds(server, name):
            return Claim()
        step = self._residency.begin(server, name, self._now_s())
        if isinstance(step, Full):
            return None if step.helps else Claim()
        hold = Hold(functools.partial(self._ended, server, name))
        if isinstance(step, Load):
            return Claim(hold, self._loader.start(place, name, step.evict))
        return Claim(hold, self._loader.confirm(place, name))

    async def settle(self, claim: Claim, deployment: Deployment, call: Call) -> None:
        """The adapter of a claim is loaded when this returns. Raises AdapterServerError like `hold`."""
        if claim.loading is not None:
            # The server has the time for it that its card states, or what is left of the call's.
            limit_s = max(min(call.first_by_s, call.ends_s) - self._now_s(), 0.001)
            done, _ = await asyncio.wait((claim.loading,), timeout=None if limit_s == math.inf else limit_s)
            if not done:
                claim.give_up()
                raise failure(deployment.card, "late", f"not within the {limit_s:g} s that the call has for it")
            error = claim.loading.result()
            if error is None:
                claim.loading = None
                return
            claim.give_up()
            if error.problem not in ("full", "in_use"):
                raise _of(error, deployment.card)
            if error.problem == "full":
                self.lost(deployment)
        if claim.hold is None:
            claim.settle(await self.hold(deployment, call))

    async def hold(self, deployment: Deployment, call: Call | None = None) -> Hold:
        """The adapter of the deployment's card is loaded when this returns, and stays until the hold is released.

        Raises AdapterServerError where it cannot be loaded, or not in the time that the call has: the next deployment
        may be called.
        """
        place = self._place(deployment)
        if place is None or not (self._is_adapter(deployment.card) or deployment.card.lora_slots):
            return Hold()
        limit_s = _limit_s(place)
        if call is not None:
            limit_s = max(min(limit_s, call.first_by_s - self._now_s(), call.ends_s - self._now_s()), 0.001)
        try:
            async with asyncio.timeout(limit_s):
                return await self._holder.hold(place.server, deployment.card)
        except AdapterServerError as error:
            raise _of(error, deployment.card) from None
        except TimeoutError:
            raise failure(deployment.card, "late", f"not within the {limit_s:g} s that the call has for it") from None

    def lost(self, deployment: Deployment) -> None:
        """The server does not know an adapter that it held: it is asked what it holds before the next call."""
        place = self._place(deployment)
        if place is not None:
            place.is_known = False

    def have_restarted(self, deployments: Iterable[Deployment]) -> None:
        """The servers of these deployments were gone and are back, so they hold no adapter that was loaded there."""
        for place in filter(None, map(self._place, deployments)):
            if place.loads:
                place.is_known = False
                self._residency.drop_server(place.server)

    async def load(self, server: str, adapter: str, *, pinned: bool = False) -> None:
        """Load an adapter, by the id of its card or its name, at a server that is named as in `status`: at once, also
        where it has failed lately. `pinned`: keep it. Raises AdapterServerError; then it is not kept, either.
        """
        place, name = self._named(server, adapter)
        self._loader.forget(server, name)
        pins = pinned and not self._residency.is_pinned(server, name)
        if pins:
            self.pin(server, name, True)
        try:
            async with asyncio.timeout(_limit_s(place)):
                if not place.loads:
                    await self._loader.ensure_known(place)
                    if not self._residency.holds(server, name):
                        raise failure(
                            place.card, "unsupported", "the server loads adapters by itself, when it needs them"
                        )
                (await self._holder.hold(server, place.cards[name])).release()
        except BaseException as error:
            if pins:
                self.pin(server, name, False)
            if isinstance(error, TimeoutError):
                raise failure(place.card, "late", "no adapter that is loaded there could be unloaded in time") from None
            raise

    async def unload(self, server: str, adapter: str) -> None:
        """Unload an adapter, unless a call uses it."""
        place, name = self._named(server, adapter)
        if not place.loads:
            raise failure(place.card, "unsupported", "the server loads and unloads adapters by itself")
        await self._loader.ensure_known(place)
        if not self._residency.begin_unload(server, name):
            raise failure(place.card, "refused", "the adapter is not loaded, or a call uses it")
        await self._loader.unload(place, name)

    def pin(self, server: str, adapter: str, on: bool) -> None:
        """Keep an adapter when it is loaded, or no longer."""
        place, name = self._named(server, adapter)
        self._residency.pin(server, name, on)
        self._notify(place)

    def status(self) -> tuple[ServerResidency, ...]:
        """What every server holds, by the names that it has for its adapters."""
        return self._residency.snapshot()

    def problems(self) -> Mapping[tuple[str, str], str]:
        """Why the adapters that failed to load last did, by server and name. The texts are redacted, for operators."""
        return self._loader.problems

    def activity(self) -> Mapping[str, Activity]:
        """What servers reported of their adapters at the last sweep."""
        return self._loader.activity

    def waits(self) -> Mapping[str, int]:
        """How many calls had to wait for room, by the server that could hold their adapter."""
        return self._waits

    def load_s(self) -> Mapping[str, float]:
        """The seconds that all loads took together, by server."""
        return self._loader.load_s

    def share(self, sharing: Sharing) -> None:
        """Let other processes know what this one does from now on, before it does it."""
        self._loader.sharing = sharing

    @property
    def managed(self) -> frozenset[str]:
        """The servers at which this process loads and unloads adapters."""
        return frozenset(server for server, place in self._places.items() if place.loads)

    @property
    def is_waited_for(self) -> bool:
        """Whether a call waits for an adapter, here or in another process."""
        return self._residency.is_waited_for

    def usage(self, server: str, recent_s: float) -> Usage:
        """What this process does at a server, which was used `recent_s` ago included."""
        return self._residency.usage(server, self._now_s() - recent_s)

    def apply(self, server: str, usages: Mapping[str, Usage], *, is_changed: bool) -> None:
        """Take over what other processes do at a server, by their names. `is_changed`: they have loaded or unloaded
        adapters there, so it is asked what it holds.
        """
        self._residency.apply(server, usages, self._now_s(), lambda: next(self._tickets))
        if is_changed:
            self._loader.relist(self._places[server])
        self._notify(self._places[server])

    def conflicts(self, server: str, adapter: str, evict: Collection[str], *, is_stale: bool) -> bool:
        """Whether what other processes do forbids a step of this one that has begun."""
        return self._residency.conflicts(server, adapter, evict, is_stale=is_stale)

    async def sweep(self) -> None:
        """Ask every server what it holds, since it may have restarted, and unload adapters after their time."""
        await asyncio.gather(*(self._ask(place) for place in self._places.values()))
        await self.expire()
        self._prefetch()

    async def expire(self) -> None:
        """Unload the adapters that no call has used for their `ttl`, and those that have no card any more."""
        self._gone = {pair for pair in self._gone if self._residency.holds(*pair)}
        for server, name in self._gone:
            self._residency.pin(server, name, False)
        expired = {*self._residency.expired(self._now_s()), *self._gone}
        await asyncio.gather(*(self._expire(server, name) for server, name in expired))

    async def aclose(self) -> None:
        """End everything that runs, and close every connection."""
        await self._loader.aclose()
        await self._client.aclose()

    def _is_blocked(self, deployment: Deployment) -> bool:
        place = self._place(deployment)
        if place is None:
            return False
        name = place.naming.name_of(deployment.card)
        return self._loader.wait_s(place, name) > 0 and not self._residency.holds(place.server, name)

    def _ended(self, server: str, name: str) -> None:
        self._residency.end(server, name, self._now_s())
        if (place := self._places.get(server)) is not None:
            self._notify(place)
        self._prefetch()

    def _prefetch(self) -> None:
        """Begin to load what waiting calls need next, where that costs nothing."""
        for server, place in self._places.items():
            if not place.loads or not place.is_known:
                continue
            name = self._residency.prefetch(server, self._now_s())
            if name is None or name not in place.cards or self._loader.wait_s(place, name) > 0:
                continue
            step = self._residency.begin(server, name, self._now_s())
            if isinstance(step, Full):
                continue
            if isinstance(step, Load):
                self._loader.start(place, name, step.evict)
            self._residency.end(server, name, self._now_s())

    async def _ask(self, place: Place) -> None:
        try:
            await self._loader.list(place, activity=True)
        except AdapterServerError as error:
            _LOG.info("%s: %s", error, one_line(error.detail))
        self._notify(place)

    async def _expire(self, server: str, name: str) -> None:
        place = self._places.get(server)
        if place is None or not place.loads or not self._residency.begin_unload(server, name):
            return
        try:
            await self._loader.unload(place, name)
        except AdapterServerError as error:
            _LOG.warning('unloading the adapter "%s": %s: %s', name, error, one_line(error.detail))

    def _notify(self, place: Place) -> None:
        self._holder.notify(place.server)
        self.on_room(place.server)

    def _is_adapter(self, card: Card) -> bool:
        return card.kind == "adapter" and card.adapters is not None

    def _place(self, deployment: Deployment) -> Place | None:
        if deployment.card.adapters is None:
            return None
        return self._places.get(server_key(deployment))

    def _name(self, card: Card, deployments: Sequence[Deployment]) -> str:
        place = next(filter(None, map(self._place, deployments)), None)
        return card.model if place is None else place.naming.name_of(card)

    def _placed(self, server: str) -> Place | None:
        return self._places.get(server)

    def _named(self, server: str, adapter: str) -> tuple[Place, str]:
        place = self._places.get(server)
        if place is None:
            raise FieldError("server", "is none of the servers that hold adapters")
        name = place.name_of(adapter)
        if name is None:
            raise FieldError("adapter", "is the id of no adapter's card that this server can hold")
        return place, name


def _limit_s(place: Place) -> float:
    """How long a call waits for its adapter: a list, the load of another one that is waited for, and its own load."""
    return LIST_S + 2 * place.settings.load_timeout_s


def _of(error: AdapterServerError, card: Card) -> AdapterServerError:
    """The error for a call of this card: another card of the server may be one that its client must not know of."""
    return failure(card, error.problem, error.detail, fault=error.fault)
