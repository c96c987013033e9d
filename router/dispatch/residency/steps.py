"""What a call has to do before it may use an adapter, and what a server holds."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

State = Literal["loading", "loaded", "outdated", "leaving"]
"""`outdated`: it has other weights than its card states. `leaving`: it is being unloaded. No call may use either."""


class Ready(Struct, frozen=True, tag=True):
    """The adapter is loaded."""


class Load(Struct, frozen=True, tag=True):
    """The adapter has a slot: unload `evict`, then load it, or wait for the load of it that already runs."""

    evict: tuple[str, ...] = ()


class Full(Struct, frozen=True, tag=True):
    """The adapter cannot be loaded now. `helps`: whether that changes when calls end or adapters have been unloaded;
    false where every slot belongs to a pinned adapter, or the server has none.
    """

    helps: bool = True


Step = Ready | Load | Full


class AdapterResidency(Struct, frozen=True):
    """One adapter on one server. `uses`: calls that use it or wait until it is loaded. Times are of the caller's clock
    in seconds; `ttl_s` is the time without use after which it is unloaded. `kept_for`: the adapter that gets the slot
    once the running calls have ended, since a request for it has waited for too long.
    """

    name: str
    state: State
    uses: int
    pinned: bool
    last_used_s: float
    ttl_s: float | None = None
    kept_for: str | None = None


class ServerResidency(Struct, frozen=True):
    """What one server holds, by name, and how often since the start of this process: calls found their adapter loaded
    or being loaded (`hits`), an adapter was loaded for them, loading failed, one was evicted for another, or there was
    no slot (`full`). `evictions` has those that have begun.
    """

    server: str
    slots: int
    adapters: tuple[AdapterResidency, ...] = ()
    hits: int = 0
    loads: int = 0
    failures: int = 0
    evictions: int = 0
    full: int = 0
