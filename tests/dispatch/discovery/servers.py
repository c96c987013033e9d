"""Model servers that only answer questions about their models, in the shapes of the real ones."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.cards.sources.test_local_models import LLAMA_CPP, LM_STUDIO, PROPS, SHOW, TAG, VLLM
from tests.gateway.servers import served

ADAPTER = {"id": "sql-lora", "root": "/adapters/sql", "parent": VLLM["id"], "max_model_len": None, "owned_by": "vllm"}
OLLAMA = {
    "/v1/models": {"object": "list", "data": [{"id": TAG["name"], "object": "model", "owned_by": "library"}]},
    "/api/tags": {"models": [TAG]},
    "/api/show": {TAG["name"]: SHOW},
}
LLAMA_SERVER = {"/v1/models": {"object": "list", "data": [LLAMA_CPP]}, "/props": PROPS}
VLLM_SERVER = {"/v1/models": {"object": "list", "data": [ADAPTER, VLLM]}}
LM_STUDIO_SERVER = {
    "/v1/models": {"data": [{"id": LM_STUDIO["id"], "object": "model", "owned_by": "organization_owner"}]},
    "/api/v0/models": {"object": "list", "data": [LM_STUDIO, {"id": "nomic-embed", "type": "embeddings"}]},
}


@contextlib.contextmanager
def model_server(answers: Mapping[str, Any]) -> Iterator[str]:
    """A server with these answers by path; that to a POST is by the model it names. The value is its URL."""

    async def answer(request: Request) -> Response:
        found = answers.get(request.url.path)
        if request.method == "POST" and found is not None:
            found = found.get(json.loads(await request.body())["model"])
        return JSONResponse({"error": "not found"}, 404) if found is None else JSONResponse(found)

    with served(Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])) as url:
        yield url
