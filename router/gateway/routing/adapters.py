"""What the servers of a gateway hold, in the operator's words: names of deployments and cards in place of addresses."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from router.cards import Card
from router.cards.adapter.serving import AdapterServer
from router.dispatch.lora.api import Activity
from router.dispatch.lora.control import AdapterControl
from router.dispatch.lora.naming import naming_of
from router.dispatch.lora.places import server_key
from router.dispatch.pool.deployment import Deployment, deployments_of
from router.dispatch.residency import AdapterResidency, ServerResidency
from router.errors import FieldError, did_you_mean, excerpt
from router.gateway.telemetry.metrics import AdapterCounts

_NO_ACTIVITY = Activity()


class HeldAdapter(Struct, frozen=True):
    """An adapter on a server. `card` is None where none of that server's cards calls it; `uses` are the calls that use
    it or wait for it. Times are in seconds; `on_gpu` is None where the server does not say.
    """

    adapter: str
    card: str | None
    state: str
    uses: int
    pinned: bool
    idle_s: float
    ttl_s: float | None = None
    on_gpu: bool | None = None


class HeldServer(Struct, frozen=True):
    """What one server holds, and the counts since this process began. `problems` are why adapters failed to load last,
    by card.
    """

    server: str
    url: str
    kind: str
    manages: bool
    slots: int
    adapters: tuple[HeldAdapter, ...]
    hits: int
    loads: int
    evictions: int
    waits: int
    failures: int
    load_s: float = 0.0
    problems: Mapping[str, str] = {}


class AdapterServers:
    """The servers of these cards that hold adapters, by the names of the base's deployments."""

    def __init__(self, catalog: Iterable[Card], control: AdapterControl) -> None:
        self._control = control
        self._url_of: dict[str, str] = {}
        self._name_of: dict[str, str] = {}
        self._settings: dict[str, AdapterServer] = {}
        self._cards: dict[tuple[str, str], str] = {}
        cards = [card for card in catalog if card.adapters is not None and card.effort_of is None]
        # The base's own deployments give the names, also where it is only served with adapters.
        for card in sorted(cards, key=lambda card: card.kind == "adapter"):
            for deployment in deployments_of(card):
                self._add(card, deployment)

    def __len__(self) -> int:
        return len(self._url_of)

    @property
    def adapters(self) -> frozenset[str]:
        """The ids of all cards of adapters that these servers can hold."""
        return frozenset(self._cards.values())

    def name_of(self, url: str) -> str:
        """The name of the server at this address."""
        return self._name_of.get(url, "other")

    def named(self, name: str) -> str:
        """The address of a server. Raises FieldError."""
        if name not in self._url_of:
            known = ", ".join(sorted(self._url_of)) or "none"
            hint = did_you_mean(name, self._url_of) or f"; known: {known}"
            raise FieldError("server", f'is "{excerpt(name)}", which is no server that holds adapters{hint}')
        return self._url_of[name]

    def servers_of(self, adapter: str) -> tuple[str, ...]:
        """The addresses of the servers that can hold the adapter with this card. Raises FieldError."""
        urls = tuple(dict.fromkeys(url for (url, _), card in self._cards.items() if card == adapter))
        if not urls:
            hint = did_you_mean(adapter, self.adapters)
            problem = f'is "{excerpt(adapter)}", which is no adapter\'s card whose base states `adapters`{hint}'
            raise FieldError("adapter", problem)
        return urls

    def held(self) -> Iterator[HeldServer]:
        """What every server holds, as far as this process knows."""
        problems, activity = self._control.problems(), self._control.activity()
        for server in sorted(self._control.status(), key=lambda each: self.name_of(each.server)):
            settings = self._settings.get(server.server)
            if settings is not None:
                own = {name: why for (url, name), why in problems.items() if url == server.server}
                yield self._held(server, settings, own, activity.get(server.server, _NO_ACTIVITY))

    def counts(self) -> Iterator[AdapterCounts]:
        """What every server holds, in numbers."""
        for server in self.held():
            yield AdapterCounts(
                server.server,
                server.slots,
                len(server.adapters),
                server.hits,
                server.loads,
                server.evictions,
                server.waits,
                server.failures,
                server.load_s,
            )

    def _held(
        self, server: ServerResidency, settings: AdapterServer, problems: Mapping[str, str], activity: Activity
    ) -> HeldServer:
        url, now_s = server.server, time.monotonic()
        return HeldServer(
            server=self.name_of(url),
            url=url,
            kind=settings.server,
            manages=settings.loads,
            slots=server.slots,
            adapters=tuple(self._adapter(url, each, activity, now_s) for each in server.adapters),
            hits=server.hits,
            loads=server.loads,
            evictions=server.evictions,
            waits=self._control.waits().get(url, 0),
            failures=server.failures,
            load_s=round(self._control.load_s().get(url, 0.0), 3),
            problems={self._cards.get((url, name), name): why for name, why in problems.items()},
        )

    def _adapter(self, url: str, each: AdapterResidency, activity: Activity, now_s: float) -> HeldAdapter:
        return HeldAdapter(
            adapter=each.name,
            card=self._cards.get((url, each.name)),
            state=each.state,
            uses=each.uses,
            pinned=each.pinned,
            idle_s=0.0 if each.uses else round(max(now_s - each.last_used_s, 0.0), 1),
            ttl_s=each.ttl_s,
            on_gpu=None if activity.on_gpu is None else each.name in activity.on_gpu,
        )

    def _add(self, card: Card, deployment: Deployment) -> None:
        url, naming = server_key(deployment), naming_of(card)
        assert card.adapters is not None
        if url not in self._name_of:
            _, mark, number = deployment.name.partition("#")
            name = f"{card.base or card.id}{mark}{number}"
            self._name_of[url], self._url_of[name], self._settings[url] = name, url, card.adapters
        if card.kind == "adapter" and card.withheld is None and naming is not None:
            self._cards.setdefault((url, naming.name_of(card)), card.id)
