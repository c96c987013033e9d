"""Reading what an upstream's chat completions answer.

Upstreams differ in what they leave out and what they add, so an absent or unknown field is no fault. What would be
shown to the client and has the wrong type is: then UpstreamError is raised, and no answer is made up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, NoReturn

import msgspec
from msgspec import Struct

from router.errors import UpstreamError

Kind = Literal["thinking", "text", "refusal", "tool"]
Chunk = Mapping[str, Any]

# With these an upstream says that the answer is not whole.
_BROKEN = frozenset({"error", "abort", "insufficient_system_resource"})


class Delta(NamedTuple):
    """A piece of an answer: words of some kind, or of a tool call's JSON arguments. `slot`, `id` and `name` are a
    call's, each None where the upstream does not say."""

    kind: Kind
    text: str
    slot: int | None = None
    id: str | None = None
    name: str | None = None


class Finish(Struct, frozen=True):
    """Why an answer stopped, in chat's words; `sequence` is the stop sequence where the upstream tells it."""

    reason: str
    sequence: str | None = None


def malformed(what: str) -> NoReturn:
    """Raise UpstreamError for an answer that is not a chat completion."""
    raise UpstreamError(f"the upstream's answer is not a chat completion: {what}", fault="malformed")


def identity(chat: Chunk) -> tuple[str, str, int]:
    """The id without its prefix, the model and the time in seconds since 1970 that an answer names."""
    id_, model, created = chat.get("id"), chat.get("model"), chat.get("created")
    tail = id_.removeprefix("chatcmpl-") if isinstance(id_, str) else ""
    return (
        tail or "unnamed",
        model if isinstance(model, str) else "",
        int(created) if isinstance(created, int | float) and abs(created) < 1e15 else 0,
    )


def choices_of(chat: Chunk) -> list[Mapping[str, Any]]:
    """The choices of a completion or chunk; none in a chunk that carries only usage."""
    if chat.get("error"):
        raise UpstreamError("the upstream broke off with an error", fault="error")
    choices = chat.get("choices")
    if choices is None:
        return []
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        malformed("`choices` is no list of objects")
    return choices


def first_choice(chat: Chunk) -> Mapping[str, Any] | None:
    """The choice of index 0, or None."""
    return next((choice for choice in choices_of(chat) if choice.get("index") in (0, None)), None)


def deltas(said: Any) -> Iterator[Delta]:
    """What a message, or a chunk's delta, says: reasoning, then text, then tool calls."""
    if said is None:
        return
    if not isinstance(said, dict):
        malformed("what it says is no object")
    thought = said.get("reasoning_content") or said.get("reasoning")
    if isinstance(thought, str) and thought:
        yield Delta("thinking", thought)
    content = said.get("content")
    if isinstance(content, str):
        if content:
            yield Delta("text", content)
    elif content is not None:
        yield from _parts(content)
    refusal = said.get("refusal")
    if refusal:
        if not isinstance(refusal, str):
            malformed("`refusal` is no text")
        yield Delta("refusal", refusal)
    calls = said.get("tool_calls")
    if calls:
        if not isinstance(calls, list):
            malformed("`tool_calls` is no list")
        for call in calls:
            yield _call(call)


def finish_of(choice: Mapping[str, Any]) -> Finish | None:
    """Why this choice stopped, or None where it has not. Raises UpstreamError where it broke off."""
    reason = choice.get("finish_reason")
    if reason is None or reason == "":
        return None
    if not isinstance(reason, str):
        malformed("`finish_reason` is no word")
    if reason in _BROKEN:
        raise UpstreamError(f'the upstream broke off with the finish reason "{reason}"', fault="error")
    # vLLM and SGLang name the stop sequence, or give a token's number.
    told = choice.get("stop_reason")
    if told is None:
        told = choice.get("matched_stop")
    return Finish(reason, told if isinstance(told, str) and reason == "stop" else None)


def objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects in a list that an upstream may leave out or spoil."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _parts(content: Any) -> Iterator[Delta]:
    # Mistral's reasoning models send their content as a list of parts.
    if not isinstance(content, list):
        malformed("`content` is neither a text nor a list of parts")
    for part in content:
        if not isinstance(part, dict):
            malformed("`content` holds something that is no part")
        kind = part.get("type")
        if kind == "thinking":
            thought = part.get("thinking")
            within = thought if isinstance(thought, list) else [{"text": thought}]
            words = (inner.get("text") for inner in within if isinstance(inner, dict))
            text: Any = "".join(word for word in words if isinstance(word, str))
        elif kind in ("text", "output_text"):
            text = part.get("text")
        else:
            continue
        if not isinstance(text, str):
            malformed("`content` holds a part without text")
        if text:
            yield Delta("thinking" if kind == "thinking" else "text", text)


def _call(call: Any) -> Delta:
    if not isinstance(call, dict):
        malformed("`tool_calls` holds something that is no call")
    function = call.get("function")
    if function is None:
        function = {}
    if not isinstance(function, dict):
        malformed("a call's `function` is no object")
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        arguments = msgspec.json.encode(arguments).decode()
    if arguments is None:
        arguments = ""
    slot, id_, name = call.get("index"), call.get("id"), function.get("name")
    if not isinstance(arguments, str):
        malformed("a call's `arguments` are no text")
    if not (slot is None or isinstance(slot, int)):
        malformed("a call's `index` is no number")
    if not all(word is None or isinstance(word, str) for word in (id_, name)):
        malformed("a call's `id` or `name` is no text")
    return Delta("tool", arguments, slot, id_ or None, name or None)
