"""How long an answer may be by what the request asks for: its limit, the number of answers, what is beside the text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from router.types import Api
from router.wire.usage.delivered import prompt_tokens

_LIMITS: Mapping[Api, tuple[str, ...]] = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "messages": ("max_tokens",),
    "responses": ("max_output_tokens",),
}
"""The names of the limit in each protocol. Ollama's is in `options`."""
# Names that some servers read first. They never lower a limit, since others ignore them.
_FURTHER_LIMITS = ("max_new_tokens", "n_predict", "num_predict")
_ANSWERS = ("n", "best_of", "num_return_sequences")
_MOST = 10**9
# An image or a page of a file that the server fetches, by the largest count of a vendor (`count_tokens`).
_REMOTE_TOKENS = 3_000
_REMOTE = frozenset({"document", "file", "image", "image_url", "input_file", "input_image", "video_url"})


def output_limit(api: Api, body: Mapping[str, Any]) -> int | None:
    """The most tokens of one answer to a body, thinking included; None where it is unlimited.

    Of several limits the greatest counts, and one that is no positive number is none at all.
    """
    options = body.get("options")
    if api in _LIMITS:
        stated = [body[name] for name in _LIMITS[api] if body.get(name) is not None]
    else:
        stated = [options["num_predict"]] if isinstance(options, Mapping) and "num_predict" in options else []
    if not stated:
        return None
    stated += [body[name] for name in _FURTHER_LIMITS if body.get(name) is not None]
    limits = [_positive(value) for value in stated]
    if None in limits:
        return None
    # Alibaba's servers count thinking beside the answer.
    return min(max(filter(None, limits)) + (_positive(body.get("thinking_budget")) or 0), _MOST)


def without_output_limit(api: Api, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body without the limit of its answer's tokens."""
    options = body.get("options")
    if api not in _LIMITS and isinstance(options, Mapping):
        return {**body, "options": {name: value for name, value in options.items() if name != "num_predict"}}
    return {name: value for name, value in body.items() if name not in _LIMITS.get(api, ())}


def answers_asked(body: Mapping[str, Any]) -> int:
    """How many answers are charged for: all that are made, also those that the server does not send.

    A text completion may have a list of prompts, texts or lists of tokens, and answers each.
    """
    prompt = body.get("prompt")
    prompts = sum(isinstance(item, str | list) for item in prompt) if isinstance(prompt, list) else 1
    each = max(1, *(min(_positive(body.get(name)) or 1, _MOST) for name in _ANSWERS))
    return min(max(prompts, 1) * each, _MOST)


def predicted_tokens(body: Mapping[str, Any]) -> int:
    """An estimate of the tokens of OpenAI's `prediction`, which are charged as output where they are rejected."""
    prediction = body.get("prediction")
    return prompt_tokens({"prompt": prediction}) if prediction else 0


def remote_media_tokens(body: Mapping[str, Any]) -> int:
    """An estimate of the tokens of images and files of which the body has only the address or the id."""
    count, stack = 0, [body.get("messages"), body.get("input")]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack += value
        elif isinstance(value, Mapping):
            count += _is_remote(value)
            stack.append(value.get("content"))
    return count * _REMOTE_TOKENS


def _is_remote(part: Mapping[str, Any]) -> bool:
    kind, image, source = part.get("type"), part.get("image_url"), part.get("source")
    url = image.get("url") if isinstance(image, Mapping) else image
    if isinstance(source, Mapping) and source.get("type") in ("base64", "text"):
        return False
    return isinstance(kind, str) and kind in _REMOTE and not (isinstance(url, str) and url.startswith("data:"))


def _positive(value: Any) -> int | None:
    """A whole number above zero, also as digits or as a float; None for all else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdecimal() and len(value) < 20 else None
    if isinstance(value, float) and math.isfinite(value):
        value = math.ceil(value)
    return value if isinstance(value, int) and value > 0 else None
