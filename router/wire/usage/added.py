"""Add the tokens of further calls to the usage that an answer reports, in the words of its protocol."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from router.formats.json import json_bytes, json_or_none
from router.types import Api, Usage
from router.wire.sse import events_of, read_event

_LINES = ("ollama_chat", "ollama_generate")
_MAY_REPORT = re.compile(rb'"usage"\s*:\s*\{|"(?:prompt_)?eval_count"')

Counts = dict[str, Any]


def with_added(api: Api, document: Mapping[str, Any], more: Usage, otherwise: Usage | None = None) -> dict[str, Any]:
    """A whole answer, or an event, whose usage has the tokens of `more` as well.

    A whole answer has a usage `otherwise`, which is what it reports where it reports none. Of an event only the counts
    that it has are changed: it may be one of several that report.
    """
    is_whole, changed = otherwise is not None, dict(document)
    if api in _LINES:
        if "eval_count" in document or "prompt_eval_count" in document:
            changed |= _sum(_reported(document), _lines(more), may_add=is_whole)
        elif otherwise is not None:
            changed |= _lines(otherwise)
        return changed
    words = _WORDS[api]
    for name in ("response", "message"):
        inner = document.get(name)
        if isinstance(inner, Mapping) and isinstance(inner.get("usage"), Mapping):
            changed[name] = {**inner, "usage": _sum(inner["usage"], words(more), may_add=is_whole)}
    if isinstance(document.get("usage"), Mapping):
        changed["usage"] = _sum(document["usage"], words(more), may_add=is_whole)
    elif otherwise is not None:
        changed["usage"] = words(otherwise)
    return changed


def events_with_added(api: Api, piece: bytes, more: Usage) -> bytes:
    """A piece of a stream, of whole events, whose usage has the tokens of `more` as well; the rest is unchanged."""
    if not _MAY_REPORT.search(piece):
        return piece
    if api in _LINES:
        return b"".join(_line_with_added(api, line, more) for line in piece.splitlines(keepends=True))
    return b"".join(_event_with_added(api, raw, more) for raw in events_of(piece))


def _line_with_added(api: Api, line: bytes, more: Usage) -> bytes:
    value = json_or_none(line)
    if not isinstance(value, Mapping) or not _MAY_REPORT.search(line):
        return line
    return json_bytes(with_added(api, value, more)) + b"\n"


def _event_with_added(api: Api, raw: bytes, more: Usage) -> bytes:
    event = read_event(raw)
    if event.value is None or not _MAY_REPORT.search(raw):
        return raw
    name = b"event: " + event.name + b"\n" if event.name else b""
    return name + b"data: " + json_bytes(with_added(api, event.value, more)) + b"\n\n"


def _sum(reported: Mapping[str, Any], more: Counts, *, may_add: bool) -> Counts:
    """The counts of both. `may_add`: also those that only `more` has, unless they are 0."""
    total = dict(reported)
    for name, value in more.items():
        before = reported.get(name)
        if isinstance(value, Mapping):
            if isinstance(before, Mapping) or (may_add and any(value.values())):
                total[name] = _sum(before if isinstance(before, Mapping) else {}, dict(value), may_add=may_add)
        elif isinstance(before, int | float) and not isinstance(before, bool):
            total[name] = before + value
        elif may_add and value:
            total[name] = value
    return total


def _chat(usage: Usage) -> Counts:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _responses(usage: Usage) -> Counts:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def _messages(usage: Usage) -> Counts:
    # Here the input leaves out what was read from a cache, or written to one.
    cached, written = usage.cached_input_tokens, usage.cache_write_tokens
    return {
        "input_tokens": max(usage.input_tokens - cached - written, 0),
        "output_tokens": usage.output_tokens,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": written,
    }


def _lines(usage: Usage) -> Counts:
    return {"prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens}


def _reported(line: Mapping[str, Any]) -> Counts:
    return {name: line[name] for name in ("prompt_eval_count", "eval_count") if name in line}


_WORDS: Mapping[Api, Callable[[Usage], Counts]] = {
    "chat": _chat,
    "completions": _chat,
    "embeddings": _chat,
    "responses": _responses,
    "messages": _messages,
}
