"""A fake provider on a loopback port: it implements OpenAI's and Anthropic's protocols and records its requests.

A model named `status-<n>` returns an error of that status, one named `cut` disconnects in the middle of its stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.clients import chat_wire, media_wire, messages_wire, responses_wire
from tests.gateway.servers import ReceivedRequest, served

Body = Mapping[str, Any]
Whole = Callable[[Body], dict[str, Any]]
Streamed = Callable[[Body], Iterator[str]]

_SURFACES: dict[str, tuple[Whole, Streamed | None]] = {
    "/v1/chat/completions": (chat_wire.chat, chat_wire.chat_events),
    "/v1/completions": (chat_wire.completion, chat_wire.completion_events),
    "/v1/embeddings": (chat_wire.embeddings, None),
    "/v1/responses": (responses_wire.response, responses_wire.response_events),
    "/v1/responses/input_tokens": (media_wire.input_tokens, None),
    "/v1/responses/compact": (media_wire.compaction, None),
    "/v1/audio/transcriptions": (media_wire.heard, None),
    "/v1/audio/translations": (media_wire.heard, None),
    "/v1/images/generations": (media_wire.images, None),
    "/v1/images/edits": (media_wire.images, None),
    "/v1/images/variations": (media_wire.images, None),
    "/v1/moderations": (media_wire.moderation, None),
    "/v1/messages": (messages_wire.message, messages_wire.message_events),
    "/v1/messages/count_tokens": (messages_wire.token_count, None),
}


@dataclass
class Upstream:
    """The fake provider. `seen` are its requests in order, `listed` the models that it lists."""

    url: str = ""
    listed: tuple[str, ...] = ()
    seen: list[ReceivedRequest] = field(default_factory=list)

    @property
    def last(self) -> ReceivedRequest:
        """The newest request."""
        return self.seen[-1]

    async def models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": model, "object": "model"} for model in self.listed]})

    async def handle(self, request: Request) -> Response:
        is_form = request.headers.get("content-type", "").startswith("multipart/form-data")
        body = {} if is_form else json.loads(await request.body())
        path = request.url.path
        self.seen.append(ReceivedRequest(path, dict(request.headers), body))
        model = body.get("model", "")
        if model.startswith("status-"):
            return _error_response(int(model.removeprefix("status-")), path)
        whole, streamed = _SURFACES[path]
        if body.get("stream") and streamed is not None:
            return StreamingResponse(_send(list(streamed(body)), model == "cut"), media_type="text/event-stream")
        return JSONResponse(whole(body), headers={"x-ratelimit-remaining-requests": "41"})


@contextlib.contextmanager
def upstream_server() -> Iterator[Upstream]:
    upstream = Upstream()
    routes = [Route(path, upstream.handle, methods=["POST"]) for path in _SURFACES]
    with served(Starlette(routes=[*routes, Route("/v1/models", upstream.models)])) as url:
        upstream.url = url
        yield upstream


async def _send(events: list[str], cut: bool) -> AsyncIterator[str]:
    for number, event in enumerate(events):
        if cut and number >= len(events) // 2:
            # Give the first half time to be sent.
            await asyncio.sleep(0.05)
            raise ConnectionAbortedError
        yield event


def _error_response(status: int, path: str) -> Response:
    error_fields = {"type": "invalid_request_error", "message": "the upstream rejected the request"}
    error: dict[str, Any] = {"error": {**error_fields, "param": None, "code": "refused"}}
    if path.startswith("/v1/messages"):
        error = {"type": "error", "error": error_fields}
    return JSONResponse(error, status, {"retry-after-ms": "1"})
