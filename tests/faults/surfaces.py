"""Both surfaces as a strict client reads them: requests, and the problems of their responses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

import httpx
from msgspec import Struct

from tests.faults.faults import Complete, Cut, Failure, Outcome
from tests.faults.wires import TEXT

Surface = Literal["openai", "anthropic"]
PATHS: dict[Surface, str] = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
_PROMPT = [{"role": "user", "content": "Say hello."}]
# Internals that no response may show; the caller adds its upstreams' addresses and keys.
_NEVER_SHOWN = (b"Traceback", b'File "', b"aiohttp", b"site-packages")


class Response(Struct, frozen=True):
    """A response as a client received it. `broken`: the connection ended before the response was complete."""

    status: int
    headers: dict[str, str]
    body: bytes
    broken: bool = False


def request_body(surface: Surface, model: str, stream: bool) -> dict[str, Any]:
    """A short request."""
    body: dict[str, Any] = {"model": model, "messages": _PROMPT, "max_tokens": 16}
    return {**body, "stream": True} if stream else body


def send(
    client: httpx.Client, surface: Surface, model: str, stream: bool, headers: dict[str, str] | None = None
) -> Response:
    """Send a short request; a response that breaks off is returned as `broken`."""
    version = {"anthropic-version": "2023-06-01"} if surface == "anthropic" else {}
    request = client.build_request(
        "POST", PATHS[surface], json=request_body(surface, model, stream), headers={**version, **(headers or {})}
    )
    response = client.send(request, stream=True)
    chunks: list[bytes] = []
    broken = False
    try:
        chunks.extend(response.iter_raw())
    except httpx.TransportError:
        broken = True
    finally:
        response.close()
    return Response(response.status_code, dict(response.headers), b"".join(chunks), broken)


def problems(
    response: Response, expected: Outcome, surface: Surface, stream: bool, secrets: tuple[str, ...] = ()
) -> list[str]:
    """The problems of `answer` in words; empty if it is as `expected`."""
    problem_list = [f"shows {text!r}" for text in _NEVER_SHOWN if text in response.body]
    visible = response.body + repr(response.headers).encode()
    problem_list += [f"shows {secret!r}" for secret in secrets if secret.encode() in visible]
    if response.broken:
        problem_list.append("the connection broke")
    if "x-request-id" not in response.headers:
        problem_list.append("no x-request-id")
    return problem_list + list(_CHECKS[type(expected)](response, expected, surface, stream))


def _complete_problems(response: Response, _: Outcome, surface: Surface, stream: bool) -> Iterator[str]:
    if response.status != 200:
        yield f"status {response.status}: {response.body[:200]!r}"
        return
    if not stream:
        yield from _whole_problems(response, surface)
        return
    yield from _stream_problems(response, surface, complete=True)


def _cut_problems(response: Response, _: Outcome, surface: Surface, stream: bool) -> Iterator[str]:
    assert stream
    if response.status != 200:
        yield f"status {response.status}: {response.body[:200]!r}"
        return
    yield from _stream_problems(response, surface, complete=False)


def _failure_problems(response: Response, expected: Outcome, surface: Surface, _: bool) -> Iterator[str]:
    assert isinstance(expected, Failure)
    if response.status not in expected.statuses:
        yield f"status {response.status} instead of {expected}: {response.body[:200]!r}"
    if expected.retry_after is not None and response.headers.get("retry-after") != expected.retry_after:
        yield f"retry-after is {response.headers.get('retry-after')}, the upstream sent {expected.retry_after}"
    if not response.headers.get("content-type", "").startswith("application/json"):
        yield f"an error as {response.headers.get('content-type')}"
    yield from error_problems(response.body, surface)


_CHECKS: dict[type[Outcome], Callable[[Response, Outcome, Surface, bool], Iterator[str]]] = {
    Complete: _complete_problems,
    Cut: _cut_problems,
    Failure: _failure_problems,
}


def error_problems(body: bytes, surface: Surface) -> Iterator[str]:
    """The problems of the format of an error."""
    message = _json(body)
    error = message.get("error") if isinstance(message, dict) else None
    if not isinstance(error, dict):
        yield f"no error in {body[:200]!r}"
        return
    if not isinstance(error.get("message"), str) or not error["message"]:
        yield f"an error without a message: {error}"
    if not isinstance(error.get("type"), str):
        yield f"an error without a type: {error}"
    if surface == "anthropic":
        if message.get("type") != "error":
            yield f"an error that is not Anthropic's: {body[:200]!r}"
    elif not isinstance(error.get("code"), str | None) or set(error) < {"message", "type", "param", "code"}:
        yield f"an error that is not OpenAI's: {body[:200]!r}"


def _whole_problems(response: Response, surface: Surface) -> Iterator[str]:
    message = _json(response.body)
    try:
        if surface == "openai":
            (choice,) = message["choices"]
            text, finish = choice["message"]["content"], choice["finish_reason"] == "stop"
        else:
            text = "".join(block["text"] for block in message["content"] if block["type"] == "text")
            finish = (
                message["type"] == "message" and message["role"] == "assistant" and message["stop_reason"] == "end_turn"
            )
    except (KeyError, TypeError, ValueError):
        yield f"no completion: {response.body[:200]!r}"
        return
    if text != TEXT:
        yield f"the text is {text!r}"
    if not finish:
        yield "the finish reason is wrong or missing"


def _stream_problems(response: Response, surface: Surface, complete: bool) -> Iterator[str]:
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        yield f"a stream as {response.headers.get('content-type')}"
    *events, rest = response.body.replace(b"\r\n", b"\n").split(b"\n\n")
    if rest:
        yield f"the last event is incomplete: {rest[:80]!r}"
    parse = _parse_openai if surface == "openai" else _parse_anthropic
    parsed = parse([event for event in events if not event.startswith(b":")])
    yield from parsed.problems
    if parsed.done != complete:
        yield "a clean end" if parsed.done else "no end"
    if bool(parsed.errors) == complete:
        yield f"errors: {parsed.errors}"
    for error in parsed.errors:
        yield from error_problems(error, surface)
    if complete and parsed.text != TEXT:
        yield f"the text is {parsed.text!r}"
    if not complete and not (parsed.text and TEXT.startswith(parsed.text)):
        yield f"the text so far is {parsed.text!r}"


class _ParsedStream(Struct):
    text: str = ""
    done: bool = False
    errors: list[bytes] = []
    problems: list[str] = []


def _parse_openai(events: list[bytes]) -> _ParsedStream:
    parsed, ids, finishes, roles = _ParsedStream(), set(), 0, 0
    for event in events:
        data = event.removeprefix(b"data:").strip()
        if parsed.done or parsed.errors:
            parsed.problems.append(f"an event after the end: {event[:80]!r}")
        elif data == b"[DONE]":
            parsed.done = True
        elif not isinstance(message := _json(data), dict):
            parsed.problems.append(f"not an event: {event[:80]!r}")
        elif "error" in message:
            parsed.errors.append(data)
        else:
            ids.add(message.get("id"))
            if not message.get("choices") and "usage" in message:
                parsed.problems.append("a usage chunk that was not requested")
            for choice in message.get("choices") or ():
                delta = choice.get("delta") or {}
                parsed.text += delta.get("content") or ""
                roles += "role" in delta
                finishes += choice.get("finish_reason") is not None
    if len(ids) > 1:
        parsed.problems.append(f"chunks of several responses: {sorted(map(str, ids))}")
    if ids and roles != 1:
        parsed.problems.append(f"{roles} chunks with a role")
    if parsed.done and finishes != 1:
        parsed.problems.append(f"{finishes} finish reasons")
    return parsed


def _parse_anthropic(events: list[bytes]) -> _ParsedStream:
    parsed, event_types = _ParsedStream(), []
    for event in events:
        name, _, line = event.partition(b"\n")
        message = _json(line.removeprefix(b"data:").strip())
        if not isinstance(message, dict) or name.removeprefix(b"event:").strip().decode() != message.get("type"):
            parsed.problems.append(f"not an event: {event[:80]!r}")
            continue
        event_type = message["type"]
        if parsed.done or parsed.errors:
            parsed.problems.append(f"an event after the end: {event[:80]!r}")
        if event_type != "ping":
            event_types.append(event_type)
        if event_type == "error":
            parsed.errors.append(line.removeprefix(b"data:").strip())
        elif event_type == "message_stop":
            parsed.done = True
        elif event_type == "content_block_delta":
            parsed.text += message["delta"].get("text", "")
    if event_types[:2] != ["message_start", "content_block_start"]:
        parsed.problems.append(f"it begins with {event_types[:2]}")
    if parsed.done and event_types[-3:] != ["content_block_stop", "message_delta", "message_stop"]:
        parsed.problems.append(f"it ends with {event_types[-3:]}")
    if event_types.count("message_start") > 1:
        parsed.problems.append("messages of several responses")
    return parsed


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None
