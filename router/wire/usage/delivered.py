"""Estimates of tokens from texts, for upstreams that report no usage and for streams that broke off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from router.types import Usage

_BYTES_PER_TOKEN = 4
# An image or a file in base64 has about as many tokens as Anthropic's largest image.
_MEDIA_BYTES = 1_600 * _BYTES_PER_TOKEN
_MIN_MEDIA_CHARACTERS, _MEDIA_HEAD_CHARACTERS = 1_000, 200

# Tool definitions are part of the prompt.
_PROMPT_FIELDS = ("system", "instructions", "messages", "input", "prompt", "tools", "functions", "response_format")
_ANSWER_FIELDS = ("choices", "content", "output", "message", "candidates", "response")
_NOT_WRITTEN = frozenset(
    {
        "annotations",
        "call_id",
        "encrypted_content",
        "finishReason",
        "finish_reason",
        "id",
        "logprobs",
        "model",
        "object",
        "role",
        "signature",
        "status",
        "type",
    }
)


def counted(reported: Usage | None, body: Mapping[str, Any], answer_tokens: int, *, is_whole: bool = True) -> Usage:
    """The usage of a request: as reported, and estimated where the upstream reported nothing.

    `body` is that of the request in any protocol, `answer_tokens` an estimate of what was delivered. An answer that is
    not whole has at least as many tokens as were delivered, whatever has been reported so far.
    """
    usage = Usage(0, 0) if reported is None else reported
    input_tokens = usage.input_tokens or prompt_tokens(body)
    output_tokens = usage.output_tokens
    if not output_tokens or not is_whole:
        output_tokens = max(output_tokens, answer_tokens)
    if (input_tokens, output_tokens) != (usage.input_tokens, usage.output_tokens):
        usage = msgspec.structs.replace(usage, input_tokens=input_tokens, output_tokens=output_tokens, estimated=True)
    asked_tier = body.get("service_tier")
    if usage.service_tier is None and isinstance(asked_tier, str):
        usage = msgspec.structs.replace(usage, service_tier=asked_tier)
    return usage


def tokens_of(byte_count: int) -> int:
    """An estimate of the tokens of a text in UTF-8 of this length."""
    return -(-byte_count // _BYTES_PER_TOKEN)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """An estimate of the tokens of a request body of any protocol."""
    prompt = [body[field] for field in _PROMPT_FIELDS if field in body]
    return tokens_of(sum(_sizes(prompt, with_keys=True)))


def answer_tokens(answer: Any) -> int:
    """An estimate of the tokens of a whole answer of any protocol; 0 for one without text, such as an embedding."""
    if not isinstance(answer, Mapping):
        return 0
    return tokens_of(sum(_sizes([answer[field] for field in _ANSWER_FIELDS if field in answer], with_keys=False)))


def _sizes(value: Any, *, with_keys: bool) -> Iterator[int]:
    """The number of bytes of every text in a JSON value, and of every token that a list states by its number."""
    # A stack instead of recursion, since the depth of an upstream's answer has no limit.
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield _size(value)
        elif isinstance(value, Mapping):
            if with_keys:
                yield sum(map(len, value))
                stack += value.values()
            else:
                stack += [inner for key, inner in value.items() if key not in _NOT_WRITTEN]
        elif isinstance(value, list):
            yield _BYTES_PER_TOKEN * sum(type(item) is int for item in value)
            stack += value


def _size(text: str) -> int:
    if len(text) >= _MIN_MEDIA_CHARACTERS:
        head = text[:_MEDIA_HEAD_CHARACTERS]
        if head.isascii() and not any(map(str.isspace, head)):
            return min(len(text), _MEDIA_BYTES)
    return len(text.encode("utf-8", "surrogatepass"))
