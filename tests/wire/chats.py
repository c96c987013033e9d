"""Chat completions as upstreams send them, and a server that converts them for real clients."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from router.errors import UpstreamError
from router.wire import CONVERSIONS

USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 60},
    "completion_tokens_details": {"reasoning_tokens": 8},
}
APIS = {"/v1/messages": "messages", "/v1/responses": "responses", "/v1/completions": "completions"}


def chunk(finish: str | None = None, /, **delta: Any) -> dict[str, Any]:
    """A chunk of one choice; the arguments are its delta."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "served", "choices": [choice]}


def usage_chunk(usage: Mapping[str, Any] = USAGE) -> dict[str, Any]:
    return {**chunk(), "choices": [], "usage": usage}


def call_delta(index: int | None, arguments: str | None = None, /, *, id: str = "", name: str = "") -> dict[str, Any]:  # noqa: A002
    """One entry of `tool_calls` in a delta."""
    function = {**({"name": name} if name else {}), **({"arguments": arguments} if arguments is not None else {})}
    call = {**({"id": id, "type": "function"} if id else {}), "function": function}
    return call if index is None else {"index": index, **call}


def completion(
    finish: str | None = "stop", /, usage: Mapping[str, Any] | None = USAGE, **message: Any
) -> dict[str, Any]:
    """A whole completion of one choice; the arguments are its message."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "served", "choices": [choice]}
    return {**head, "usage": usage} if usage else head


def call_message(id_: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def streamed(surface: Any, chunks: Sequence[Any], body: Mapping[str, Any] | None = None) -> bytes:
    """The whole stream that these chunks are converted to, with an error event where the conversion fails."""
    writer = CONVERSIONS[surface].events(body or {})
    written: list[bytes] = []
    try:
        for chunk in chunks:
            written += writer.feed(chunk)
        written += writer.end()
    except UpstreamError as error:
        written.append(writer.fail(str(error), "upstream_error", str(error.status)))
    return b"".join(written)


def events(stream: bytes) -> list[dict[str, Any]]:
    """The decoded data of every event except `[DONE]`. An event's name, if any, must be its type."""
    decoded = []
    for block in stream.decode().split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        if lines["data"] != "[DONE]":
            decoded.append(json.loads(lines["data"]))
            assert lines.get("event", decoded[-1].get("type")) == decoded[-1].get("type")
    return decoded


@dataclass
class ConversionGateway:
    """A gateway with only the conversions: its upstream returns `chat`, or streams `chunks`; `error` is an error."""

    url: str = ""
    chat: Mapping[str, Any] = field(default_factory=completion)
    chunks: Sequence[Mapping[str, Any]] = ()
    error: tuple[int, str, str, str] | None = None
    chat_body: dict[str, Any] = field(default_factory=dict)

    def reply(self, surface: Any, body: Mapping[str, Any]) -> tuple[int, str, bytes]:
        conversion = CONVERSIONS[surface]
        if self.error:
            status, message, kind, code = self.error
            return status, "application/json", conversion.error(status, message, kind, code, None)
        self.chat_body = conversion.to_chat(body)
        if body.get("stream"):
            return 200, "text/event-stream", streamed(surface, self.chunks, body)
        return 200, "application/json", json.dumps(conversion.answer(self.chat, body)).encode()


@contextlib.contextmanager
def conversion_server() -> Iterator[ConversionGateway]:
    """A real server on a loopback port, for real SDKs."""
    state = ConversionGateway()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state.reply))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(reply: Callable[[Any, Mapping[str, Any]], tuple[int, str, bytes]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, content_type, answer = reply(APIS[self.path.split("?")[0]], body)
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
