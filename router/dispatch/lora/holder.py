"""Get an adapter into use at a server: list, wait for room, load, and count the use."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator

from router.cards.schema import Card
from router.dispatch.lora.api import AdapterServerError
from router.dispatch.lora.claims import Hold
from router.dispatch.lora.http import failure
from router.dispatch.lora.loading import Loader
from router.dispatch.lora.places import Place
from router.dispatch.residency import Full, Load, Ready, Residency

# How often one call asks a server for room that others have taken when it was to be used.
_MOST_FULL = 3


class Holder:
    """Holds adapters for calls. `place_of`: a server as it is configured now; `ended` is called with a server and an
    adapter when a use ends; `tickets` are the numbers of waiting calls.
    """

    def __init__(
        self,
        residency: Residency,
        loader: Loader,
        place_of: Callable[[str], Place | None],
        ended: Callable[[str, str], None],
        tickets: Iterator[int],
        now_s: Callable[[], float],
    ) -> None:
        self._residency, self._loader, self._place_of = residency, loader, place_of
        self._ended, self._tickets, self._now_s = ended, tickets, now_s
        # Set, and replaced, whenever an adapter that found no room at a server may find some.
        self._changed: dict[str, asyncio.Event] = {}

    def notify(self, server: str) -> None:
        """An adapter that found no room there may find some now."""
        if (waited_for := self._changed.pop(server, None)) is not None:
            waited_for.set()

    async def hold(self, server: str, card: Card) -> Hold:
        """The use of the card's adapter, once it is loaded there. A time limit is the caller's.

        Raises AdapterServerError where it cannot be loaded.
        """
        full = 0
        # Cards may be reloaded in the meantime.
        while (place := self._place_of(server)) is not None:
            await self._loader.ensure_known(place)
            if card.kind == "model":
                break
            name = place.naming.name_of(card)
            if not place.loads:
                return self._used_as_it_is(place, card, name)
            self._check_back_off(place, card, name)
            step = self._residency.begin(server, name, self._now_s())
            if isinstance(step, Full):
                if not step.helps:
                    raise failure(card, "full", "every slot has a pinned adapter")
                await self._room(place, name)
                continue
            # The call is counted from here, so it must be uncounted whatever happens.
            hold = Hold(functools.partial(self._ended, server, name))
            try:
                error = await self._ready(place, name, step)
            except BaseException:
                hold.release()
                raise
            if error is None:
                return hold
            hold.release()
            if error.problem == "in_use":
                # What the others do is known now, so the next step takes account of it.
                continue
            full += 1
            if error.problem != "full" or full == _MOST_FULL:
                raise error.again()
            # Others have loaded adapters there, of which some can go.
            place.is_known = False
        return Hold()

    async def _ready(self, place: Place, name: str, step: Ready | Load) -> AdapterServerError | None:
        if isinstance(step, Load):
            return await asyncio.shield(self._loader.start(place, name, step.evict))
        confirming = self._loader.confirm(place, name)
        return None if confirming is None else await asyncio.shield(confirming)

    def _used_as_it_is(self, place: Place, card: Card, name: str) -> Hold:
        """The use of an adapter where the server loads by itself: what it holds then is a guess."""
        if card.lora_slots is not None and not set(card.applied) <= set(card.lora_slots):
            raise failure(card, "missing", "it is none of the `lora_slots` of the base's card")
        if card.stack:
            # The adapters that it adds up stay from the server's start.
            return Hold()
        now_s = self._now_s()
        step = self._residency.begin(place.server, name, now_s)
        if isinstance(step, Full):
            return Hold()
        if isinstance(step, Load):
            for other in step.evict:
                self._residency.unloaded(place.server, other)
            self._residency.loaded(place.server, name, now_s)
        return Hold(functools.partial(self._ended, place.server, name))

    async def _room(self, place: Place, name: str) -> None:
        """Wait until an adapter may find room; those that wait are known to be needed."""
        ticket = next(self._tickets)
        self._residency.enqueue(name, ticket, (place.server,))
        try:
            await self._changed.setdefault(place.server, asyncio.Event()).wait()
        finally:
            self._residency.dequeue(ticket)

    def _check_back_off(self, place: Place, card: Card, name: str) -> None:
        wait_s = self._loader.wait_s(place, name)
        if wait_s > 0 and not self._residency.holds(place.server, name):
            reason = self._loader.problems.get((place.server, name), "")
            raise failure(card, "cooling_down", f"it is tried again in {wait_s:.0f} s; {reason}")
