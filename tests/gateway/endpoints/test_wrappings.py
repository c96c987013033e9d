"""Good answers in another wrapping than the requested one, from an upstream whose every byte is scripted."""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import brotli
import httpx
import pytest
import zstandard

from tests.dispatch.calls import raw_server
from tests.gateway.servers import CHUNKS, COMPLETION, gateway_server, make_card

PROMPT = [{"role": "user", "content": "hi"}]
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": PROMPT},
    "/v1/completions": {"prompt": "hi"},
    "/v1/messages": {"messages": PROMPT, "max_tokens": 9},
    "/v1/responses": {"input": "hi"},
}
# The last event of a complete stream in each protocol.
ENDS = {
    "/v1/chat/completions": "data: [DONE]\n\n",
    "/v1/completions": "data: [DONE]\n\n",
    "/v1/messages": 'data: {"type":"message_stop"}\n\n',
    "/v1/responses": '"type":"response.completed"',
}
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}\n\n'
STREAM = CHUNKS[0] + CHUNKS[1] + USAGE + CHUNKS[2]
WHOLE = json.dumps(COMPLETION).encode()
TEXT_CHUNK = CHUNKS[0].replace(b'"Hel"', b'"caf\xe9"')


def http(body: bytes, kind: str | None, coding: str | None = None) -> bytes:
    """A whole HTTP response."""
    head = ["HTTP/1.1 200 OK", f"content-length: {len(body)}", "connection: close"]
    head += [f"content-type: {kind}"] if kind else []
    head += [f"content-encoding: {coding}"] if coding else []
    return "\r\n".join([*head, "", ""]).encode() + body


@contextlib.contextmanager
def gateway(response: bytes, **facts: Any) -> Iterator[httpx.Client]:
    """A gateway whose only card answers with these bytes."""
    with (
        raw_server(response) as upstream,
        gateway_server(make_card("a", upstream, **{"apis": ("chat",), **facts})) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        yield client


def ask(client: httpx.Client, path: str, stream: bool) -> httpx.Response:
    return client.post(path, json={"model": "a", **REQUESTS[path], **({"stream": True} if stream else {})})


def text_in(path: str, answer: dict[str, Any]) -> str:
    """The text of a whole answer."""
    match path:
        case "/v1/chat/completions":
            return str(answer["choices"][0]["message"]["content"])
        case "/v1/completions":
            return str(answer["choices"][0]["text"])
        case "/v1/messages":
            return str(answer["content"][0]["text"])
        case _:
            return str(answer["output"][0]["content"][0]["text"])


def input_tokens(answer: dict[str, Any]) -> int:
    usage = answer["usage"]
    return int(usage.get("prompt_tokens", usage.get("input_tokens")))


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "text/plain", None])
def test_json_becomes_a_stream_of_one_piece(path: str, kind: str | None) -> None:
    with gateway(http(b"\n" + WHOLE, kind)) as client:
        response = ask(client, path, stream=True)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert "Hello" in response.text
    assert ENDS[path] in response.text


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json", "text/plain", None])
def test_a_stream_becomes_one_answer(path: str, kind: str | None) -> None:
    with gateway(http(b"\xef\xbb\xbf" + STREAM, kind)) as client:
        response = ask(client, path, stream=False)
    assert response.headers["content-type"] == "application/json"
    assert text_in(path, response.json()) == "Hello"
    assert input_tokens(response.json()) == 7


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", "application/octet-stream", "application/json", None])
def test_events_are_recognised_by_their_bytes(path: str, kind: str | None) -> None:
    with gateway(http(b": hello\r\n\r\n" + STREAM, kind)) as client:
        response = ask(client, path, stream=True)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert ENDS[path] in response.text


