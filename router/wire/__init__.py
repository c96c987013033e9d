"""Between wire protocols: clients of other surfaces answered by an upstream that speaks only chat completions.

litellm has adapters for the same. Version 1.106.2 was judged by real cases and is not used here, because

- its Anthropic stream mixes calls up: of two that grow at once all arguments go to the second, and of two in one chunk
  the second is lost, its arguments joined to the first's (`{}{}`);
- a stream that was cut, or that brought an error, ends cleanly, with `message_stop` or `response.completed`;
- a chunk of an unexpected shape gives the client a Python exception's text, or raises a ValidationError;
- `cache_control` goes unless the model's name is Claude's; `is_error`, `disable_parallel_tool_use`, search results and
  plain-text documents vanish without a word;
- its Responses deltas have no `sequence_number`, and `aresponses` needs the proxy's dependencies;
- it costs 145 and 125 µs of CPU a chunk, and importing it 3.9 s.
"""

from router.wire.chat.request import ChatRequest, Turn, wants_stream, wants_stream_usage
from router.wire.conversion import Conversion, EventWriter
from router.wire.dialect import Dialect
from router.wire.messages import without_unsigned_thinking
from router.wire.messages.count_tokens import InputParts, count_input
from router.wire.request import CONVERSIONS, read_request

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
    "without_unsigned_thinking",
]
