"""Calling the chosen model."""

from router.dispatch.call import Call
from router.dispatch.deployments import Queue
from router.dispatch.dispatcher import Dispatcher, Dispatching
from router.dispatch.health import Cooldown
from router.dispatch.response import Answer
from router.dispatch.stream import EventStream, Timeouts

__all__ = ["Answer", "Call", "Cooldown", "Dispatcher", "Dispatching", "EventStream", "Queue", "Timeouts"]