CODINGS = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_compressed_answer_is_decoded(path: str, coding: str) -> None:
    name, encode = CODINGS[coding]
    with gateway(http(encode(STREAM), "text/event-stream", name)) as client:
        assert ENDS[path] in ask(client, path, stream=True).text
    with gateway(http(encode(WHOLE), "application/json", name)) as client:
        response = ask(client, path, stream=False)
    assert text_in(path, response.json()) == "Hello"
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_cannot_be_decoded_goes_on_to_the_next_card(stream: bool) -> None:
    bad = http(b"\x1f\x9d\x90", "application/json", "compress")
    good = http(STREAM if stream else WHOLE, "text/event-stream" if stream else "application/json")
    with raw_server(bad) as first, raw_server(good) as second:
        cards = make_card("bad", first, price=1.0), make_card("good", second, price=2.0)
        with gateway_server(*cards) as url, httpx.Client(base_url=url, trust_env=False) as client:
            body = {"messages": PROMPT, "stream": stream}
            fallen_back = client.post("/v1/chat/completions", json={"model": "auto", **body})
            alone = client.post("/v1/chat/completions", json={"model": "bad", **body})
    assert fallen_back.headers["x-route-card"] == "good"
    assert alone.status_code == 502
    assert 'content coding "compress"' in alone.json()["error"]["message"]


CUTS = {
    "without a finish reason": CHUNKS[0],
    "without a finish reason, but with the closing event": CHUNKS[0] + CHUNKS[2],
    "with empty finish reasons": CHUNKS[0].replace(b'"finish_reason":null', b'"finish_reason":""'),
    "inside the last event": CHUNKS[0] + CHUNKS[1][:60],
    "inside a character": CHUNKS[0] + TEXT_CHUNK[: TEXT_CHUNK.index(b"\xe9")] + b"\xc3",
    "given up by the server": CHUNKS[0] + CHUNKS[1].replace(b'"stop"', b'"insufficient_system_resource"') + CHUNKS[2],
}


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize("stream", CUTS.values(), ids=CUTS)
def test_a_cut_stream_never_ends_cleanly(path: str, stream: bytes) -> None:
    with gateway(http(stream, "text/event-stream")) as client:
        streamed, whole = ask(client, path, stream=True), ask(client, path, stream=False)
    assert streamed.status_code == 200
    assert '"error"' in streamed.text
    assert ENDS[path] not in streamed.text
    assert whole.status_code == 502


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/messages", "/v1/responses"])
def test_a_part_that_cannot_be_read_is_not_left_out_of_a_converted_stream(path: str) -> None:
    with gateway(http(CHUNKS[0] + TEXT_CHUNK + CHUNKS[1] + CHUNKS[2], "text/event-stream")) as client:
        response = ask(client, path, stream=True)
    assert "cannot be read" in response.text
    assert ENDS[path] not in response.text


def test_a_part_that_cannot_be_read_is_relayed_byte_for_byte() -> None:
    stream = CHUNKS[0] + TEXT_CHUNK + CHUNKS[1] + CHUNKS[2]
    with gateway(http(stream, "text/event-stream")) as client:
        assert ask(client, "/v1/chat/completions", stream=True).content == stream


def test_an_unreadable_beginning_of_a_converted_stream_goes_on_to_the_next_card() -> None:
    with (
        raw_server(http(TEXT_CHUNK + CHUNKS[1] + CHUNKS[2], "text/event-stream")) as first,
        raw_server(http(STREAM, "text/event-stream")) as second,
    ):
        cards = make_card("bad", first, price=1.0), make_card("good", second, price=2.0)
        with gateway_server(*cards) as url, httpx.Client(base_url=url, trust_env=False) as client:
            body = {"model": "auto", **REQUESTS["/v1/messages"], "stream": True}
            response = client.post("/v1/messages", json=body)
    assert response.headers["x-route-card"] == "good"


MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 7, "output_tokens": 2},
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "m",
    "output": [
        {"id": "msg_1", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}
    ],
    "usage": {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9},
}


@pytest.mark.parametrize(("path", "answer"), [("/v1/messages", MESSAGE), ("/v1/responses", RESPONSE)])
def test_servers_of_the_other_protocols_mix_up_streams_too(path: str, answer: dict[str, Any]) -> None:
    api = path.removeprefix("/v1/")
    with gateway(http(json.dumps(answer).encode(), "application/json"), apis=(api,)) as client:
        streamed = ask(client, path, stream=True)
    assert ENDS[path] in streamed.text
    with gateway(http(streamed.content, "text/event-stream"), apis=(api,)) as client:
        assert ask(client, path, stream=False).json() == answer
