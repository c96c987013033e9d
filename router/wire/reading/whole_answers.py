"""Read a whole answer of any protocol: its text, how it ended, and the log-probabilities of its tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct

from router.types import Api
from router.wire.chat.answer import objects
from router.wire.chat.finish import reason_of

Document = Mapping[str, Any]
Ending = Literal["whole", "cut", "refused", "calls", "unknown"]
"""How an answer ended: by itself, at its limit of tokens, by a filter or a refusal, with calls of tools."""

_MOST = 2**53


class WholeAnswer(Struct, frozen=True):
    """What a whole answer says. `text` is what a person reads, without reasoning. `has_calls`: it calls tools.

    `logprobs` are those of the tokens that were chosen, empty where the upstream gives none.
    """

    text: str
    ending: Ending
    has_calls: bool = False
    logprobs: tuple[float, ...] = ()


def read_whole_answer(api: Api, document: Document) -> WholeAnswer:
    """The answer in a decoded document of a protocol; the first where there are several. Never raises."""
    return _READERS[api](document)


def _chat(document: Document) -> WholeAnswer:
    choice = _first(document.get("choices"))
    message = _object(choice.get("message"))
    refusal = message.get("refusal")
    has_calls = bool(message.get("tool_calls") or message.get("function_call"))
    content = message.get("content")
    text = content if isinstance(content, str) else "".join(_texts(content, ("text", "output_text")))
    ending = _ending_of_choice(choice, has_calls)
    if isinstance(refusal, str) and refusal:
        text, ending = text or refusal, "refused"
    entries = objects(_object(choice.get("logprobs")).get("content"))
    return WholeAnswer(text, ending, has_calls, _numbers(entry.get("logprob") for entry in entries))


def _completions(document: Document) -> WholeAnswer:
    choice = _first(document.get("choices"))
    logprobs = _object(choice.get("logprobs")).get("token_logprobs")
    numbers = _numbers(logprobs if isinstance(logprobs, list) else ())
    return WholeAnswer(_text(choice.get("text")), _ending_of_choice(choice, False), False, numbers)


def _messages(document: Document) -> WholeAnswer:
    blocks = objects(document.get("content"))
    has_calls = any(str(block.get("type")).endswith("tool_use") for block in blocks)
    endings: Mapping[str, Ending] = {
        "end_turn": "whole",
        "stop_sequence": "whole",
        "max_tokens": "cut",
        "model_context_window_exceeded": "cut",
        "refusal": "refused",
        "tool_use": "calls",
    }
    text = "".join(_text(block.get("text")) for block in blocks if block.get("type") == "text")
    return WholeAnswer(text, endings.get(str(document.get("stop_reason")), "unknown"), has_calls)


def _responses(document: Document) -> WholeAnswer:
    items = objects(document.get("output"))
    parts = [part for item in items if item.get("type") == "message" for part in objects(item.get("content"))]
    text = "".join(_text(part.get("text")) for part in parts if part.get("type") == "output_text")
    refusal = "".join(_text(part.get("refusal")) for part in parts if part.get("type") == "refusal")
    has_calls = any(str(item.get("type")).endswith("_call") for item in items)
    reason = _object(document.get("incomplete_details")).get("reason")
    ending: Ending = "whole" if document.get("status") in ("completed", None) else "unknown"
    if document.get("status") == "incomplete":
        ending = "refused" if reason == "content_filter" else "cut"
    if refusal:
        ending = "refused"
    elif has_calls and ending == "whole":
        ending = "calls"
    entries = [entry for part in parts for entry in objects(part.get("logprobs"))]
    return WholeAnswer(text or refusal, ending, has_calls, _numbers(entry.get("logprob") for entry in entries))


def _ollama(document: Document) -> WholeAnswer:
    message = _object(document.get("message"))
    has_calls = bool(message.get("tool_calls"))
    text = _text(message.get("content")) or _text(document.get("response"))
    reason = document.get("done_reason")
    ending: Ending = "cut" if reason == "length" else "whole" if document.get("done") is True else "unknown"
    return WholeAnswer(text, "calls" if has_calls and ending == "whole" else ending, has_calls)


def _ending_of_choice(choice: Document, has_calls: bool) -> Ending:
    try:
        reason = reason_of(choice)
    except ValueError:
        reason = None
    if reason is None:
        return "calls" if has_calls else "unknown"
    endings: Mapping[str, Ending] = {
        "stop": "whole",
        "length": "cut",
        "content_filter": "refused",
        "tool_calls": "calls",
        "function_call": "calls",
    }
    return endings.get(reason.meaning, "unknown")


def _texts(parts: Any, kinds: tuple[str, ...]) -> Iterator[str]:
    return (_text(part.get("text")) for part in objects(parts) if part.get("type") in kinds)


def _first(choices: Any) -> Document:
    entries = objects(choices)
    return next((entry for entry in entries if entry.get("index") in (0, None)), entries[0] if entries else {})


def _numbers(values: Any) -> tuple[float, ...]:
    numbers = (value for value in values if isinstance(value, int | float) and not isinstance(value, bool))
    # A whole number of JSON may be too large for a float.
    return tuple(float(value) for value in numbers if isinstance(value, float) or abs(value) <= _MOST)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _object(value: Any) -> Document:
    return value if isinstance(value, Mapping) else {}


_READERS: Mapping[Api, Callable[[Document], WholeAnswer]] = {
    "chat": _chat,
    "completions": _completions,
    "embeddings": lambda _: WholeAnswer("", "unknown"),
    "messages": _messages,
    "responses": _responses,
    "ollama_chat": _ollama,
    "ollama_generate": _ollama,
}
