"""Anthropic's messages, answered by chat completions."""

from router.dispatch.convert.conversion import Conversion
from router.dispatch.convert.messages.answer import MessageEvents, answer, error
from router.dispatch.convert.messages.request import to_chat
from router.dispatch.convert.messages.signed import without_unsigned_thinking

MESSAGES = Conversion(to_chat, answer, MessageEvents, error)

__all__ = ["MESSAGES", "without_unsigned_thinking"]
