"""The conversion of OpenAI's responses."""

from router.wire.conversion import Conversion, openai_error
from router.wire.responses.answer import ResponseEvents, answer
from router.wire.responses.request import to_chat

RESPONSES = Conversion(to_chat, answer, ResponseEvents, openai_error)

__all__ = ["RESPONSES"]
