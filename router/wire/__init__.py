"""The wire protocols as pure functions: read requests, usage, errors and events, and convert between protocols.

litellm has adapters for the same conversions. Version 1.106.2 was tested with real cases and is not used here, because

- its Anthropic stream mixes up tool calls: where two arrive interleaved, the second gets all arguments; where two are
  in one chunk, the second is lost and its arguments are joined to the first's (`{}{}`);
- a stream that was cut, or that contains an error, ends cleanly, with `message_stop` or `response.completed`;
- a chunk of an unexpected shape sends the text of a Python exception to the client, or raises a ValidationError;
- `cache_control` is dropped unless the model is a Claude; `is_error`, `disable_parallel_tool_use`, search results and
  plain-text documents are dropped silently;
- its Responses deltas have no `sequence_number`, and `aresponses` needs the proxy's dependencies;
- it takes 145 and 125 µs of CPU per chunk, and 3.9 s to import.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from router.wire.chat.request import ChatRequest, Turn, wants_stream, wants_stream_usage
    from router.wire.conversion import Conversion, EventWriter
    from router.wire.dialect import Dialect
    from router.wire.messages import without_foreign_thinking
    from router.wire.messages.count_tokens import InputParts, count_input
    from router.wire.request import CONVERSIONS, read_request
    from router.wire.responses.reasoning import without_sealed_reasoning

__all__ = [
    "CONVERSIONS",
    "ChatRequest",
    "Conversion",
    "Dialect",
    "EventWriter",
    "InputParts",
    "Turn",
    "count_input",
    "read_request",
    "wants_stream",
    "wants_stream_usage",
    "without_foreign_thinking",
    "without_sealed_reasoning",
]

# The modules are imported when they are first used: a decision on the command line converts nothing.
_HOMES = {
    "CONVERSIONS": "request",
    "ChatRequest": "chat.request",
    "Conversion": "conversion",
    "Dialect": "dialect",
    "EventWriter": "conversion",
    "InputParts": "messages.count_tokens",
    "Turn": "chat.request",
    "count_input": "messages.count_tokens",
    "read_request": "request",
    "wants_stream": "chat.request",
    "wants_stream_usage": "chat.request",
    "without_foreign_thinking": "messages",
    "without_sealed_reasoning": "responses.reasoning",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
