"""The model server behind every gateway under test: `python -m bench.upstream --port 9000`.

It sends prepared bytes, so that it costs little beside a gateway: `POST …/chat/completions` returns about 200 tokens as
JSON, or as a stream of 20 events. Every event has the time at which it was sent (`t` and nanoseconds of the machine's
monotonic clock), so that the client can measure its delay. `GET …/models` lists the names of `--models`, `GET /health`
returns ok. For measurements, `POST /bench/pace` with a number sets the milliseconds between events (0: all at once);
`GET /bench/chats` returns the number of chat requests.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from pathlib import Path
from typing import cast

import httptools
import msgspec
import uvloop

EVENTS = 20
HOST = "127.0.0.1"
_SENTENCE = (
    "A gateway stands between the people who ask and the models that answer, and it should cost neither of them any "
    "time that they would notice. "
)
_ANSWER = _SENTENCE * 8
_USAGE = {"prompt_tokens": 100, "completion_tokens": 200, "total_tokens": 300}
_DONE = b"data: [DONE]\n\n"
_NOT_FOUND = b'{"error":{"message":"no such path","type":"invalid_request_error","param":null,"code":"not_found"}}'


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Chat(msgspec.Struct):
    """The fields of a chat request that this server reads."""

    stream: bool | None = None
    stream_options: _StreamOptions | None = None


class UpstreamState:
    """State shared by all connections: the prepared responses, the pace of streams, the number of chats."""

    def __init__(self, models: list[str]) -> None:
        self.pace_s = 0.0
        self.chats = 0
        self.read_chat = msgspec.json.Decoder(_Chat).decode
        self.completion = _response(json.dumps(_completion()).encode())
        entries = [{"id": name, "object": "model", "created": 1, "owned_by": "vllm"} for name in models]
        self.models = _response(json.dumps({"object": "list", "data": entries}).encode())
        self.ok = _response(b'{"status":"ok"}')
        self.not_found = _response(_NOT_FOUND, b"404 Not Found")
        self.stream_head = (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        self.first = _event({"role": "assistant", "content": ""})
        words = " ".join(_ANSWER.split()[:10])
        before, after = _event({"content": f"\x00 {words}"}).split(b"\\u0000")
        self.before, self.after = before, after
        self.last = _event({}, "stop")
        self.usage = _data({**_CHUNK, "choices": [], "usage": _USAGE})

    def content(self) -> bytes:
        """An event of ten words with the current time."""
        return b"%st%d%s" % (self.before, time.monotonic_ns(), self.after)


class Connection(asyncio.Protocol):
    """One client connection. Its requests are sequential."""

    def __init__(self, state: UpstreamState) -> None:
        self._state = state
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop sets TCP_NODELAY itself

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._url = b""
        self._body.clear()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._transport.write(self._respond(self._url.partition(b"?")[0], b"".join(self._body)))

    def _respond(self, path: bytes, body: bytes) -> bytes:
        state = self._state
        if path.endswith(b"/chat/completions"):
            state.chats += 1
            chat = state.read_chat(body)
            if not chat.stream:
                return state.completion
            self._begin(bool(chat.stream_options and chat.stream_options.include_usage))
            return b""
        if path == b"/bench/pace":
            state.pace_s = float(body) / 1e3
            return state.ok
        if path == b"/bench/chats":
            return _response(b"%d" % state.chats)
        if path.endswith(b"/models"):
            return state.models
        return state.ok if path in (b"/health", b"/") else state.not_found

    def _begin(self, with_usage: bool) -> None:
        state = self._state
        self._transport.write(state.stream_head + _chunk(state.first))
        if state.pace_s:
            self._timer = asyncio.get_running_loop().call_later(state.pace_s, self._send_next, EVENTS, with_usage)
            return
        for _ in range(EVENTS):
            self._transport.write(_chunk(state.content()))
        self._end(with_usage)

    def _send_next(self, remaining: int, with_usage: bool) -> None:
        self._transport.write(_chunk(self._state.content()))
        if remaining > 1:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._state.pace_s, self._send_next, remaining - 1, with_usage)
        else:
            self._end(with_usage)

    def _end(self, with_usage: bool) -> None:
        usage = _chunk(self._state.usage) if with_usage else b""
        self._transport.write(b"%s%s%s0\r\n\r\n" % (_chunk(self._state.last), usage, _chunk(_DONE)))


_CHUNK = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "bench"}


def _completion() -> dict[str, object]:
    message = {"role": "assistant", "content": _ANSWER, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {**_CHUNK, "object": "chat.completion", "choices": [choice], "usage": _USAGE}


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    return _data({**_CHUNK, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]})


def _data(body: dict[str, object]) -> bytes:
    return b"data: %s\n\n" % json.dumps(body, separators=(",", ":")).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _response(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


async def serve(port: int, models: list[str]) -> None:
    """Serve until the process ends."""
    state = UpstreamState(models)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(state), HOST, port, backlog=1024)
    # A garbage collection would delay a response, and there are hardly any reference cycles to collect.
    gc.freeze()
    gc.disable()
    await server.serve_forever()


def main() -> None:
    """Serve on loopback until the process ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--models", type=Path, help="file with one model name a line (default: bench)")
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.models.read_text().split() if options.models else ["bench"]))


if __name__ == "__main__":
    main()
