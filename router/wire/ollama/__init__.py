"""The conversions of Ollama's own API: `/api/chat` and `/api/generate`, streamed as lines of JSON."""

from router.wire.conversion import Conversion
from router.wire.ollama.answer import (
    ChatLines,
    GenerateLines,
    answer_chat,
    answer_generate,
    answer_to_load,
    error,
)
from router.wire.ollama.request import chat_to_chat, generate_to_chat, prepared

OLLAMA_CHAT = Conversion(chat_to_chat, answer_chat, ChatLines, error)
OLLAMA_GENERATE = Conversion(generate_to_chat, answer_generate, GenerateLines, error)

__all__ = ["OLLAMA_CHAT", "OLLAMA_GENERATE", "answer_to_load", "prepared"]
