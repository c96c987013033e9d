"""The route table: every endpoint once, for the application, the OpenAPI document and the traces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

_API_PREFIX = "/v1"


class Endpoint(Struct, frozen=True, kw_only=True):
    """One endpoint.

    `operation` is its `operationId` in OpenAPI; for a protocol's endpoint also the surface in logs, metrics and traces.
    `path` is the documented path. `body` and `response` name schemas of `router.gateway.endpoints.apidoc.schemas`;
    without `response`, a POST returns the upstream's JSON. An endpoint without a `summary` is not documented.
    `takes_options`: whether a POST has the routing options. `may_conflict`: whether it answers 409.
    """

    operation: str
    path: str
    method: Literal["GET", "POST"] = "GET"
    summary: str | None = None
    body: str | None = None
    response: str | None = None
    streams: bool = False
    errors: Literal["OpenAI", "Anthropic", "Ollama"] = "OpenAI"
    needs_key: bool = True
    takes_options: bool = True
    may_conflict: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        """The documented path, and its variant with or without `/v1` if the endpoint is part of the API."""
        if self.path.startswith(f"{_API_PREFIX}/"):
            return self.path, self.path.removeprefix(_API_PREFIX)
        is_own = self.method == "POST" and self.errors == "OpenAI"
        return (self.path, _API_PREFIX + self.path) if is_own else (self.path,)


ENDPOINTS: Mapping[str, Endpoint] = {
    endpoint.operation: endpoint
    for endpoint in (
        Endpoint(
            operation="chat",
            path="/v1/chat/completions",
            method="POST",
            summary="Create a chat completion",
            body="ChatBody",
            streams=True,
        ),
        Endpoint(
            operation="completions",
            path="/v1/completions",
            method="POST",
            summary="Create a text completion",
            body="CompletionsBody",
            streams=True,
        ),
        Endpoint(
            operation="embeddings",
            path="/v1/embeddings",
            method="POST",
            summary="Create embeddings",
            body="EmbeddingsBody",
        ),
        Endpoint(
            operation="responses",
            path="/v1/responses",
            method="POST",
            summary="Create a response (OpenAI's Responses API)",
            body="ResponsesBody",
            streams=True,
        ),
        Endpoint(
            operation="messages",
            path="/v1/messages",
            method="POST",
            summary="Create a message (Anthropic's Messages API)",
            body="MessagesBody",
            streams=True,
            errors="Anthropic",
        ),
        Endpoint(
            operation="count_tokens",
            path="/v1/messages/count_tokens",
            method="POST",
            summary="Count the tokens of a message",
            body="CountTokensBody",
            response="TokenCount",
            errors="Anthropic",
        ),
        Endpoint(
            operation="route",
            path="/route",
            method="POST",
            summary="Dry run: the decision and its reasons, without calling a model",
            body="ChatBody",
            response="RouteAnswer",
        ),
        Endpoint(
            operation="feedback",
            path="/v1/feedback",
            method="POST",
            summary="Say how good the answer to a request was",
            body="FeedbackBody",
            response="FeedbackAnswer",
            takes_options=False,
            may_conflict=True,
        ),
        Endpoint(
            operation="ollama_chat",
            path="/api/chat",
            method="POST",
            summary="Answer a conversation (Ollama's API)",
            body="OllamaChatBody",
            streams=True,
            errors="Ollama",
        ),
        Endpoint(
            operation="ollama_generate",
            path="/api/generate",
            method="POST",
            summary="Answer a prompt (Ollama's API)",
            body="OllamaGenerateBody",
            streams=True,
            errors="Ollama",
        ),
        Endpoint(
            operation="ollama_show",
            path="/api/show",
            method="POST",
            summary="Describe a model (Ollama's API)",
            body="OllamaShowBody",
            response="OllamaModel",
            errors="Ollama",
        ),
        Endpoint(
            operation="ollama_tags",
            path="/api/tags",
            summary="List the names that `model` may have (Ollama's API)",
            response="OllamaModels",
            errors="Ollama",
        ),
        Endpoint(
            operation="ollama_version",
            path="/api/version",
            summary="The version of Ollama's API",
            response="OllamaVersion",
            errors="Ollama",
            needs_key=False,
        ),
        Endpoint(
            operation="models",
            path="/v1/models",
            summary="List the names that `model` may have",
            response="ModelsAnswer",
        ),
        Endpoint(
            operation="model", path="/v1/models/{model}", summary="Get one of these names", response="ModelAnswer"
        ),
        Endpoint(
            operation="healthz",
            path="/healthz",
            summary="Liveness: whether the process responds",
            response="Health",
            needs_key=False,
        ),
        Endpoint(
            operation="readyz",
            path="/readyz",
            summary="Readiness: whether requests should be sent here",
            response="Readiness",
            needs_key=False,
        ),
        Endpoint(operation="metrics", path="/metrics", summary="Prometheus metrics"),
        Endpoint(operation="adapters", path="/adapters"),
        *(
            Endpoint(operation=f"adapters_{order}", path=f"/adapters/{order}", method="POST")
            for order in ("load", "unload", "pin", "unpin")
        ),
        Endpoint(operation="openapi", path="/openapi.json", summary="This document", needs_key=False),
        Endpoint(operation="root", path="/", needs_key=False),
    )
}
"""Every endpoint by its operation."""
