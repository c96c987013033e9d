"""What an error of a server shows about a request in its own protocol: Anthropic's messages, or OpenAI's responses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from router.formats.text import late_pattern
from router.types import Api
from router.wire.dialect.corrections import SIGNATURE, largest_output_limit, rejected_fields
from router.wire.effort import LEAST_BUDGET
from router.wire.messages.thinking import with_thinking_off, without_thinking
from router.wire.reading.stored import without_encrypted_reasoning

Body = Mapping[str, Any]
_Q = r"[\\\"'`]*"
# Anthropic's servers name the place: `tools.0.custom.eager_input_streaming`.
_EXTRA = late_pattern(r"([\w.]+): extra inputs are not permitted", re.IGNORECASE)
# Without these the answer still means the same.
_HINTS: Mapping[Api, frozenset[str]] = {
    "messages": frozenset(
        {
            "context_management",
            "diagnostics",
            "eager_input_streaming",
            "effort",
            "inference_geo",
            "metadata",
            "scope",
            "service_tier",
            "speed",
            "temperature",
            "top_k",
            "top_p",
            "ttl",
        }
    ),
    "responses": frozenset(
        {
            "context_management",
            "metadata",
            "parallel_tool_calls",
            "prompt_cache_key",
            "prompt_cache_options",
            "prompt_cache_retention",
            "reasoning",
            "safety_identifier",
            "service_tier",
            "stream_options",
            "temperature",
            "top_p",
            "truncation",
            "user",
        }
    ),
}
_LIMITS: Mapping[Api, str] = {"messages": "max_tokens", "responses": "max_output_tokens"}
_BETA_HEADER = late_pattern(
    r"invalid beta flag|anthropic-beta.{0,40}header|unexpected value\(s\).{0,200}anthropic-beta", re.IGNORECASE
)
# What users and tools say, in which any names may occur.
_CONTENTS = frozenset({"arguments", "input", "input_schema", "parameters", "schema"})


def rejects_beta_header(error: str) -> bool:
    """Whether the error rejects the header by which Anthropic's clients ask for features of its own service."""
    return _BETA_HEADER.search(error) is not None


class Correction(Struct, frozen=True):
    """A body that the server may accept. `changed`: the fields that were left out or limited."""

    body: Body
    changed: tuple[str, ...] = ()


def _adaptive(body: Body) -> Body:
    return {**body, "thinking": {"type": "adaptive"}} if "thinking" in body else body


def _without_effort(body: Body) -> Body:
    return _without(body, ("output_config", "effort"))


_ROWS: tuple[tuple[Api, str, Callable[[Body], Body], tuple[str, ...]], ...] = (
    ("messages", SIGNATURE.pattern, without_thinking, ()),
    ("messages", r"expected ~thinking~.{0,60}but found", with_thinking_off, ()),
    ("messages", r"clear_thinking\w*~ strategy requires", with_thinking_off, ()),
    ("messages", r"thinking\.type\.enabled~ is not supported", _adaptive, ("thinking",)),
    ("messages", r"adaptive thinking is not supported", with_thinking_off, ("thinking",)),
    ("messages", r"does not support (?:the )?effort", _without_effort, ("output_config.effort",)),
    (
        "responses",
        r"invalid_encrypted_content|encrypted content.{0,60}(?:decrypt|verif)",
        without_encrypted_reasoning,
        (),
    ),
)
_NATIVE = tuple(
    (api, late_pattern(pattern.replace("~", _Q), re.IGNORECASE), correct, names)
    for api, pattern, correct, names in _ROWS
)


def corrected(api: Api, error: str, body: Body) -> Correction | None:
    """What the server may accept in place of `body` after this error; None where the error asks for nothing."""
    for of_api, pattern, correct, names in _NATIVE:
        if of_api == api and pattern.search(error):
            changed = correct(body)
            return None if changed is body else Correction(changed, names)
    hints = _HINTS.get(api, frozenset())
    places = (*(match[1] for match in _EXTRA.finditer(error)), *rejected_fields(error))
    steps = [tuple(place.split(".")) for place in places if place.rpartition(".")[2] in hints]
    fitted: Body = body
    changed_fields: list[str] = []
    for path in steps:
        without = _without(fitted, path)
        if without is not fitted:
            fitted = without
            changed_fields.append(path[-1])
    limit, most = _LIMITS.get(api, ""), largest_output_limit(error)
    if most and isinstance(body.get(limit), int) and body[limit] > most:
        fitted = _within({**fitted, limit: most}, most)
        changed_fields.append(limit)
    return None if fitted is body else Correction(fitted, tuple(changed_fields))


def _within(body: Body, most: int) -> Body:
    """The body with a budget for thinking below the output limit."""
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    if not isinstance(thinking, Mapping) or not isinstance(budget, int) or budget < most:
        return body
    if most <= LEAST_BUDGET:
        return with_thinking_off(body)
    return {**body, "thinking": {**thinking, "budget_tokens": most - 1}}


def _without(body: Body, path: tuple[str, ...]) -> Body:
    """The body without a field; within the first field of the path, without it at every place. Itself without such."""
    first, last = path[0], path[-1]
    if first not in body:
        return body
    if len(path) == 1:
        return {name: value for name, value in body.items() if name != first}
    inner = _cleared(body[first], last)
    if inner == body[first]:
        return body
    return {**body, first: inner} if inner else {name: value for name, value in body.items() if name != first}


def _cleared(value: Any, field: str) -> Any:
    if isinstance(value, list):
        return [_cleared(item, field) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {
        name: inner if name in _CONTENTS else _cleared(inner, field) for name, inner in value.items() if name != field
    }
