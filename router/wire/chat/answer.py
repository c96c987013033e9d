"""Read the chat completions that upstreams return, whole or in chunks.

Upstreams differ in the fields that they omit and add, so a missing or unknown field is no error. A field that the
client would see and that has the wrong type raises UpstreamError, so that no answer is invented.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, NoReturn

import msgspec
from msgspec import Struct

from router.errors import UpstreamError
from router.formats.json import json_bytes
from router.wire.chat.finish import reason_of

# `state`: what the server must get back (`router.wire.reasoning`); its sealed text is the delta's name.
Kind = Literal["thinking", "text", "refusal", "tool", "state"]
Chunk = Mapping[str, Any]
INVALID_ARGUMENTS = "INVALID_JSON"
"""The key of a call's arguments that are not JSON, from Anthropic's documentation."""


class Delta(NamedTuple):
    """A part of an answer: some text of one kind, or of a tool call's JSON arguments.

    `call_index`, `id` and `name` belong to a tool call; each is None where the upstream omits it.
    """

    kind: Kind
    text: str
    call_index: int | None = None
    id: str | None = None
    name: str | None = None


class Finish(Struct, frozen=True):
    """The finish reason in OpenAI's words; `sequence` is the stop sequence, where the upstream reports it."""

    reason: str
    sequence: str | None = None


def malformed(problem: str) -> NoReturn:
    """Raise UpstreamError for an answer that is not a chat completion."""
    raise UpstreamError(f"the upstream's answer is not a chat completion: {problem}", fault="malformed")


def identity(chat: Chunk) -> tuple[str, str, int]:
    """The id without its prefix, the model and the creation time in seconds since 1970 of an answer."""
    id_, model, created = chat.get("id"), chat.get("model"), chat.get("created")
    suffix = id_.removeprefix("chatcmpl-") if isinstance(id_, str) else ""
    return (
        suffix or "unnamed",
        model if isinstance(model, str) else "",
        int(created) if isinstance(created, int | float) and abs(created) < 1e15 else 0,
    )


def choices_of(chat: Chunk) -> list[Mapping[str, Any]]:
    """The choices of a completion or chunk; none in a chunk that carries only usage."""
    if chat.get("error"):
        raise UpstreamError("the upstream reported an error", fault="error")
    choices = chat.get("choices")
    if choices is None:
        return []
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        malformed("`choices` is not a list of objects")
    return choices


def first_choice(chat: Chunk) -> Mapping[str, Any] | None:
    """The choice of index 0, or None."""
    return next((choice for choice in choices_of(chat) if choice.get("index") in (0, None)), None)


def deltas(message: Any) -> Iterator[Delta]:
    """The parts of a message or of a chunk's delta: reasoning, then text, then tool calls."""
    if message is None:
        return
    if not isinstance(message, dict):
        malformed("`message` or `delta` is not an object")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        yield Delta("thinking", reasoning)
    content = message.get("content")
    if isinstance(content, str):
        if content:
            yield Delta("text", content)
    elif content is not None:
        yield from _parts(content)
    refusal = message.get("refusal")
    if refusal:
        if not isinstance(refusal, str):
            malformed("`refusal` is not a string")
        yield Delta("refusal", refusal)
    calls = message.get("tool_calls")
    if calls:
        if not isinstance(calls, list):
            malformed("`tool_calls` is not a list")
        for call in calls:
            yield _call(call)
    elif message.get("function_call"):
        # What OpenAI had before `tool_calls`.
        yield _call({"index": 0, "function": message["function_call"]})


def index_of_call(id_: str | None, name: str | None, known: Mapping[int, tuple[Any, Any]], newest: int) -> int:
    """The index of a tool call's delta without one: that of its id, else the newest, unless a name starts another call.

    `known`: the id and name of each call so far, by its index.
    """
    free = max(known, default=-1) + 1
    if id_:
        return next((index for index, (known_id, _) in known.items() if known_id == id_), free)
    return free if name and newest in known and known[newest][1] else newest


def finish_of(choice: Mapping[str, Any]) -> Finish | None:
    """Why this choice finished, or None where it has not. Raises UpstreamError where it failed."""
    try:
        reason = reason_of(choice)
    except ValueError as error:
        malformed(str(error))
    if reason is None:
        return None
    if reason.is_failure:
        raise UpstreamError(f'the upstream stopped with the finish reason "{reason.word}"', fault="error")
    # vLLM and SGLang report the stop sequence, or the number of the stop token.
    sequence = choice.get("stop_reason")
    if sequence is None:
        sequence = choice.get("matched_stop")
    return Finish(reason.meaning, sequence if isinstance(sequence, str) and reason.meaning == "stop" else None)


def arguments_in(text: str) -> dict[str, Any]:
    """The arguments of a tool call: empty without any, under one key what is not a JSON object."""
    try:
        read = msgspec.json.decode(text) if text.strip() else {}
    except (ValueError, RecursionError):
        read = None
    return read if isinstance(read, dict) else {INVALID_ARGUMENTS: text}


def objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects in a list; empty where an upstream omits it or sends something else."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def logprobs_of(choice: Chunk) -> list[Mapping[str, Any]]:
    """The log probabilities of a choice's tokens; empty without any."""
    logprobs = choice.get("logprobs")
    return objects(logprobs.get("content")) if isinstance(logprobs, dict) else []


def _parts(content: Any) -> Iterator[Delta]:
    # Mistral's reasoning models send `content` as a list of parts.
    if not isinstance(content, list):
        malformed("`content` is neither a string nor a list of parts")
    for part in content:
        if not isinstance(part, dict):
            malformed("`content` contains a part that is not an object")
        kind = part.get("type")
        if kind == "thinking":
            reasoning = part.get("thinking")
            nested = reasoning if isinstance(reasoning, list) else [{"text": reasoning}]
            texts = (inner.get("text") for inner in nested if isinstance(inner, dict))
            text: Any = "".join(text for text in texts if isinstance(text, str))
        elif kind in ("text", "output_text"):
            text = part.get("text")
        else:
            continue
        if not isinstance(text, str):
            malformed("`content` contains a part without text")
        if text:
            yield Delta("thinking" if kind == "thinking" else "text", text)


def _call(call: Any) -> Delta:
    if not isinstance(call, dict):
        malformed("`tool_calls` contains an entry that is not an object")
    function = call.get("function")
    if function is None:
        function = {}
    if not isinstance(function, dict):
        malformed("the `function` of a tool call is not an object")
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        arguments = json_bytes(arguments).decode()
    if arguments is None:
        arguments = ""
    call_index, id_, name = call.get("index"), call.get("id"), function.get("name")
    if not isinstance(arguments, str):
        malformed("the `arguments` of a tool call are not a string")
    if not (call_index is None or isinstance(call_index, int)):
        malformed("the `index` of a tool call is not a number")
    if not all(text is None or isinstance(text, str) for text in (id_, name)):
        malformed("the `id` or `name` of a tool call is not a string")
    return Delta("tool", arguments, call_index, id_ or None, name or None)
