"""Mutated answers of model servers, whole or as events. The same seed and number give the same bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from tests.faults.wires import WIRES
from tests.fuzz.damage import flipped, truncated
from tests.fuzz.mutations import mutated_json

_CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
_CHUNK = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "served"}
_RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1, "model": "served", "status": "completed"}
_TEXT = {"type": "output_text", "text": "Hello", "annotations": []}
_ITEM = {"type": "message", "id": "m1", "role": "assistant", "status": "completed", "content": [_TEXT]}
_USAGE = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}


def _data(message: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(message).encode() + b"\n\n"


def _typed(kind: str, **fields: Any) -> bytes:
    return b"event: %s\n" % kind.encode() + _data({"type": kind, **fields})


def _calls() -> tuple[bytes, ...]:
    pieces = [_CALL, *({"index": 0, "function": {"arguments": part}} for part in ('{"pla', 'ce":"Oslo"}'))]
    events = [_data({**_CHUNK, "choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]}) for piece in pieces]
    last = _data({**_CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    return (*events, last, b"data: [DONE]\n\n")


def _streams(protocol: str) -> tuple[tuple[bytes, ...], ...]:
    if protocol == "responses":
        begun = {**_RESPONSE, "status": "in_progress", "output": []}
        return (
            (
                _typed("response.created", sequence_number=0, response=begun),
                _typed("response.output_item.added", sequence_number=1, output_index=0, item={**_ITEM, "content": []}),
                _typed("response.content_part.added", sequence_number=2, output_index=0, content_index=0, part=_TEXT),
                _typed("response.output_text.delta", sequence_number=3, output_index=0, content_index=0, delta="Hello"),
                _typed("response.output_item.done", sequence_number=4, output_index=0, item=_ITEM),
                _typed("response.completed", sequence_number=5, response={**_RESPONSE, "usage": _USAGE}),
            ),
        )
    wire = WIRES[protocol]
    plain = (*wire.harmless, *wire.head, *wire.content, *wire.tail[:-1], wire.counted, wire.tail[-1])
    return (plain, _calls()) if protocol == "chat/completions" else (plain,)


_PROTOCOLS = ("chat/completions", "messages", "completions", "responses")
_STREAMS = {protocol: _streams(protocol) for protocol in _PROTOCOLS}
_WHOLE: dict[str, Any] = {
    **{protocol: json.loads(WIRES[protocol].whole) for protocol in WIRES},
    "responses": {**_RESPONSE, "output": [_ITEM], "usage": _USAGE},
}


class FuzzAnswer(Struct, frozen=True):
    """The bytes of an answer, its head included, in the pieces in which they are sent."""

    pieces: tuple[bytes, ...]


def fuzz_answer(seed: int, number: int, protocol: str, stream: bool) -> FuzzAnswer:
    """The answer of this number to a request of `protocol`, a path after `/v1/`."""
    rng = random.Random(f"answer:{seed}:{number}")
    if stream and protocol in _STREAMS:
        body, content_type = _events(rng, _STREAMS[protocol]), b"text/event-stream"
    else:
        body, content_type = mutated_json(rng, _WHOLE.get(protocol, {})), b"application/json"
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        body = rng.choice(_DAMAGES)(rng, body)
    if rng.random() < 0.03:
        content_type = rng.choice((b"text/html", b"", b"application/json", b"text/event-stream; charset=utf-16"))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n" % content_type
    return FuzzAnswer(tuple(_framed(rng, head, _cut(rng, body))))


def _events(rng: random.Random, streams: tuple[tuple[bytes, ...], ...]) -> bytes:
    events = [event for event in rng.choice(streams) if event]
    for _ in range(rng.choice((0, 0, 1, 1, 3))):
        position = rng.randrange(len(events))
        events[position : position + 1] = rng.choice(_EVENT_CHANGES)(rng, events[position])
        events = events or [b": nothing\n\n"]
    return b"".join(events)


def _with_other_json(rng: random.Random, event: bytes) -> list[bytes]:
    before, mark, data = event.partition(b"data: ")
    try:
        message = json.loads(data)
    # A change before may have made it invalid or deep.
    except (ValueError, RecursionError):
        return [event]
    return [before + mark + mutated_json(rng, message) + b"\n\n"]


def _reframed(rng: random.Random, event: bytes) -> list[bytes]:
    return [
        rng.choice(
            (
                event.replace(b"\n", b"\r\n"),
                event.replace(b"\n", b"\r"),
                event.replace(b"data: ", b"data:"),
                event.replace(b"data: ", b"data\n"),
                event.replace(b"data: ", b"data: {\ndata: "),
                event.replace(b"data: ", b"DATA: "),
                event.replace(b"event: ", b"event:  "),
                b"id: 1\nretry: 5\n" + event,
                b"\xef\xbb\xbf" + event,
                event.rstrip(b"\n"),
                event + b"\n" * 50,
            )
        )
    ]


def _inserted_event(rng: random.Random, event: bytes) -> list[bytes]:
    new = (
        b": a comment\n\n",
        b"data: [DONE]\n\n",
        b"data: \n\n",
        b"data: null\n\n",
        b"data: []\n\n",
        b"data: 7\n\n",
        b'data: {"error":{"message":"no","code":500}}\n\n',
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"no"}}\n\n',
        b"event: ping\ndata: {}\n\n",
        b"data: " + b"x" * 200_000 + b"\n\n",
        b"\xff\xfe\x00\n\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    )
    return [event, rng.choice(new)] if rng.random() < 0.5 else [rng.choice(new), event]


_EVENT_CHANGES: tuple[Callable[[random.Random, bytes], list[bytes]], ...] = (
    _with_other_json,
    _with_other_json,
    _with_other_json,
    _reframed,
    _inserted_event,
    lambda _, event: [event, event],
    lambda *_: [],
)


def _flipped(rng: random.Random, body: bytes) -> bytes:
    return flipped(rng, body, rng.randrange(1, 5))


_DAMAGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    truncated,
    _flipped,
    lambda _, body: body + body,
    lambda _, body: body.rstrip(b"\n"),
)


def _cut(rng: random.Random, body: bytes) -> list[bytes]:
    """`body` in pieces: one, a few, or one a byte."""
    if rng.random() < 0.1 and len(body) < 3_000:
        return [body[position : position + 1] for position in range(len(body))]
    cuts = sorted(rng.randrange(len(body) + 1) for _ in range(rng.choice((0, 1, 3, 10))))
    return [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True) if start < end]


def _framed(rng: random.Random, head: bytes, pieces: list[bytes]) -> list[bytes]:
    """`head` and `pieces` as HTTP: chunked, with a length, or until the connection closes; sometimes wrong."""
    framing, length = rng.random(), sum(map(len, pieces))
    if framing < 0.25:
        return [head + b"connection: close\r\n\r\n", *pieces]
    if framing < 0.45:
        stated = length + rng.choice((0, 0, 0, 0, 5, -3)) if length > 3 else length
        return [head + b"content-length: %d\r\n\r\n" % stated, *pieces]
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    last = b"0\r\n\r\n"
    if framing > 0.9:
        last = rng.choice((b"", b"0\r\nX-Trailer: a\r\n\r\n", b"zz\r\n", b"-1\r\n\r\n", b"ffffffffffffffffff\r\n"))
    return [head + b"transfer-encoding: chunked\r\n\r\n", *chunks, last]
