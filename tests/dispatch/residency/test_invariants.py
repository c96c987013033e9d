"""What holds whatever calls, failures, restarts and operators do."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.dispatch.residency import Full, Load, Residency, ServerLoad

SERVERS = ("one", "two", "three")
SLOTS = {"one": 1, "two": 2, "three": 3}
adapters = st.sampled_from("abcdef")
servers = st.sampled_from(SERVERS)


class RealServers(RuleBasedStateMachine):
    """The policy beside servers that hold what they are asked to hold, and that refuse one adapter too many."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.residency = Residency()
        self.on: dict[str, set[str]] = {}
        self.calls: list[tuple[str, str]] = []
        self.loading: list[tuple[str, str, tuple[str, ...]]] = []
        self.unloading: list[tuple[str, str]] = []
        self.pinned: set[tuple[str, str]] = set()
        self.outdated: set[tuple[str, str]] = set()
        self.ticket = 0
        self.queue: dict[int, str] = {}
        self.at: dict[int, set[str]] = {}
        for server in SERVERS:
            self.residency.set_server(server, SLOTS[server])
            self.on[server] = set()
        for number, adapter in enumerate("abc"):
            self.residency.set_ttl(adapter, 3.0 + number)

    def uses(self, server: str, adapter: str) -> bool:
        return (server, adapter) in self.calls

    @rule(server=servers, adapter=adapters)
    def begin(self, server: str, adapter: str) -> None:
        self.now_s += 1
        known_room = self.residency.can_begin(server, adapter)
        step = self.residency.begin(server, adapter, self.now_s)
        assert known_room == (not isinstance(step, Full))
        if isinstance(step, Full):
            return
        is_loading = any(each[:2] == (server, adapter) for each in self.loading)
        if isinstance(step, Load):
            for victim in step.evict:
                assert not self.uses(server, victim)
                assert (server, victim) not in self.pinned or (server, victim) in self.outdated
                assert victim not in {each for at, each in self.unloading if at == server}
                # The one that goes is needed last among those that could go.
                if (server, victim) in self.outdated:
                    continue
                stays = {each.name: each for each in self.held(server)}
                for other in stays.values():
                    is_idle = other.state == "loaded" and not self.uses(server, other.name)
                    if is_idle and not other.pinned and other.kept_for in (None, adapter):
                        assert self.next_use(victim) >= self.next_use(other.name)
            if not is_loading:
                self.loading.append((server, adapter, step.evict))
            else:
                assert step.evict == ()
        else:
            assert adapter in self.on[server]
            assert (server, adapter) not in self.outdated
        self.calls.append((server, adapter))

    def held(self, server: str) -> tuple:  # type: ignore[type-arg]
        return next(each.adapters for each in self.residency.snapshot() if each.server == server)

    def next_use(self, adapter: str) -> float:
        return min((ticket for ticket, each in self.queue.items() if each == adapter), default=float("inf"))

    @precondition(lambda self: self.loading)
    @rule(data=st.data(), fails=st.sampled_from(["no", "no", "no", "load", "unload"]))
    def finish_load(self, data: st.DataObject, fails: str) -> None:
        self.now_s += 1
        load = data.draw(st.sampled_from(self.loading))
        self.loading.remove(load)
        server, adapter, evict = load
        if fails == "unload" and evict:
            self.residency.failed(server, adapter, self.now_s)
            return
        for victim in evict:
            self.gone(server, victim)
            self.residency.unloaded(server, victim, self.now_s)
        # An earlier version is unloaded before.
        self.gone(server, adapter)
        if fails == "load":
            self.residency.failed(server, adapter, self.now_s)
            return
        self.on[server].add(adapter)
        self.residency.loaded(server, adapter, self.now_s)

    def gone(self, server: str, adapter: str) -> None:
        self.on[server].discard(adapter)
        self.outdated.discard((server, adapter))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.now_s += 1
        call = data.draw(st.sampled_from(self.calls))
        self.calls.remove(call)
        self.residency.end(*call, self.now_s)

    @rule(seconds=st.integers(0, 6))
    def sweep(self, seconds: int) -> None:
        self.now_s += seconds
        for server, adapter in self.residency.expired(self.now_s):
            assert not self.uses(server, adapter)
            assert (server, adapter) not in self.pinned
            assert self.residency.begin_unload(server, adapter)
            self.unloading.append((server, adapter))
        assert self.residency.expired(self.now_s) == []

    @precondition(lambda self: self.unloading)
    @rule(fails=st.booleans())
    def finish_unload(self, fails: bool) -> None:
        self.now_s += 1
        server, adapter = self.unloading.pop()
        if fails:
            self.residency.failed(server, adapter, self.now_s)
        else:
            self.gone(server, adapter)
            self.residency.unloaded(server, adapter, self.now_s)

    @rule(server=servers, adapter=adapters, on=st.booleans())
    def pin(self, server: str, adapter: str, on: bool) -> None:
        self.residency.pin(server, adapter, on)
        (self.pinned.add if on else self.pinned.discard)((server, adapter))

    @rule(adapter=adapters, at=st.sets(servers))
    def enqueue(self, adapter: str, at: set[str]) -> None:
        self.ticket += 1
        self.queue[self.ticket] = adapter
        self.residency.enqueue(adapter, self.ticket, at)
        self.at[self.ticket] = at

    @precondition(lambda self: self.queue)
    @rule()
    def dequeue(self) -> None:
        ticket = min(self.queue)
        del self.queue[ticket]
        self.residency.dequeue(ticket)

    @rule(server=servers)
    def restart(self, server: str) -> None:
        # Steps that are under way end with an error of the server.
        self.now_s += 1
        self.on[server].clear()
        self.outdated = {each for each in self.outdated if each[0] != server}
        self.residency.drop_server(server)
        for load in [each for each in self.loading if each[0] == server]:
            self.loading.remove(load)
            self.residency.failed(server, load[1], self.now_s)
        self.unloading = [each for each in self.unloading if each[0] != server]

    @rule(server=servers, edited=st.sets(adapters, max_size=2))
    def observe(self, server: str, edited: set[str]) -> None:
        # Of the cards that are edited, what is loaded now is an earlier version.
        changing = {name for at, name in self.unloading if at == server}
        changing |= {each for at, name, evict in self.loading if at == server for each in (name, *evict)}
        self.outdated |= {(server, name) for name in edited & self.on[server] - changing}
        outdated = {name for at, name in self.outdated if at == server}
        self.now_s += 1
        self.residency.observe(server, self.on[server], self.now_s, outdated)

    @rule(server=servers)
    def prefetch(self, server: str) -> None:
        adapter = self.residency.prefetch(server, self.now_s)
        if adapter is None:
            return
        assert any(
            name == adapter and (not self.at[ticket] or server in self.at[ticket])
            for ticket, name in self.queue.items()
        )
        step = self.residency.begin(server, adapter, self.now_s)
        assert isinstance(step, Load)
        assert not set(step.evict) & set(self.queue.values())
        self.loading.append((server, adapter, step.evict))
        self.residency.end(server, adapter, self.now_s)

    @invariant()
    def no_server_holds_more_than_its_slots(self) -> None:
        for server in SERVERS:
            leaving = {victim for at, _, evict in self.loading if at == server for victim in evict}
            coming = {adapter for at, adapter, _ in self.loading if at == server}
            assert len((self.on[server] - leaving) | coming) <= SLOTS[server]
            assert len(self.on[server]) <= SLOTS[server]

    @invariant()
    def an_adapter_in_use_is_loaded_or_its_load_has_failed(self) -> None:
        for server in SERVERS:
            leaving = {each.name for each in self.held(server) if each.state == "leaving"}
            assert not leaving & {adapter for at, adapter in self.calls if at == server}

    @invariant()
    def a_slot_is_kept_only_for_an_adapter_that_a_request_waits_for(self) -> None:
        for server in SERVERS:
            kept = [each.kept_for for each in self.held(server) if each.kept_for is not None]
            assert len(kept) == len(set(kept))
            assert set(kept) <= set(self.queue.values())
            assert not any(each.pinned and each.kept_for for each in self.held(server))

    @invariant()
    def a_holder_comes_first(self) -> None:
        for adapter in "abcdef":
            order = self.residency.rank(adapter, [ServerLoad(server) for server in SERVERS])
            holders = [
                self.residency.holds(server, adapter) and self.residency.can_begin(server, adapter) for server in order
            ]
            assert holders == sorted(holders, reverse=True)


TestRealServers = RealServers.TestCase
TestRealServers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
