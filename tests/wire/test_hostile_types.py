"""A client may state an object where the protocols have a word, which no set and no dictionary can be asked for."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from router.errors import CallerError
from router.types import Api
from router.wire import CONVERSIONS, read_request
from router.wire.dialect import SERVERS, adapt, may_be_refused, refusal
from router.wire.messages.thinking import with_thinking_off, without_foreign_thinking, without_thinking
from router.wire.reading.extras import extras_in
from router.wire.reading.identity import identity_of
from router.wire.reading.indivisible import indivisible_in
from router.wire.reading.needs import modalities_of, needs_of
from router.wire.reading.provider_ids import ids_used
from router.wire.texts import newest_human_texts
from router.wire.usage import answers_asked, output_limit, prompt_tokens, remote_media_tokens

Body = Mapping[str, Any]
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
BODIES: Mapping[Api, dict[str, Any]] = {
    "chat": {
        "model": "one",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is it?"}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "so"},
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "rain"}]},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_object"},
        "max_tokens": 5,
        "stop": ["x"],
        "service_tier": "flex",
    },
    "messages": {
        "model": "one",
        "max_tokens": 64,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "What?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "so", "signature": "s"},
                    {"type": "tool_use", "id": "t", "name": "f", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "rain"}]},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
                ],
            },
        ],
        "tools": [{"type": "custom", "name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    },
    "responses": {
        "model": "one",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What?"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "rain"}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "so"}]},
        ],
        "tools": [{"type": "function", "name": "f"}],
        "tool_choice": {"type": "function", "name": "f"},
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "text"}},
    },
}
PURE: tuple[Callable[[Body], object], ...] = (
    indivisible_in,
    needs_of,
    modalities_of,
    newest_human_texts,
    prompt_tokens,
    remote_media_tokens,
    answers_asked,
    ids_used,
    may_be_refused,
    without_thinking,
    with_thinking_off,
    lambda body: without_foreign_thinking(body, signed_only=True),
    lambda body: list(extras_in(body)),
    lambda body: identity_of(body, {}),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a body."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in pairs:
        yield (*path, key)
        yield from places(each, (*path, key))


def changed(body: Body, path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy of the body with another value at this place."""
    copied = copy.deepcopy(dict(body))
    holder: Any = copied
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return copied


@pytest.mark.parametrize("value", [{}, {"type": {}}, [], [[]], None, True, 7], ids=repr)
@pytest.mark.parametrize("api", BODIES)
def test_any_value_in_any_place_is_read_or_refused_by_name(api: Api, value: Any) -> None:
    for path in places(BODIES[api]):
        body = changed(BODIES[api], path, value)
        for read in PURE:
            read(body)
        output_limit(api, body)
        with contextlib.suppress(CallerError):
            read_request(api, body)
        chat = body
        with contextlib.suppress(CallerError):
            chat = body if api == "chat" else CONVERSIONS[api].to_chat(body)
        for server in SERVERS.values():
            with contextlib.suppress(CallerError):
                refusal(chat, server.dialect)
                adapt(chat, server.dialect)
