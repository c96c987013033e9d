"""Call the chosen models: relay or convert, with health, queues and retries of every deployment."""

from router.dispatch.call import Affinity, Call
from router.dispatch.dispatcher import Dispatcher, DispatchSettings
from router.dispatch.health import Cooldown
from router.dispatch.pool.queue import QueueLimits
from router.dispatch.response import UpstreamResponse
from router.dispatch.stream import EventStream, Timeouts

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
