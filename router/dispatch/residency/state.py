"""Which adapters are loaded on which servers, and which are loaded and unloaded next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from router.dispatch.residency.elsewhere import Usage
from router.dispatch.residency.placement import Room, ServerLoad, ranked
from router.dispatch.residency.queued import LATER_FIRST, MustLeave, NextUses
from router.dispatch.residency.server import Server
from router.dispatch.residency.steps import Full, ServerResidency, Step


class Residency:
    """The adapters of all servers of a gateway process. Times are of one clock of the caller, in seconds.

    Every `begin` that returns Ready or Load is ended by one `end`, whatever happens in between. The caller carries out
    the steps, and reports each load as `loaded` or `failed`, each unload as `unloaded` or `failed`. A call whose
    adapter is being loaded for another call waits for that load. Methods about a server that was not set raise
    KeyError, but reports about it are ignored.
    """

    def __init__(self) -> None:
        self._servers: dict[str, Server] = {}
        # Those that are no longer configured, while calls run there.
        self._removed: dict[str, Server] = {}
        self._ttl_s: dict[str, float] = {}
        self._next_uses = NextUses()
        # The tickets of requests that wait in other processes, by server, process and adapter.
        self._elsewhere: dict[tuple[str, str, str], int] = {}

    def set_server(self, server: str, slots: int, pinned: frozenset[str] = frozenset()) -> None:
        """Set how many adapters a server holds at once, and which of them are never evicted."""
        if slots < 0:
            raise ValueError(f"slots: expected at least 0, got {slots}")
        known = self._servers.get(server)
        if known is None and (known := self._removed.pop(server, None)) is not None:
            self._servers[server] = known
        if known is None:
            self._servers[server] = Server(server, slots, pinned)
        else:
            known.configure(slots, pinned)

    def drop_server(self, server: str) -> None:
        """The server has restarted: nothing is known to be loaded. Loads that run now are still reported."""
        if server in self._servers:
            self._servers[server].forget()

    def remove_server(self, server: str) -> None:
        """The server is no longer configured. Should it come back, calls that still run there are known."""
        self._set_waiting(server, {}, lambda: 0)
        known = self._servers.pop(server, None)
        if known is not None and known.leave():
            self._removed[server] = known

    @property
    def servers(self) -> frozenset[str]:
        """The servers that were set."""
        return frozenset(self._servers)

    def observe(self, server: str, loaded: Collection[str], now_s: float, outdated: Collection[str] = ()) -> None:
        """Take over what the server reported when it was asked at `now_s`; what was changed since then stays. Of those
        `loaded`, the `outdated` ones have other weights than their cards state: they take slots, but no calls.
        """
        self._servers[server].observe(frozenset(loaded), now_s, frozenset(outdated))

    def rank(self, adapter: str, servers: Sequence[ServerLoad]) -> list[str]:
        """The servers, best first: a holder, one with a free slot, by rendezvous hashing, the least busy."""
        return ranked(adapter, servers, lambda server: self._room(server, adapter))

    def holds(self, server: str, adapter: str) -> bool:
        """Whether the adapter is loaded there, or being loaded."""
        return server in self._servers and self._servers[server].holds(adapter)

    def can_begin(self, server: str, adapter: str) -> bool:
        """Whether `begin` would not return Full now."""
        return self._room(server, adapter) != "full"

    def begin(self, server: str, adapter: str, now_s: float) -> Step:
        """Begin to use `adapter` at `server`: it is loaded, it has got a slot and is to be loaded, or there is none."""
        step = self._servers[server].begin(adapter, now_s, self._next_uses.next)
        if not isinstance(step, Full):
            self._count_as_passed(server, adapter)
        return step

    def begin_unload(self, server: str, adapter: str) -> bool:
        """Begin to unload; False where the adapter is used or not loaded. Report `unloaded` or `failed` afterwards."""
        return self._servers[server].begin_unload(adapter)

    def loaded(self, server: str, adapter: str, now_s: float) -> None:
        """The server has loaded the adapter, after it unloaded what was evicted for it."""
        if server in self._servers:
            self._servers[server].loaded(adapter, now_s)

    def failed(self, server: str, adapter: str, now_s: float) -> None:
        """Loading, or unloading, has failed. The server still holds those to evict that it has not unloaded."""
        if server in self._servers:
            self._servers[server].failed(adapter)

    def withdrawn(self, server: str, adapter: str) -> None:
        """Loading, or unloading, was given up before the server knew of it."""
        if server in self._servers:
            self._servers[server].withdrawn(adapter)

    def unloaded(self, server: str, adapter: str, now_s: float | None = None) -> None:
        """The server does not hold the adapter any more; `now_s` guards it against an older `observe`."""
        if server in self._servers:
            self._servers[server].unloaded(adapter, now_s)

    def end(self, server: str, adapter: str, now_s: float) -> None:
        """A use that `begin` has counted has ended. An adapter in use is never evicted."""
        known = self._servers.get(server) or self._removed.get(server)
        if known is not None:
            known.end(adapter, now_s)
            if not known.is_used:
                self._removed.pop(server, None)

    def enqueue(
        self, adapter: str, ticket: int, servers: Collection[str] = (), must_leave: MustLeave = lambda _: ()
    ) -> None:
        """A request with this number waits. It will need `adapter` at one of `servers`; where there are none, at any.

        Lower numbers are served earlier. Where no server can load its adapter, and `LATER_FIRST` later requests have
        begun at one of them, an adapter in use there takes no further calls until this request has got its slot. It is
        one of those that `must_leave` names for the server, if any: then the request may not begin before, even if
        there is room, as where its tenant has its whole share.
        """
        self._next_uses.add(adapter, ticket, servers, must_leave)

    def dequeue(self, ticket: int) -> None:
        """A request waits no longer. Call this after its `begin`, so that a slot that is kept for it is still kept."""
        adapter = self._next_uses.remove(ticket)
        if adapter is not None:
            for server in self._servers.values():
                server.give_up(adapter)

    def set_ttl(self, adapter: str, ttl_s: float | None) -> None:
        """Unload the adapter once no call has used it for this long; None: keep it until the slot is needed."""
        if ttl_s is None:
            self._ttl_s.pop(adapter, None)
        else:
            self._ttl_s[adapter] = ttl_s

    def expired(self, now_s: float) -> list[tuple[str, str]]:
        """The (server, adapter) pairs that have not been used for their time, and are neither used nor pinned."""
        if not self._ttl_s:
            return []
        return [(name, one) for name, server in self._servers.items() for one in server.expired(self._ttl_s, now_s)]

    def pin(self, server: str, adapter: str, on: bool) -> None:
        """Never evict or expire the adapter there, or again as usual."""
        if on:
            self._servers[server].pin(adapter)
        else:
            self._servers[server].pinned.discard(adapter)

    def is_pinned(self, server: str, adapter: str) -> bool:
        """Whether the adapter is never evicted there."""
        return adapter in self._servers[server].pinned

    def prefetch(self, server: str, now_s: float) -> str | None:
        """The next adapter that a waiting request needs and no server holds, where it can be loaded at `server` without
        the loss of one that is known to be needed. Load it by `begin`, and `end` it at once.

        Where there are several servers, not for the first requests: another server may serve them sooner.
        """
        if not self._servers[server].can_spare_a_slot(self._next_uses.next):
            return None
        for waiting in self._next_uses.ahead(server, len(self._servers)):
            adapter = waiting.adapter
            if not any(each.knows(adapter) for name, each in self._servers.items() if waiting.may_use(name)):
                self._servers[server].load_ahead(adapter)
                return adapter
        return None

    def usage(self, server: str, since_s: float) -> Usage:
        """What this process does at a server, for other processes. Adapters that calls have used `since_s` count as in
        use, except where a request elsewhere waits for a slot there.
        """
        waiting = Counter(each.adapter for each in self._next_uses.at(server) if each.is_own)
        if any(place[0] == server for place in self._elsewhere):
            since_s = float("inf")
        return self._servers[server].usage(since_s, dict(waiting))

    def apply(self, server: str, usages: Mapping[str, Usage], now_s: float, new_ticket: Callable[[], int]) -> None:
        """Take over what other processes do at a server, by their names. Their waiting requests compete
        for slots equally with those of this process, in the order in which they become known.
        """
        self._servers[server].apply(usages.values(), now_s)
        waiting = {(server, process, name): name for process, usage in usages.items() for name in usage.waiting}
        self._set_waiting(server, waiting, new_ticket)

    def conflicts(self, server: str, adapter: str, evict: Collection[str], *, is_stale: bool) -> bool:
        """Whether what other processes do forbids a step that has begun; end it as failed then."""
        return self._servers[server].conflicts(adapter, evict, is_stale)

    @property
    def is_waited_for(self) -> bool:
        """Whether a request waits for an adapter, here or elsewhere."""
        return len(self._next_uses) > 0

    def snapshot(self) -> tuple[ServerResidency, ...]:
        """What every server holds, by name."""
        return tuple(self._servers[name].snapshot(self._ttl_s) for name in sorted(self._servers))

    def _count_as_passed(self, server: str, adapter: str) -> None:
        """A call has begun at `server`: where the first request that waits for it has no slot there, it was passed."""
        first = next(self._next_uses.at(server), None)
        if first is None or first.adapter == adapter:
            return
        must_leave = first.must_leave(server)
        if not must_leave and self.can_begin(server, first.adapter):
            return
        first.passed += 1
        if first.passed >= LATER_FIRST:
            self._servers[server].keep_for(first.adapter, self._next_uses.next, must_leave)

    def _set_waiting(
        self, server: str, waiting: Mapping[tuple[str, str, str], str], new_ticket: Callable[[], int]
    ) -> None:
        for place in [place for place in self._elsewhere if place[0] == server and place not in waiting]:
            self.dequeue(self._elsewhere.pop(place))
        # In the order in which the other process published them.
        for place in [place for place in waiting if place not in self._elsewhere]:
            self._elsewhere[place] = ticket = new_ticket()
            self._next_uses.add(waiting[place], ticket, (server,), is_own=False)

    def _room(self, server: str, adapter: str) -> Room:
        known = self._servers.get(server)
        return "full" if known is None else known.room(adapter)
