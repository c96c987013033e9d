"""Both surfaces as a strict client reads them: what to send, and what is wrong with an answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

import httpx
from msgspec import Struct

from tests.faults.faults import Complete, Cut, Outcome, Refused
from tests.faults.wires import TEXT

Surface = Literal["openai", "anthropic"]
PATHS: dict[Surface, str] = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
_PROMPT = [{"role": "user", "content": "Say hello."}]
# What no client may ever see of the gateway's inside; the caller adds its upstreams' addresses and keys.
_NEVER_SHOWN = (b"Traceback", b'File "', b"aiohttp", b"site-packages")


class Answer(Struct, frozen=True):
    """What a client got. `broken`: the connection ended before the answer did."""

    status: int
    headers: dict[str, str]
    body: bytes
    broken: bool = False


def request_body(surface: Surface, model: str, stream: bool) -> dict[str, Any]:
    """A short request."""
    body: dict[str, Any] = {"model": model, "messages": _PROMPT, "max_tokens": 16}
    return {**body, "stream": True} if stream else body


def ask(
    client: httpx.Client, surface: Surface, model: str, stream: bool, headers: dict[str, str] | None = None
) -> Answer:
    """The answer to a short request, however it ends."""
    own = {"anthropic-version": "2023-06-01"} if surface == "anthropic" else {}
    request = client.build_request(
        "POST", PATHS[surface], json=request_body(surface, model, stream), headers={**own, **(headers or {})}
    )
    answer = client.send(request, stream=True)
    pieces: list[bytes] = []
    broken = False
    try:
        pieces.extend(answer.iter_raw())
    except httpx.TransportError:
        broken = True
    finally:
        answer.close()
    return Answer(answer.status_code, dict(answer.headers), b"".join(pieces), broken)


def problems(
    answer: Answer, expected: Outcome, surface: Surface, stream: bool, secrets: tuple[str, ...] = ()
) -> list[str]:
    """What is wrong with `answer`, in words; nothing where it is as `expected`."""
    found = [f"shows {word!r}" for word in _NEVER_SHOWN if word in answer.body]
    seen = answer.body + repr(answer.headers).encode()
    found += [f"shows {secret!r}" for secret in secrets if secret.encode() in seen]
    if answer.broken:
        found.append("the connection breaks")
    if "x-request-id" not in answer.headers:
        found.append("no x-request-id")
    return found + list(_READERS[type(expected)](answer, expected, surface, stream))


def _complete(answer: Answer, _: Outcome, surface: Surface, stream: bool) -> Iterator[str]:
    if answer.status != 200:
        yield f"status {answer.status}: {answer.body[:200]!r}"
        return
    if not stream:
        yield from _whole_problems(answer, surface)
        return
    yield from _stream_problems(answer, surface, ended=True)


def _cut(answer: Answer, _: Outcome, surface: Surface, stream: bool) -> Iterator[str]:
    assert stream
    if answer.status != 200:
        yield f"status {answer.status}: {answer.body[:200]!r}"
        return
    yield from _stream_problems(answer, surface, ended=False)


def _refused(answer: Answer, expected: Outcome, surface: Surface, _: bool) -> Iterator[str]:
    assert isinstance(expected, Refused)
    if answer.status not in expected.statuses:
        yield f"status {answer.status} where {expected} is true: {answer.body[:200]!r}"
    if expected.retry_after is not None and answer.headers.get("retry-after") != expected.retry_after:
        yield f"retry-after is {answer.headers.get('retry-after')}, the upstream said {expected.retry_after}"
    if not answer.headers.get("content-type", "").startswith("application/json"):
        yield f"an error as {answer.headers.get('content-type')}"
    yield from error_problems(answer.body, surface)


_READERS: dict[type[Outcome], Callable[[Answer, Outcome, Surface, bool], Iterator[str]]] = {
    Complete: _complete,
    Cut: _cut,
    Refused: _refused,
}


def error_problems(body: bytes, surface: Surface) -> Iterator[str]:
    """What is wrong with the shape of an error."""
    said = _json(body)
    error = said.get("error") if isinstance(said, dict) else None
    if not isinstance(error, dict):
        yield f"no error in {body[:200]!r}"
        return
    if not isinstance(error.get("message"), str) or not error["message"]:
        yield f"an error without a message: {error}"
    if not isinstance(error.get("type"), str):
        yield f"an error without a type: {error}"
    if surface == "anthropic":
        if said.get("type") != "error":
            yield f"an error that is not Anthropic's: {body[:200]!r}"
    elif not isinstance(error.get("code"), str | None) or set(error) < {"message", "type", "param", "code"}:
        yield f"an error that is not OpenAI's: {body[:200]!r}"


def _whole_problems(answer: Answer, surface: Surface) -> Iterator[str]:
    said = _json(answer.body)
    try:
        if surface == "openai":
            (choice,) = said["choices"]
            text, finish = choice["message"]["content"], choice["finish_reason"] == "stop"
        else:
            text = "".join(block["text"] for block in said["content"] if block["type"] == "text")
            finish = said["type"] == "message" and said["role"] == "assistant" and said["stop_reason"] == "end_turn"
    except (KeyError, TypeError, ValueError):
        yield f"no answer: {answer.body[:200]!r}"
        return
    if text != TEXT:
        yield f"the text is {text!r}"
    if not finish:
        yield "the answer does not say why it ended"


def _stream_problems(answer: Answer, surface: Surface, ended: bool) -> Iterator[str]:
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        yield f"a stream as {answer.headers.get('content-type')}"
    *events, rest = answer.body.replace(b"\r\n", b"\n").split(b"\n\n")
    if rest:
        yield f"the last event is not whole: {rest[:80]!r}"
    read = _read_openai if surface == "openai" else _read_anthropic
    told = read([event for event in events if not event.startswith(b":")])
    yield from told.problems
    if told.done != ended:
        yield "a clean end" if told.done else "no end"
    if bool(told.errors) == ended:
        yield f"errors: {told.errors}"
    for error in told.errors:
        yield from error_problems(error, surface)
    if ended and told.text != TEXT:
        yield f"the text is {told.text!r}"
    if not ended and not (told.text and TEXT.startswith(told.text)):
        yield f"the text so far is {told.text!r}"


class _Told(Struct):
    text: str = ""
    done: bool = False
    errors: list[bytes] = []
    problems: list[str] = []


def _read_openai(events: list[bytes]) -> _Told:
    told, ids, finishes, roles = _Told(), set(), 0, 0
    for event in events:
        data = event.removeprefix(b"data:").strip()
        if told.done or told.errors:
            told.problems.append(f"an event after the end: {event[:80]!r}")
        elif data == b"[DONE]":
            told.done = True
        elif not isinstance(said := _json(data), dict):
            told.problems.append(f"not an event: {event[:80]!r}")
        elif "error" in said:
            told.errors.append(data)
        else:
            ids.add(said.get("id"))
            if not said.get("choices") and "usage" in said:
                told.problems.append("a usage chunk that nobody asked for")
            for choice in said.get("choices") or ():
                delta = choice.get("delta") or {}
                told.text += delta.get("content") or ""
                roles += "role" in delta
                finishes += choice.get("finish_reason") is not None
    if len(ids) > 1:
        told.problems.append(f"chunks of several answers: {sorted(map(str, ids))}")
    if ids and roles != 1:
        told.problems.append(f"{roles} chunks with a role")
    if told.done and finishes != 1:
        told.problems.append(f"{finishes} finish reasons")
    return told


def _read_anthropic(events: list[bytes]) -> _Told:
    told, kinds = _Told(), []
    for event in events:
        name, _, line = event.partition(b"\n")
        said = _json(line.removeprefix(b"data:").strip())
        if not isinstance(said, dict) or name.removeprefix(b"event:").strip().decode() != said.get("type"):
            told.problems.append(f"not an event: {event[:80]!r}")
            continue
        kind = said["type"]
        if told.done or told.errors:
            told.problems.append(f"an event after the end: {event[:80]!r}")
        if kind != "ping":
            kinds.append(kind)
        if kind == "error":
            told.errors.append(line.removeprefix(b"data:").strip())
        elif kind == "message_stop":
            told.done = True
        elif kind == "content_block_delta":
            told.text += said["delta"].get("text", "")
    if kinds[:2] != ["message_start", "content_block_start"]:
        told.problems.append(f"it begins with {kinds[:2]}")
    if told.done and kinds[-3:] != ["content_block_stop", "message_delta", "message_stop"]:
        told.problems.append(f"it ends with {kinds[-3:]}")
    if kinds.count("message_start") > 1:
        told.problems.append("messages of several answers")
    return told


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None
