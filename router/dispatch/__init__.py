"""Call the chosen models: relay or convert, with health, queues and retries of every deployment."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from router.dispatch.bounds.timeouts import Timeouts
    from router.dispatch.call import Affinity, Call
    from router.dispatch.dispatcher import Dispatcher, DispatchSettings
    from router.dispatch.health import Cooldown
    from router.dispatch.pool.queue import QueueLimits
    from router.dispatch.response import UpstreamResponse
    from router.dispatch.stream import EventStream

__all__ = [
    "Affinity",
    "Call",
    "Cooldown",
    "DispatchSettings",
    "Dispatcher",
    "EventStream",
    "QueueLimits",
    "Timeouts",
    "UpstreamResponse",
]

# The modules are imported when they are first used: `route "prompt"` needs to know which cards can be called, but calls
# none.
_HOMES = {
    "Affinity": "call",
    "Call": "call",
    "Cooldown": "health",
    "DispatchSettings": "dispatcher",
    "Dispatcher": "dispatcher",
    "EventStream": "stream",
    "QueueLimits": "pool.queue",
    "Timeouts": "bounds.timeouts",
    "UpstreamResponse": "response",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
