"""OpenAI's responses, answered by chat completions."""

from router.dispatch.convert.conversion import Conversion
from router.dispatch.convert.responses.answer import ResponseEvents, answer, error
from router.dispatch.convert.responses.request import to_chat

RESPONSES = Conversion(to_chat, answer, ResponseEvents, error)

__all__ = ["RESPONSES"]
