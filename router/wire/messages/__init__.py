"""The conversion of Anthropic's messages."""

from router.wire.conversion import Conversion
from router.wire.messages.answer import MessageEvents, answer, error
from router.wire.messages.request import to_chat
from router.wire.messages.thinking import without_foreign_thinking

MESSAGES = Conversion(to_chat, answer, MessageEvents, error)

__all__ = ["MESSAGES", "without_foreign_thinking"]
