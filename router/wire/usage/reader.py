"""Read the token usage in a response or an event of any protocol and vendor."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from router.types import Usage
from router.wire.usage.vocabularies import COUNTS, HOLDERS, TIER_HOLDERS, VOCABULARIES, Vocabulary

MAX_TOKENS = 100_000_000
"""A greater count is an error of the server, and counts as not reported."""

_MAX_COST_USD = 10_000.0
_MAX_TIER_CHARACTERS = 32
_WHOLES = frozenset({"input", "output", "total"})
_CACHES = ("cached", "written", "written_5m", "written_1h")

_Steps = tuple[str, ...]


def usage_in(message: Mapping[str, Any], earlier: Usage | None = None) -> Usage | None:
    """The usage in a response or a stream event; `earlier` is that of the events before, and None means none so far."""
    usage = message.get("usage")
    if earlier is None and type(usage) is dict and (plain := _plain(usage)) is not None:
        return _with_tier(plain, message)
    without_counts: Usage | None = None
    for steps in _HOLDERS:
        if (steps[0] not in message) if steps else _ROOT_KEYS.isdisjoint(message):
            continue
        usage = next(_values(message, steps), None)
        if not usage or not isinstance(usage, Mapping):
            continue
        if earlier is None and steps != _OF_START and (plain := _plain(usage)) is not None:
            return _with_tier(plain, message)
        counts = _counts(usage)
        if steps == _OF_START and "output" in counts and counts["output"].tokens <= _MOST_AT_START:
            del counts["output"]
        if not counts.keys().isdisjoint(_WHOLES):
            return _with_tier(_read(usage, counts, earlier), message)
        if steps and without_counts is None:
            without_counts = _read(usage, counts, earlier)
    return earlier if without_counts is None else _with_tier(without_counts, message)


def read_usage(usage: Mapping[str, Any], earlier: Usage | None = None) -> Usage:
    """The usage in a `usage` object in any vendor's words. Counts that it omits are taken from `earlier`.

    No count is negative, each one that the object states is at most MAX_TOKENS, and the parts of the input and of the
    output are together never more than the whole.
    """
    return _read(usage, _counts(usage), earlier)


def may_report(events: bytes) -> bool:
    """Whether events, as bytes, may contain usage."""
    return _MARKS.search(events) is not None


class _Count(NamedTuple):
    """A count above zero, with the rank of its path in the table."""

    tokens: int
    rank: int
    steps: _Steps


class _Prompt(NamedTuple):
    """The counts of a prompt. `input_tokens` includes the others, and is 0 where an event does not state it."""

    input_tokens: int
    cached_tokens: int
    written_tokens: int
    written_1h_tokens: int


def _plain(usage: Mapping[str, Any]) -> Usage | None:
    """The usage where an object has OpenAI's three counts and nothing else, or vLLM's null beside them, as most servers
    write it; else None. Only quicker than `_read`.
    """
    if len(usage) != 3 and (len(usage) != 4 or usage.get("prompt_tokens_details", 0) is not None):
        return None
    prompt, answer, total = usage.get("prompt_tokens"), usage.get("completion_tokens"), usage.get("total_tokens")
    if not (type(prompt) is type(answer) is type(total) is int and prompt > 0 and answer > 0):
        return None
    return Usage(prompt, answer) if total == prompt + answer and total <= MAX_TOKENS else None


def _read(usage: Mapping[str, Any], counts: Mapping[str, _Count], earlier: Usage | None) -> Usage:
    earlier = earlier or Usage(0, 0)
    prompt = _prompt(usage, counts, earlier)
    answer = _answer_tokens(counts, prompt.input_tokens)
    input_tokens = prompt.input_tokens or (0 if answer else _tokens(counts, "total")) or earlier.input_tokens
    output_tokens = answer or earlier.output_tokens
    # The parts are bounded by the whole in this order.
    cached = min(prompt.cached_tokens, input_tokens)
    written = min(prompt.written_tokens, input_tokens - cached)
    audio_input = _tokens(counts, "audio_input") or earlier.audio_input_tokens
    audio_output = _tokens(counts, "audio_output") or earlier.audio_output_tokens
    return Usage(
        input_tokens,
        output_tokens,
        cached,
        written,
        min(_tokens(counts, "reasoning") or earlier.reasoning_tokens, output_tokens),
        min(prompt.written_1h_tokens, written),
        min(audio_input, input_tokens - cached - written),
        min(audio_output, output_tokens),
        _word(usage, _TIER) or earlier.service_tier,
        _cost_usd(usage) or earlier.reported_cost_usd,
    )


def _prompt(usage: Mapping[str, Any], counts: Mapping[str, _Count], earlier: Usage) -> _Prompt:
    prompt, cached = _tokens(counts, "input"), _tokens(counts, "cached")
    written_1h = _tokens(counts, "written_1h")
    written = max(_tokens(counts, "written"), _tokens(counts, "written_5m") + written_1h)
    words = {counts[name].steps for name in _CACHES if name in counts}
    if words or (prompt and any(steps[0] in usage and _states(usage, steps) for steps in _CACHE_INSIDE)):
        is_stated = True
    else:
        # This event does not state the use of the cache, so that of earlier events holds: Anthropic leaves it out where
        # it states the prompt again.
        is_stated, words = prompt > 0, set(_CACHE_BESIDE)
        cached, written = earlier.cached_input_tokens, earlier.cache_write_tokens
        written_1h = earlier.cache_write_1h_tokens
    if is_stated:
        word = counts["input"].steps if prompt else None
        is_beside = any(word in inputs and words & caches for inputs, caches in _BESIDE)
        is_beside = is_beside or _adds_up(counts, prompt, cached + written)
        if is_beside or (words & _CACHE_BESIDE and cached + written > prompt):
            prompt += cached + written
        prompt += _tokens(counts, "more_input")
    return _Prompt(prompt, cached, written, written_1h)


def _adds_up(counts: Mapping[str, _Count], prompt: int, cache: int) -> bool:
    """Whether the total shows that the prompt leaves out the cache, as in Claude's counts in OpenAI's words."""
    return cache > 0 and _tokens(counts, "total") == prompt + cache + _tokens(counts, "output")


def _answer_tokens(counts: Mapping[str, _Count], prompt: int) -> int:
    """The tokens of the answer with reasoning, whether the server counts it in the answer or beside it."""
    answer, total, reasoning = _tokens(counts, "output"), _tokens(counts, "total"), _tokens(counts, "reasoning")
    if reasoning:
        is_beside = counts["reasoning"].steps in _REASONING_BESIDE
        if is_beside or reasoning > answer or prompt + answer + reasoning <= total:
            return answer + reasoning
    # Gemini's OpenAI-compatible API counts reasoning in the total only.
    return max(answer, total - prompt) if prompt else answer


def _with_tier(usage: Usage, message: Mapping[str, Any]) -> Usage:
    if usage.service_tier or _TIER_KEYS.isdisjoint(message):
        return usage
    tier = _word(message, _TIERS)
    return usage if tier is None else msgspec.structs.replace(usage, service_tier=tier)


def _counts(usage: Mapping[str, Any]) -> dict[str, _Count]:
    """The counts above zero by their names in `Vocabulary`, each from the first path of the table that has one."""
    found: dict[str, _Count] = {}
    for key in usage.keys() & _BY_KEY.keys():
        value = usage[key]
        if value is None:
            continue
        for name, rank, steps in _BY_KEY[key]:
            if name in found and found[name].rank < rank:
                continue
            if tokens := _sum(value, steps):
                found[name] = _Count(tokens, rank, steps)
    return found


def _sum(value: Any, steps: _Steps) -> int:
    """The count at the end of a path, of which the first step has been taken."""
    # Nearly all paths lead through objects only.
    for position in range(1, len(steps)):
        if not isinstance(value, dict):
            return sum(map(_count, _values(value, steps[position:])))
        value = value.get(steps[position])
        if value is None:
            return 0
    return _count(value)


def _tokens(counts: Mapping[str, _Count], name: str) -> int:
    return counts[name].tokens if name in counts else 0


def _count(value: Any) -> int:
    """A count as a number, also of digits in a string or a float; 0 where it is none, or absurd."""
    if type(value) is int:
        return value if 0 < value <= MAX_TOKENS else 0
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdecimal() and len(value) < 20 else 0
    if isinstance(value, float) and math.isfinite(value):
        value = math.ceil(value)
    return value if type(value) is int and 0 < value <= MAX_TOKENS else 0


def _cost_usd(usage: Mapping[str, Any]) -> float | None:
    """The cost that the server reports, in US dollars; None where there is none."""
    for steps in _COST:
        cost = sum(map(_dollars, _values(usage, steps)))
        if usage.get("is_byok") is True:
            # The fee of OpenRouter, to which the model's provider adds its own charge.
            cost += sum(map(_dollars, _values(usage, ("cost_details", "upstream_inference_cost"))))
        if cost:
            return cost
    return None


def _dollars(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value <= _MAX_COST_USD else 0.0


def _word(holder: Mapping[str, Any], paths: tuple[_Steps, ...]) -> str | None:
    for steps in paths:
        for value in _values(holder, steps) if steps[0] in holder else ():
            if isinstance(value, str) and 0 < len(value) <= _MAX_TIER_CHARACTERS:
                return value.lower()
    return None


def _states(usage: Mapping[str, Any], steps: _Steps) -> bool:
    return any(value is not None for value in _values(usage, steps))


def _values(value: Any, steps: _Steps) -> Iterator[Any]:
    """What stands at the end of a path: several values where it selects from a list."""
    for position, step in enumerate(steps):
        if isinstance(value, list):
            key, _, wanted = step.partition("=")
            chosen = value[:1] if step == "0" else [item for item in value if _has(item, key, wanted)]
            for item in chosen:
                yield from _values(item, steps[position + 1 :])
            return
        if not isinstance(value, dict) or step not in value:
            return
        value = value[step]
    yield value


def _has(item: Any, key: str, wanted: str) -> bool:
    return isinstance(item, Mapping) and item.get(key) == wanted


def _steps(path: str) -> _Steps:
    return tuple(path.split(".")) if path else ()


def _paths(name: str) -> tuple[_Steps, ...]:
    """The paths of a count in all vocabularies in the order of the table, each once."""
    return tuple(dict.fromkeys(_steps(path) for vocabulary in VOCABULARIES for path in getattr(vocabulary, name)))


def _caches(vocabulary: Vocabulary) -> frozenset[_Steps]:
    return frozenset(_steps(path) for name in _CACHES for path in getattr(vocabulary, name))


def _by_key() -> Mapping[str, tuple[tuple[str, int, _Steps], ...]]:
    """The name, rank and path of every count by the first key of its path."""
    ranked = [(name, rank, steps) for name in COUNTS for rank, steps in enumerate(_paths(name))]
    return {
        key: tuple(entry for entry in ranked if entry[2][0] == key)
        for key in dict.fromkeys(steps[0] for _, _, steps in ranked)
    }


_BY_KEY = _by_key()
_COST, _TIER, _TIERS = _paths("cost"), _paths("tier"), tuple(map(_steps, TIER_HOLDERS))
_TIER_KEYS = frozenset(steps[0] for steps in _TIERS)
_REASONING_BESIDE = frozenset(_steps(path) for row in VOCABULARIES if row.reasoning_beside for path in row.reasoning)
_BESIDE = tuple((frozenset(map(_steps, row.input)), _caches(row)) for row in VOCABULARIES if row.cache_beside)
_CACHE_BESIDE = frozenset(word for _, words in _BESIDE for word in words)
_CACHE_INSIDE = frozenset(word for row in VOCABULARIES if not row.cache_beside for word in _caches(row))
_HOLDERS = tuple(map(_steps, HOLDERS))
_OF_START = ("message", "usage")
# The few tokens that Anthropic states before an answer are no count of it.
_MOST_AT_START = 8
_ROOT_KEYS = frozenset(steps[0] for steps in (*_paths("input"), *_paths("output")))
# A count or an object follows the key. An answer that quotes such a key does not match, since its quotes are escaped.
_MARKS = re.compile(
    b'"(?:%b)"\\s*:\\s*[{\\d]'
    % b"|".join(re.escape(key.encode()) for key in sorted({*_ROOT_KEYS, *(steps[-1] for steps in _HOLDERS if steps)}))
)
