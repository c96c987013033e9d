"""A server whose answer depends on the model: an error of `ERRORS`, else a completion."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.gateway.servers import COMPLETION, served


def _error(status: int, message: str, **more: Any) -> tuple[int, Any]:
    return status, {"error": {"message": message, "type": "invalid_request_error", "code": None, **more}}


ERRORS: dict[str, tuple[int, Any]] = {
    "unknown": _error(400, "the flux is inverted"),
    "unknown-too": _error(422, "the flux is too large"),
    "no-messages": _error(400, "[] is too short - 'messages'"),
    "filter": _error(400, "Content Exists Risk"),
    "credit": _error(400, "Your credit balance is too low to access the API."),
    "key": _error(401, "Incorrect API key provided: sk-secret-words"),
    "key-400": (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}]),
    "tier": _error(403, "not allowed"),
    "tools": _error(400, "model m does not support tools"),
    "template": _error(500, "System message must be at the beginning."),
    "quota": _error(429, "You exceeded your daily limit of 50 requests per day"),
    "context": _error(400, "prompt is too long"),
    "context-4k": _error(400, "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens"),
    "failing": _error(500, "no"),
    "credit-in-200": (200, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}),
    "list-in-200": (200, [{"error": {"code": 400, "message": "model m does not support tools"}}]),
}


class ErrorsUpstream:
    """`asked` are the models, in the order of the calls."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []

    async def answer(self, request: Request) -> Response:
        body = json.loads(await request.body())
        model = body["model"]
        self.asked.append(model)
        if model in ERRORS and body.get("stream") and model.startswith("credit"):
            event = f"data: {json.dumps(ERRORS[model][1])}\n\n"
            return Response(event, media_type="text/event-stream")
        status, answer = ERRORS.get(model, (200, COMPLETION))
        return Response(json.dumps(answer), status, media_type="application/json")


@contextlib.contextmanager
def errors_upstream() -> Iterator[ErrorsUpstream]:
    """The server on a free loopback port."""
    upstream = ErrorsUpstream()
    with served(Starlette(routes=[Route("/v1/chat/completions", upstream.answer, methods=["POST"])])) as url:
        upstream.url = url
        yield upstream
