"""The adapters of one server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from router.dispatch.residency.elsewhere import Elsewhere, Usage
from router.dispatch.residency.placement import Room
from router.dispatch.residency.queued import NEVER
from router.dispatch.residency.steps import AdapterResidency, Full, Load, Ready, ServerResidency, State, Step

NEVER_S = float("-inf")


class _Held:
    """An adapter that has a slot, or (`leaving`) had one. `leaves_for`: the adapter that gets the slot of this one.

    `kept_for`: the adapter that alone may have the slot next; no further call uses this one. `is_outdated`: it has
    other weights than its card states now, so no further call uses it, either. `evicts`: how many adapters leave for
    one that is being loaded. `used_here_s`: its last use by a call
    of this process, while `last_used_s` may be one elsewhere.
    """

    __slots__ = ("evicts", "is_outdated", "kept_for", "last_used_s", "leaves_for", "loaded_s", "state", "used_here_s")

    def __init__(self, state: State, now_s: float) -> None:
        self.state: State = state
        self.is_outdated = False
        self.last_used_s = self.loaded_s = now_s
        self.used_here_s = NEVER_S
        self.leaves_for: str | None = None
        self.kept_for: str | None = None
        self.evicts = 0


class Server:
    """What one server holds and which calls use it: never more adapters than it has slots."""

    def __init__(self, name: str, slots: int, pinned: frozenset[str]) -> None:
        self.name, self.slots = name, slots
        self.pinned, self._configured_pins = set(pinned), pinned
        self._held: dict[str, _Held] = {}
        # Counted whether or not the adapter is held: a call may outlive what it uses.
        self._uses: dict[str, int] = {}
        self._unloaded_s = float("-inf")
        self._elsewhere = Elsewhere()
        # The adapter that was loaded ahead, until a call uses it.
        self._ahead: str | None = None
        self.hits = self.loads = self.failures = self.evictions = self.full = 0

    def configure(self, slots: int, pinned: frozenset[str]) -> None:
        """Change slots and pins; what an operator has pinned stays so."""
        self.slots = slots
        self.pinned = (self.pinned - self._configured_pins) | pinned
        self._configured_pins = pinned
        for name in pinned:
            self.pin(name)

    def pin(self, adapter: str) -> None:
        """Never evict or expire `adapter`."""
        self.pinned.add(adapter)
        if adapter in self._held:
            self._held[adapter].kept_for = None

    def holds(self, adapter: str) -> bool:
        """Whether it is loaded, or being loaded."""
        held = self._current(adapter)
        return held is not None and held.state != "leaving"

    def knows(self, adapter: str) -> bool:
        """Whether it is loaded, being loaded, or being unloaded."""
        return self._current(adapter) is not None

    def room(self, adapter: str) -> Room:
        """What there is for `adapter`."""
        held = self._current(adapter)
        if adapter in self._elsewhere.leaving:
            return "full"
        if held is not None:
            return "full" if held.state == "leaving" or held.kept_for is not None else "holds"
        missing, own = self._missing(adapter), self._held.get(adapter)
        if own is not None and own.kept_for is not None:
            return "full"
        if missing <= 0:
            return "free"
        return "evictable" if self.slots > 0 and missing <= len(self._idle(adapter)) else "full"

    def begin(self, adapter: str, now_s: float, next_use: Callable[[str], float]) -> Step:
        """Count a use of `adapter`, and take a slot for it where it has none."""
        room, held = self.room(adapter), self._current(adapter)
        if room == "full":
            self.full += 1
            pins = self.pinned | self._elsewhere.pinned
            pinned = sum(name in pins and not each.is_outdated for name, each in self._held.items())
            return Full(self.slots > 0 and (held is not None or pinned < self.slots))
        self._uses[adapter] = self._uses.get(adapter, 0) + 1
        if held is not None:
            held.last_used_s = held.used_here_s = now_s
            self.hits += 1
            if adapter == self._ahead:
                self._ahead = None
            return Ready() if held.state == "loaded" else Load()
        evicted = self._victims(adapter, next_use)
        for name in evicted:
            self._held[name].state, self._held[name].leaves_for = "leaving", adapter
        self.give_up(adapter)
        coming = self._held[adapter] = _Held("loading", now_s)
        coming.used_here_s, coming.evicts = now_s, len(evicted)
        return Load(evicted)

    def keep_for(self, adapter: str, next_use: Callable[[str], float], among: Collection[str] = ()) -> None:
        """Let no further call use one of the adapters in use, or of those `among` them if there are any, so that
        `adapter` gets its slot: the one with the fewest calls, of equals the one that is needed last.
        """
        kept = [name for name, held in self._held.items() if held.kept_for == adapter]
        if kept and (not among or any(name in among for name in kept)):
            return
        # A slot that `adapter` may not take is free for others.
        self.give_up(adapter)
        used = [
            (self._uses[name], -next_use(name), held.last_used_s, name)
            for name, held in self._held.items()
            if held.state == "loaded" and name in self._uses and name not in self.pinned and held.kept_for is None
            if not among or name in among
        ]
        if used:
            self._held[min(used)[-1]].kept_for = adapter

    def give_up(self, adapter: str) -> None:
        """`adapter` needs no slot that is kept for it any more."""
        for held in self._held.values():
            if held.kept_for == adapter:
                held.kept_for = None

    def begin_unload(self, adapter: str) -> bool:
        """Mark a loaded adapter as leaving, so that no further call uses it; False where it is used, here or
        elsewhere, or not loaded.
        """
        held = self._held.get(adapter)
        if held is None or held.state != "loaded" or adapter in self._uses or self._elsewhere.keeps(adapter):
            return False
        held.state = "leaving"
        return True

    def loaded(self, adapter: str, now_s: float) -> None:
        """The server has loaded `adapter`, and so has unloaded what was evicted for it."""
        held = self._held.get(adapter)
        if held is None:
            held = self._held[adapter] = _Held("loaded", now_s)
        self._count(held)
        for name in self._leaving_for(adapter):
            self.unloaded(name, now_s)
        held.state, held.loaded_s, held.leaves_for = "loaded", now_s, None

    def failed(self, adapter: str) -> None:
        """The server has not loaded `adapter`, or not unloaded it where that was the step."""
        self._count(self._held.get(adapter))
        self.failures += self._undo(adapter)

    def withdrawn(self, adapter: str) -> None:
        """What `begin` or `begin_unload` has begun did not reach the server: it counts as neither load nor failure."""
        self._undo(adapter)

    def _count(self, held: _Held | None) -> None:
        """Count a load when it ends: what is counted is never taken back."""
        if held is not None and held.state == "loading":
            self.loads += 1
            self.evictions += held.evicts

    def _undo(self, adapter: str) -> bool:
        """Hold again what was held before `adapter` was to be loaded or unloaded; False where neither was going on."""
        held = self._held.get(adapter)
        if held is None or held.state == "loaded":
            return False
        stays = [adapter]
        if held.state == "loading":
            del self._held[adapter]
            # What the server has not been reported to have unloaded, it still holds.
            stays = self._leaving_for(adapter)
        for name in stays:
            self._held[name].state, self._held[name].leaves_for = "loaded", None
        return True

    def unloaded(self, adapter: str, now_s: float | None) -> None:
        """The server does not hold `adapter` any more."""
        held = self._held.get(adapter)
        if held is not None and held.state != "loading":
            del self._held[adapter]
        if now_s is not None:
            self._unloaded_s = max(self._unloaded_s, now_s)

    def end(self, adapter: str, now_s: float) -> None:
        """A use has ended."""
        left = self._uses.get(adapter, 0) - 1
        if left > 0:
            self._uses[adapter] = left
        else:
            self._uses.pop(adapter, None)
        held = self._held.get(adapter)
        if held is not None:
            held.last_used_s = held.used_here_s = max(held.last_used_s, now_s)

    def observe(self, loaded: Collection[str], asked_s: float, outdated: Collection[str] = ()) -> None:
        """Take over what the server reported when it was asked at `asked_s`; what was changed since then stays."""
        for name in [name for name, held in self._held.items() if held.state == "loaded" and held.loaded_s <= asked_s]:
            if name in loaded:
                self._held[name].is_outdated = name in outdated
            else:
                del self._held[name]
        for name in loaded if self._unloaded_s < asked_s else ():
            if name not in self._held:
                held = self._held[name] = _Held("loaded", asked_s)
                held.is_outdated = name in outdated

    def apply(self, usages: Iterable[Usage], now_s: float) -> None:
        """Take over what other processes do there now. What they use, or used until now, has been used now."""
        before, self._elsewhere = self._elsewhere, Elsewhere(usages)
        for name in (before.used | self._elsewhere.used) & self._held.keys():
            self._held[name].last_used_s = max(self._held[name].last_used_s, now_s)

    def conflicts(self, adapter: str, evict: Collection[str], is_stale: bool) -> bool:
        """Whether what other processes do forbids what has begun here: to use or load `adapter`, and to unload `evict`.
        `is_stale`: they have loaded or unloaded adapters since the server was asked.
        """
        held = self._held.get(adapter)
        if adapter in self._elsewhere.leaving or any(map(self._elsewhere.keeps, evict)):
            return True
        if held is None or held.state != "loading":
            return is_stale and held is not None
        return self._taken() + self._elsewhere.taken(self._held) > self.slots

    def usage(self, since_s: float, waiting: Mapping[str, int]) -> Usage:
        """What this process does there, for the others: adapters that calls have used `since_s` count as used."""
        state = {name: held.state for name, held in self._held.items()}
        used = (
            name
            for name, held in self._held.items()
            if name in self._uses or (held.used_here_s >= since_s and held.kept_for is None)
        )
        return Usage(
            tuple(sorted(name for name in used if state[name] == "loaded")),
            tuple(sorted(name for name in state if state[name] == "loading")),
            tuple(sorted(name for name in state if state[name] == "leaving")),
            waiting,
            tuple(sorted((self.pinned - self._configured_pins) & self._held.keys())),
        )

    def forget(self) -> None:
        """The server has restarted, and holds nothing but what is being loaded there now."""
        self._held = {name: held for name, held in self._held.items() if held.state == "loading"}

    def leave(self) -> bool:
        """The server is no longer configured: what it holds is not followed any more. Whether calls still run there."""
        self._held.clear()
        self._elsewhere = Elsewhere()
        self.pinned = set(self._configured_pins)
        return self.is_used

    @property
    def is_used(self) -> bool:
        """Whether calls run there that use an adapter."""
        return bool(self._uses)

    def expired(self, ttl_s: Mapping[str, float], now_s: float) -> list[str]:
        """The adapters that no call has used for longer than their time."""
        return [name for name, held in self._idle() if name in ttl_s and now_s - held.last_used_s >= ttl_s[name]]

    def can_spare_a_slot(self, next_use: Callable[[str], float]) -> bool:
        """Whether an adapter can be loaded ahead of its use without the loss of one that is known to be needed, and the
        requests that the last one was loaded for wait no longer or have begun.
        """
        if self._ahead in self._held and next_use(self._ahead) != NEVER:
            return False
        needless = sum(next_use(name) == NEVER for name, _ in self._idle())
        return self.slots > 0 and self._missing() <= needless

    def load_ahead(self, adapter: str) -> None:
        """The next `begin` of this adapter is no use of it."""
        self._ahead = adapter

    def snapshot(self, ttl_s: Mapping[str, float]) -> ServerResidency:
        """What it holds now."""
        adapters = (
            AdapterResidency(
                name,
                "outdated" if held.is_outdated and held.state == "loaded" else held.state,
                self._uses.get(name, 0),
                name in self.pinned,
                held.last_used_s,
                ttl_s.get(name),
                held.kept_for,
            )
            for name, held in sorted(self._held.items())
        )
        return ServerResidency(
            self.name, self.slots, tuple(adapters), self.hits, self.loads, self.failures, self.evictions, self.full
        )

    def _taken(self) -> int:
        """How many slots have an adapter. One that is leaving has given its slot to the adapter that comes, but keeps
        it where it leaves for another reason.
        """
        return sum(held.leaves_for is None for held in self._held.values())

    def _current(self, adapter: str) -> _Held | None:
        """What is held of an adapter, unless that is outdated."""
        held = self._held.get(adapter)
        return None if held is None or (held.is_outdated and held.state == "loaded") else held

    def _missing(self, adapter: str = "") -> int:
        """How many adapters must go before `adapter` can come; more than one where the slots have become fewer. It
        replaces what is outdated of itself.
        """
        elsewhere = self._elsewhere.taken({*self._held, adapter}) if self._elsewhere.used else 0
        return self._taken() + elsewhere + (adapter not in self._held) - self.slots

    def _idle(self, adapter: str | None = None) -> list[tuple[str, _Held]]:
        """The adapters that may be unloaded, for `adapter`."""
        return [
            (name, held)
            for name, held in self._held.items()
            if held.state == "loaded"
            and name != adapter
            and name not in self._uses
            and not self._elsewhere.keeps(name)
            and (name not in self.pinned or held.is_outdated)
            and held.kept_for in (None, adapter)
        ]

    def _victims(self, adapter: str, next_use: Callable[[str], float]) -> tuple[str, ...]:
        """The adapters to unload for `adapter`: those needed last, any that no waiting request is known to need, or
        that are outdated, before the others; of equals the one whose slot is kept for it, then those that have not been
        used for longest.
        """
        missing = self._missing(adapter)
        if missing <= 0:
            return ()

        def order(pair: tuple[str, _Held]) -> tuple[float, bool, bool, float, str]:
            name, held = pair
            needed = NEVER if held.is_outdated else next_use(name)
            return -needed, not held.is_outdated, held.kept_for is None, held.last_used_s, name

        return tuple(name for name, _ in sorted(self._idle(adapter), key=order)[:missing])

    def _leaving_for(self, adapter: str) -> list[str]:
        return [name for name, held in self._held.items() if held.leaves_for == adapter]
