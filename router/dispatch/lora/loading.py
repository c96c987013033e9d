"""Carry out at servers what the residency decides, and report to it what has happened."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import posixpath
import time
from collections.abc import Callable, Collection, Coroutine, Hashable
from typing import Any, Generic, Protocol, TypeVar

from router.dispatch.bodies.redaction import one_line
from router.dispatch.health import Cooldown
from router.dispatch.health.breaker import Breaker
from router.dispatch.lora.api import Activity, AdapterServerError, Listed
from router.dispatch.lora.http import failure
from router.dispatch.lora.places import Place
from router.dispatch.residency import Residency
from router.errors import without_frames
from router.formats.quantities import Seconds

Outcome = TypeVar("Outcome")

_LOG = logging.getLogger(__name__)

# One failed load shows that the next one would fail too; the wait doubles with each, up to five minutes.
_BACK_OFF = Cooldown(failures=1, time_s=Seconds(5))
# A sweep waits no longer for one server.
LIST_S = 10.0
# A server that has restarted is not at fault, nor is one whose slots others have filled.
_OF_THE_SERVER = frozenset({"unreachable", "full", "in_use", "cooling_down"})


class Sharing(Protocol):
    """What other processes at the same servers know of this one."""

    def is_published(self, server: str, adapter: str) -> bool:
        """Whether they know that calls of this process use the adapter there."""
        ...

    async def agree(self, server: str, adapter: str, evict: tuple[str, ...]) -> bool:
        """Publish what this process does there now: it uses or loads `adapter`, if that is not empty, and unloads
        `evict`. False where others do something that forbids it.
        """
        ...


class Flights(Generic[Outcome]):
    """Tasks by key, of which one runs at a time. Whoever waits for one may be cancelled without ending it."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[Outcome]] = {}

    def start(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, Outcome]]) -> asyncio.Task[Outcome]:
        """The task that runs for `key`; a new one where there is none."""
        task = self._running.get(key)
        # One that is done is removed a little later.
        if task is None or task.done():
            task = self._running[key] = asyncio.create_task(work())
            task.add_done_callback(lambda ended: self._ended(key, ended))
        return task

    async def join(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, Outcome]]) -> Outcome:
        """The outcome of the task for `key`."""
        return await asyncio.shield(self.start(key, work))

    async def aclose(self) -> None:
        """Cancel all tasks, and those that begin since others end."""
        while tasks := [task for task in self._running.values() if not task.done()]:
            for task in tasks:
                task.cancel()
            # Not only cancelled ones: whoever waits for a task that fails gets its error.
            await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, key: Hashable, task: asyncio.Task[Outcome]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            # Nobody may wait for it any more.
            task.exception()


