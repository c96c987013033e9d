"""The use of adapters at servers, shared between gateways and workers through the shared state.

All processes write to one blob for each server: what each of them uses, loads, unloads and waits for. A process
publishes the use of an adapter before its call, and publishes before it loads or unloads one, in one step that succeeds
only if it has seen what the others do; so none unloads what another one uses. A use that was published counts until the
next round, so that frequent calls publish nothing. What a process has published expires some seconds after it was
killed. Without the shared state, each acts alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from router.dispatch.lora.control import AdapterControl
from router.dispatch.residency import Usage
from router.store.state.protocol import Blob, StateError, StateStore, blob_named

RESIDENCY = "residency/"
_EVERY_S = 1.0
# While a request waits for an adapter, here or elsewhere.
_SOON_S = 0.1
# How long what a process has published counts, and when it is published again.
_LIFE_S, _RENEW_S = 8.0, 2.0
_MOST_TRIES = 10
_MOST_WAITING = 64


class Entry(Struct, frozen=True, omit_defaults=True):
    """What one process does at a server, until `until_s`, in seconds since 1970."""

    until_s: float
    usage: Usage


class Published(Struct, frozen=True, omit_defaults=True):
    """What processes do at a server, by their names. `changes` counts how often they began or ended to load or unload
    an adapter.
    """

    changes: int = 0
    entries: dict[str, Entry] = {}


class _Known:
    """What is known of one server: the blob as it was read or written last, and the usages that were applied.

    `sure`: the adapters whose use by this process the others know of.
    """

    def __init__(self) -> None:
        self.version, self.published = 0, Published()
        self.applied: dict[str, Usage] = {}
        self.changes = 0
        self.sure: frozenset[str] = frozenset()
        self.sure_until_s = 0.0
        self.lock = asyncio.Lock()


class SharedResidency:
    """The use of the adapters of `control`, published in `store`; without a store, nothing is shared."""

    def __init__(
        self, control: AdapterControl, store: StateStore | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._control, self._store, self._clock = control, store, clock
        self._name = secrets.token_hex(8)
        self._known: dict[str, _Known] = {}
        self._seen = 0
        if store is not None:
            control.share(self)

    async def run(self) -> None:
        """Refresh every second, more often while a request waits, until cancelled; ends where nothing is shared."""
        refreshed_s = 0.0
        while self._store is not None:
            await asyncio.sleep(_SOON_S)
            if self._control.is_waited_for or time.monotonic() - refreshed_s >= _EVERY_S:
                await self.refresh()
                refreshed_s = time.monotonic()

    async def refresh(self) -> None:
        """Apply what other processes do, and publish what this one does."""
        servers = self._control.managed
        self._known = {server: known for server, known in self._known.items() if server in servers}
        if self._store is None or not servers:
            return
        with contextlib.suppress(StateError):
            named = {_name_of(server): server for server in servers}
            for blob in await self._store.blobs_after(self._seen, RESIDENCY):
                self._seen = max(self._seen, blob.version)
                if blob.name in named:
                    known = self._of(named[blob.name])
                    # Not between the write of a newer one and its answer.
                    async with known.lock:
                        self._read(known, blob)
        for server in servers:
            if server not in self._control.managed:
                # The cards were reloaded meanwhile.
                continue
            # Also without the state: what was published before expires.
            self._apply(server)
            if self._is_due(server):
                with contextlib.suppress(StateError):
                    await self._publish(self._store, server)

    def is_published(self, server: str, adapter: str) -> bool:
        """See `Sharing`."""
        known = self._known.get(server)
        return known is not None and adapter in known.sure and self._clock() < known.sure_until_s

    async def agree(self, server: str, adapter: str, evict: tuple[str, ...]) -> bool:
        """See `Sharing`."""
        if self._store is None or server not in self._control.managed:
            return True
        try:
            return await self._publish(self._store, server, (adapter, evict))
        except StateError:
            # Without it, each process acts alone.
            return True

    async def _publish(self, store: StateStore, server: str, step: tuple[str, tuple[str, ...]] | None = None) -> bool:
        """Publish what this process does now; False where what others do forbids the step, or in case of contention."""
        known = self._of(server)
        async with known.lock:
            for attempt in range(_MOST_TRIES):
                if step is not None or attempt:
                    await self._reread(store, server, known)
                if server not in self._control.managed:
                    # The cards were reloaded meanwhile.
                    return True
                is_stale = self._apply(server)
                if step is not None and self._control.conflicts(server, *step, is_stale=is_stale):
                    return False
                usage, written = self._usage(server), self._entry(known)
                entries = {
                    name: entry
                    for name, entry in known.published.entries.items()
                    # Those of killed processes; clocks may differ a little.
                    if name != self._name and entry.until_s > self._clock() - _LIFE_S
                }
                if usage:
                    entries[self._name] = Entry(self._clock() + _LIFE_S, usage)
                is_change = (usage.loading, usage.leaving) != (written.loading, written.leaving)
                published = Published(known.published.changes + is_change, entries)
                # A use that ends must not seem published while this is being written.
                known.sure &= {*usage.used}
                blob = Blob(_name_of(server), known.version, msgspec.json.encode(published))
                if version := await store.swap_blob(blob, self._clock()):
                    known.version, known.published, known.changes = version, published, published.changes
                    known.sure, known.sure_until_s = frozenset(usage.used), self._clock() + _LIFE_S - _RENEW_S
                    return True
            return False

    def _is_due(self, server: str) -> bool:
        known, usage = self._of(server), self._usage(server)
        entry = known.published.entries.get(self._name)
        if entry is None:
            return bool(usage)
        age_s = self._clock() - (entry.until_s - _LIFE_S)
        if usage == entry.usage:
            return age_s > _RENEW_S
        # How many calls wait changes with each call; that some wait for another adapter is news at once.
        counted = msgspec.structs.replace(usage, waiting=entry.usage.waiting)
        return counted != entry.usage or usage.waiting.keys() != entry.usage.waiting.keys() or age_s >= _EVERY_S

    def _apply(self, server: str) -> bool:
        """Apply what others do, as far as it is known and has not expired; whether they have changed what is loaded."""
        known, now_s = self._of(server), self._clock()
        usages = {
            name: entry.usage
            for name, entry in known.published.entries.items()
            if name != self._name and entry.until_s > now_s
        }
        is_stale = known.changes != known.published.changes
        if is_stale or usages != known.applied:
            known.applied, known.changes = usages, known.published.changes
            self._control.apply(server, usages, is_changed=is_stale)
        return is_stale

    async def _reread(self, store: StateStore, server: str, known: _Known) -> None:
        # Also the one that is known already: where there is none, the state has lost its data.
        blob = await blob_named(store, _name_of(server), max(known.version - 1, 0))
        if blob is not None:
            self._read(known, blob)
        else:
            known.version, known.published = 0, Published()

    def _read(self, known: _Known, blob: Blob) -> None:
        if blob.version <= known.version:
            return
        known.version = blob.version
        try:
            known.published = msgspec.json.decode(blob.content, type=Published)
        except msgspec.DecodeError:
            # Of another release.
            known.published = Published(known.published.changes)

    def _usage(self, server: str) -> Usage:
        usage = self._control.usage(server, _EVERY_S)
        waiting = dict(list(usage.waiting.items())[:_MOST_WAITING])
        return msgspec.structs.replace(usage, waiting=waiting)

    def _entry(self, known: _Known) -> Usage:
        entry = known.published.entries.get(self._name)
        return Usage() if entry is None else entry.usage

    def _of(self, server: str) -> _Known:
        return self._known.setdefault(server, _Known())


def _name_of(server: str) -> str:
    """The name of a server's blob; its address may have secrets."""
    return f"{RESIDENCY}{hashlib.sha256(server.encode()).hexdigest()[:16]}"
