"""A loopback server of Anthropic's messages protocol, controlled by the name of the model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.gateway.servers import ReceivedRequest, served

_USAGE = {"input_tokens": 3, "output_tokens": 2}
_MESSAGE: dict[str, object] = {
    "id": "m1",
    "type": "message",
    "role": "assistant",
    "model": "served",
    "content": [],
    "stop_reason": None,
    "usage": _USAGE,
}


def _text(text: str) -> dict[str, object]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


_BEGINNING: tuple[dict[str, object], ...] = (
    {"type": "message_start", "message": _MESSAGE},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    _text("Hel"),
)
_REST: tuple[dict[str, object], ...] = (
    _text("lo"),
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
)


def _event(event: dict[str, object]) -> str:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"


EVENTS = [_event(event).encode() for event in (*_BEGINNING, *_REST)]
"""Its answer as a stream."""


@dataclass
class AnthropicUpstream:
    """Answers `Hello`. Model `status-<n>` returns an error, `cut` closes the connection, `quiet` stalls a stream.

    `mixes_up`: it streams where no stream was requested, and the other way round.
    """

    url: str = ""
    seen: list[ReceivedRequest] = field(default_factory=list)
    mixes_up: bool = False
    disconnected: threading.Event = field(default_factory=threading.Event)

    async def respond(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.seen.append(ReceivedRequest(request.url.path, dict(request.headers), body))
        model = body["model"]
        if model.startswith("status-"):
            error = {"type": "error", "error": {"type": "some_error", "message": f"error at {self.url}"}}
            return JSONResponse(error, int(model.removeprefix("status-")), {"retry-after": "7"})
        if bool(body.get("stream")) is not self.mixes_up:
            return StreamingResponse(self._stream(model), media_type="text/event-stream")
        message = {
            **_MESSAGE,
            "content": [{"type": "text", "text": "Hello"}],
            "stop_reason": "end_turn",
        }
        return JSONResponse(message)

    async def _stream(self, model: str) -> AsyncIterator[str]:
        for event in _BEGINNING:
            yield _event(event)
        if model == "cut":
            await asyncio.sleep(0.05)
            raise ConnectionAbortedError
        if model == "quiet":
            try:
                await asyncio.sleep(30)
            finally:
                self.disconnected.set()
        for event in _REST:
            yield _event(event)


@contextlib.contextmanager
def anthropic_server() -> Iterator[AnthropicUpstream]:
    upstream = AnthropicUpstream()
    routes = [Route("/v1/messages", upstream.respond, methods=["POST"])]
    with served(Starlette(routes=routes)) as url:
        upstream.url = url
        yield upstream
