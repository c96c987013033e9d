"""Calling the chosen model."""

from router.dispatch.answer import Answer, Stream, Timeouts
from router.dispatch.dispatcher import Dispatcher

__all__ = ["Answer", "Dispatcher", "Stream", "Timeouts"]
