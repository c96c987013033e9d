"""The conversion of OpenAI's responses."""

from router.wire.conversion import Conversion
from router.wire.responses.answer import ResponseEvents, answer, error
from router.wire.responses.request import to_chat

RESPONSES = Conversion(to_chat, answer, ResponseEvents, error)

__all__ = ["RESPONSES"]
