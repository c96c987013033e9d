"""Finish reasons: the words of servers, and what they mean in OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

FAILED = "failed"
"""The meaning of a reason that says that the answer is not complete, although the server ended it."""

# OpenAI's words, and those that other servers use for the same. Case makes no difference.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "stop": (
        "stop",
        "complete",  # Cohere
        "completed",
        "done",
        "end_turn",  # Anthropic, Bedrock
        "eos",  # Together AI
        "eos_found",
        "eos_token",  # TGI
        "finish_reason_stop",  # Vertex AI
        "finished",
        "normal",
        "stop_sequence",
        "stop_string",
        "stop_token",
        "stop_tokens",
    ),
    "length": (
        "length",
        "context_length",
        "context_window_exceeded",
        "error_limit",  # Cohere
        "finish_reason_max_tokens",
        "max_length",
        "max_new_tokens",
        "max_output_tokens",
        "max_tokens",  # Cohere, Gemini, Anthropic
        "model_context_window_exceeded",  # Anthropic
        "model_length",  # Mistral
        "token_limit",  # watsonx
    ),
    "content_filter": (
        "content_filter",
        "blocklist",  # Gemini, as are those below that are not marked
        "content_filtered",  # Bedrock
        "error_toxic",  # Cohere
        "finish_reason_safety",
        "guardrail_intervened",  # Bedrock
        "image_safety",
        "prohibited_content",
        "recitation",
        "refusal",  # Anthropic
        "safety",
        "sensitive",  # Zhipu
        "spii",
    ),
    "tool_calls": ("tool_calls", "tool_call", "tool_use"),
    "function_call": ("function_call",),
    FAILED: (
        "abort",  # vLLM, SGLang
        "aborted",
        "cancelled",
        "engine_overloaded",
        "error",  # OpenRouter, Cohere
        "failed",
        "insufficient_system_resource",  # DeepSeek
        "internal_error",
        "malformed_function_call",  # Gemini
        "network_error",  # Zhipu
        "server_error",
        "timeout",
        "unexpected_tool_call",  # Gemini
    ),
}
_MEANINGS = {word: meaning for meaning, words in _WORDS.items() for word in words}
_NONE = frozenset({"", "none", "null", "finish_reason_unspecified"})


class Reason(Struct, frozen=True):
    """A finish reason: the server's `word`, and its `meaning`, which is OpenAI's word or FAILED.

    A word that is not known is its own meaning.
    """

    word: str
    meaning: str

    @property
    def is_failure(self) -> bool:
        """Whether the answer is not complete."""
        return self.meaning == FAILED


def reason_of(choice: Mapping[str, Any]) -> Reason | None:
    """The finish reason of a choice; None where it has not finished, which some servers state as an empty word.

    Raises ValueError where the reason is not a word.
    """
    given = choice.get("finish_reason")
    # SGLang's own API has an object.
    word = given.get("type") if isinstance(given, dict) else given
    if word is None:
        return None
    if not isinstance(word, str):
        raise ValueError("`finish_reason` is not a string")
    key = word.strip().lower()
    return None if key in _NONE else Reason(word, _MEANINGS.get(key, word))
