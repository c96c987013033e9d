"""Calling the chosen model."""

from router.dispatch.call import Call
from router.dispatch.deployments import Queue
from router.dispatch.dispatcher import Dispatcher, DispatchSettings
from router.dispatch.health import Cooldown
from router.dispatch.response import UpstreamResponse
from router.dispatch.stream import EventStream, Timeouts

__all__ = ["Call", "Cooldown", "DispatchSettings", "Dispatcher", "EventStream", "Queue", "Timeouts", "UpstreamResponse"]