class Loader:
    """Lists, loads and unloads, each at most once at a time for a server or an adapter there.

    `changed` is called with a server of which more may be possible now. `now_s` is a monotonic clock in seconds.
    """

    def __init__(
        self, residency: Residency, changed: Callable[[Place], None], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.problems: dict[tuple[str, str], str] = {}
        self.activity: dict[str, Activity] = {}
        self.load_s: dict[str, float] = {}
        self._residency, self._changed, self._now_s = residency, changed, now_s
        # Without other processes, nothing is shared.
        self.sharing: Sharing | None = None
        self._lists: Flights[AdapterServerError | None] = Flights()
        self._loads: Flights[AdapterServerError | None] = Flights()
        self._agreements: Flights[AdapterServerError | None] = Flights()
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._number = 0

    async def ensure_known(self, place: Place) -> None:
        """Ask a server what it holds, if that is not known. Raises AdapterServerError."""
        # The list that runs may be older than a change.
        while not place.is_known:
            await self.list(place)

    async def list(self, place: Place, *, activity: bool = False) -> None:
        """Ask a server what it holds, and with `activity` what it does with that. Raises AdapterServerError."""
        error = await self._lists.join((place, activity), lambda: self._list(place, activity))
        if error is not None:
            raise error.again()

    def wait_s(self, place: Place, name: str) -> float:
        """The seconds until an adapter that is not loaded may be tried again."""
        breaker = self._breakers.get((place.server, name))
        return 0.0 if breaker is None else breaker.wait_s(self._now_s())

    @property
    def troubled(self) -> set[tuple[str, str]]:
        """The adapters that have failed to load, by server and name."""
        return self._breakers.keys() | self.problems.keys()

    def forget(self, server: str, name: str) -> None:
        """What went wrong with this adapter there says nothing any more: it may be tried at once."""
        self._breakers.pop((server, name), None)
        self.problems.pop((server, name), None)

    def start(self, place: Place, name: str, evict: tuple[str, ...]) -> asyncio.Task[AdapterServerError | None]:
        """The task that loads an adapter for which `Residency.begin` returned Load; its result is the error, if any.

        Call it before anything else can run.
        """
        return self._loads.start((place.server, name), lambda: self._load(place, name, evict))

    def confirm(self, place: Place, name: str) -> asyncio.Task[AdapterServerError | None] | None:
        """The task that publishes the use of an adapter for which `Residency.begin` returned Ready; its result is
        `in_use` where that cannot be used now. None where others know of it already.
        """
        if self.sharing is None or self.sharing.is_published(place.server, name):
            return None
        return self._agreements.start((place.server, name), lambda: self._confirm(place, name))

    def relist(self, place: Place) -> None:
        """Begin to ask a server what it holds, since others have changed that."""
        place.is_known, place.changes = False, place.changes + 1
        self._lists.start((place, False), lambda: self._list(place, False))

    async def unload(self, place: Place, name: str) -> None:
        """Unload an adapter that `Residency.begin_unload` has marked. Raises AdapterServerError."""
        try:
            async with asyncio.timeout(place.settings.load_timeout_s):
                await self._agree(place, "", (name,))
                await self._unload(place, name)
        except TimeoutError:
            place.is_known = False
            self._residency.failed(place.server, name, self._now_s())
            raise failure(place.card, "late") from None
        except AdapterServerError as error:
            self._give_up(place, name, error)
            raise
        except BaseException:
            self._residency.failed(place.server, name, self._now_s())
            raise
        finally:
            self._changed(place)

    async def aclose(self) -> None:
        """End everything that runs."""
        await self._agreements.aclose()
        await self._lists.aclose()
        await self._loads.aclose()

    async def _list(self, place: Place, activity: bool) -> AdapterServerError | None:
        asked_s, changes = self._now_s(), place.changes
        # A call that needs the list waits for it as for a load. llama.cpp lists only between two steps of its model.
        limit_s = min(LIST_S, place.settings.load_timeout_s) if activity else place.settings.load_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                listed = await place.api.list()
        except TimeoutError:
            # A busy server still has what it had: one that has restarted refuses or breaks connections.
            return failure(place.card, "late", "it does not list its adapters in time")
        except AdapterServerError as error:
            if error.problem not in ("missing", "unsupported"):
                place.is_known = False
                return without_frames(error)
            # A server behind a proxy that shows no list can still load.
            listed = None
        if listed is not None:
            if problem := _misplaced(place, listed):
                return failure(place.card, "refused", problem)
            if place.server in self._residency.servers:
                self._residency.observe(place.server, listed.names, asked_s, _outdated(place, listed))
            self._changed(place)
        place.is_known = place.changes == changes
        if activity:
            await self._note_activity(place)
        return None

    async def _note_activity(self, place: Place) -> None:
        # Metrics may be closed to the gateway, which needs none of them.
        with contextlib.suppress(AdapterServerError, TimeoutError):
            async with asyncio.timeout(LIST_S):
                seen = await place.api.activity()
            if seen is not None:
                self.activity[place.server] = seen

    async def _load(self, place: Place, name: str, evict: tuple[str, ...]) -> AdapterServerError | None:
        pair = place.server, name
        breaker = self._breakers.setdefault(pair, Breaker())
        self._number = number = self._number + 1
        begun_s = self._now_s()
        breaker.begin(number, begun_s)
        error: AdapterServerError
        try:
            async with asyncio.timeout(place.settings.load_timeout_s):
                await self._agree(place, name, evict)
                await _check_slots(place, {name, *evict})
                for other in evict:
                    await self._unload(place, other)
                await self._load_at(place, name)
        except TimeoutError:
            # It may still be loaded there.
            place.is_known = False
            error = failure(place.card, "late", f"not within {place.settings.load_timeout_s:g} s (load_timeout)")
        except AdapterServerError as raised:
            error = without_frames(raised)
            if error.problem == "unreachable":
                place.is_known = False
        except BaseException:
            self._residency.failed(*pair, self._now_s())
            raise
        else:
            self._residency.loaded(*pair, self._now_s())
            self.load_s[place.server] = self.load_s.get(place.server, 0.0) + self._now_s() - begun_s
            self.forget(*pair)
            self._changed(place)
            return None
        self._give_up(place, name, error)
        if error.problem in _OF_THE_SERVER:
            breaker.end(number)
        else:
            breaker.open(_BACK_OFF, number, number, self._now_s())
        if error.problem not in ("full", "in_use"):
            self.problems[pair] = error.detail or str(error)
            _LOG.warning('adapter "%s": %s: %s', name, error, one_line(error.detail))
        self._changed(place)
        return error

    def _give_up(self, place: Place, name: str, error: AdapterServerError) -> None:
        """End a step that has failed, which did not begin where others forbid it."""
        if error.problem == "in_use":
            self._residency.withdrawn(place.server, name)
        else:
            self._residency.failed(place.server, name, self._now_s())

    async def _confirm(self, place: Place, name: str) -> AdapterServerError | None:
        try:
            await self._agree(place, name, ())
        except AdapterServerError as error:
            return without_frames(error)
        return None

    async def _agree(self, place: Place, name: str, evict: tuple[str, ...]) -> None:
        if self.sharing is not None and not await self.sharing.agree(place.server, name, evict):
            raise failure(place.card, "in_use", "another gateway uses, loads or unloads adapters there")

    async def _load_at(self, place: Place, name: str) -> None:
        path = place.path_of(name)
        if not path:
            raise failure(place.card, "refused", "its card states no `lora.path`: where the server finds the weights")
        pinned = name in place.pinned
        try:
            await place.api.load(name, path, pinned=pinned)
        except AdapterServerError as error:
            if error.problem != "exists":
                raise
            listed = await place.api.list()
            if listed is None or listed.path_of(name) in ("", path):
                return
            # Other weights have this name there: an earlier version.
            await place.api.unload(name)
            await place.api.load(name, path, pinned=pinned)

    async def _unload(self, place: Place, name: str) -> None:
        try:
            await place.api.unload(name)
        except AdapterServerError as error:
            if error.problem != "missing":
                raise
        self._residency.unloaded(place.server, name, self._now_s())


async def _check_slots(place: Place, own: Collection[str]) -> None:
    """Raise `full` where the server has no slot beside those of `own`: another process may have loaded adapters there
    since it was asked, and vLLM takes any number of them.
    """
    try:
        listed = await place.api.list()
    except AdapterServerError as error:
        if error.problem not in ("missing", "unsupported"):
            raise
        return
    if listed is not None and len(listed.names - {*own}) >= place.slots:
        raise failure(place.card, "full", "others have loaded adapters there")


def _outdated(place: Place, listed: Listed) -> list[str]:
    """The adapters that have other weights there than their cards state: earlier versions."""
    if not place.loads:
        return []
    return [held.name for held in listed.adapters if held.path and place.path_of(held.name) not in ("", held.path)]


def _misplaced(place: Place, listed: Listed) -> str:
    """Which position of `lora_slots` has the file of another card; empty where none has, or it cannot be known."""
    if place.card.lora_slots is None:
        return ""
    owners = {posixpath.basename(path): name for name in place.cards if (path := place.path_of(name))}
    for position, held in enumerate(listed.adapters):
        owner = owners.get(posixpath.basename(held.path), held.name)
        if owner != held.name:
            return (
                f'position {position} of `lora_slots` is "{held.name}", but the server has the file of "{owner}" there'
            )
    return ""
