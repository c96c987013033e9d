"""Tesseract behind a chat API on a loopback port: the answer to an image is the text in it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Iterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.gateway.servers import COMPLETION, served

MODEL = "tesseract"


async def _transcribe(request: Request) -> Response:
    body = await request.json()
    parts = [
        part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]
    ]
    texts = [await _text_in(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]
    if not texts:
        return JSONResponse({"error": {"message": "no image", "type": "invalid_request_error"}}, 400)
    message = {"role": "assistant", "content": "\n".join(texts)}
    return JSONResponse({**COMPLETION, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


async def _models(request: Request) -> Response:
    # The gateway asks servers on its own machine what they serve.
    return JSONResponse({"object": "list", "data": [{"id": MODEL, "object": "model"}]})


async def _text_in(data_url: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "tesseract",
        "stdin",
        "stdout",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate(base64.b64decode(data_url.partition(",")[2]))
    return output.decode().strip()


@contextlib.contextmanager
def ocr_server() -> Iterator[str]:
    """The base URL of a running server."""
    routes = [Route("/v1/chat/completions", _transcribe, methods=["POST"]), Route("/v1/models", _models)]
    with served(Starlette(routes=routes)) as url:
        yield f"{url}/v1"
