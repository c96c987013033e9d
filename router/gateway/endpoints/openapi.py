"""`/openapi.json`: every endpoint, for people and for programs that test or call it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from router import __version__
from router.gateway.endpoints.schemas import schemas

Document = dict[str, Any]

_DESCRIPTION = (
    "A gateway that sends each request to the model that is best for it. It speaks OpenAI's and Anthropic's protocols; "
    "their SDKs need another base URL and nothing else. Every path under `/v1` is served without `/v1` too. Fields of "
    "a body that are not listed reach the upstream unchanged."
)
_ERRORS: Mapping[int, str] = {
    400: "The request is at fault: a field, a flag, or limits that no card meets.",
    401: "There is no key, or one that opens nothing.",
    403: "The request comes from a web page elsewhere, or an upstream refuses it.",
    404: "There is no such model, card or policy, or the key may not use it.",
    408: "The body took too long to arrive.",
    413: "The body is larger than is taken.",
    429: "The key's or every upstream's limit is reached; `retry-after` says when to ask again.",
    500: "The gateway is at fault.",
    502: "No upstream gave a usable answer.",
    503: "No card that fits can be called, or the gateway is busy; `x-should-retry: false` where waiting is no use.",
    504: "The upstream took too long.",
}
_ASK_LATER = frozenset({429, 503})
_HEADERS: Mapping[str, tuple[str, str]] = {
    "x-request-id": (
        "string",
        "The request's name in the log, the traces and the records; the client's own if it is sane.",
    ),
    "request-id": ("string", "The same, as Anthropic's clients look for it."),
    "retry-after": ("integer", "Seconds to wait before asking again."),
    "x-should-retry": ("string", "`false` where asking again is no use."),
    "x-route-card": ("string", "The card that served. These five come where the policy has `headers: on`."),
    "x-route-policy": ("string", "The policy that chose it."),
    "x-route-quality": ("number", "The quality expected of it, from 0 to 1."),
    "x-route-cost-usd": ("number", "What the request costs, or is expected to cost, in US dollars."),
    "x-route-overhead-ms": ("number", "What the gateway took before it called the upstream, in milliseconds."),
}
_ROUTED = tuple(name for name in _HEADERS if name.startswith("x-route-"))
_LATER = ("retry-after", "x-should-retry")
_WISHES: Mapping[str, str] = {
    "x-route-flags": "Flags such as `cheapest,size<9B`; stronger than those in the body or in the model's name.",
    "x-route-policy": "The policy that chooses; stronger than the one in the body or in the model's name.",
    "x-route-session": "The conversation that the request belongs to; it keeps its model while that is right.",
}
_FORWARDED: Mapping[str, str] = {
    "anthropic-version": "Reaches the upstream unchanged.",
    "anthropic-beta": "Reaches the upstream unchanged.",
}


def openapi_document(*, keyed: bool = True, open_metrics: bool = False) -> Document:
    """The OpenAPI 3.1 document.

    `keyed`: whether requests need a key; `open_metrics`: whether `/metrics` needs none all the same.
    """
    opened: Document = {"security": []}
    paths: Document = {
        "/v1/chat/completions": _post("chat", "Answer a conversation", "ChatBody", stream=True),
        "/v1/completions": _post("completions", "Continue a text", "CompletionsBody", stream=True),
        "/v1/embeddings": _post("embeddings", "Make embeddings", "EmbeddingsBody"),
        "/v1/responses": _post("responses", "Answer as OpenAI's Responses API does", "ResponsesBody", stream=True),
        "/v1/messages": _post(
            "messages", "Answer as Anthropic's Messages API does", "MessagesBody", "Anthropic", stream=True
        ),
        "/v1/messages/count_tokens": _post(
            "count_tokens", "Count the tokens of a message", "CountTokensBody", "Anthropic", answer="TokenCount"
        ),
        "/route": _post("route", "Decide without calling: the card and why", "ChatBody", answer="RouteAnswer"),
        "/v1/models": _get("models", "The names that `model` may have", "Models"),
        "/v1/models/{model}": _get("model", "One of them", "Model", also=(404,), parameters=[_MODEL]),
        "/healthz": _get("healthz", "Whether the process answers", "Health") | opened,
        "/readyz": _get("readyz", "Whether requests are to be sent here", "Readiness", not_ready=True) | opened,
        "/metrics": _metrics() | (opened if open_metrics else {}),
        "/openapi.json": _get("openapi", "This document", None) | opened,
    }
    for path, operation in paths.items():
        if operation.get("security") == []:
            operation["responses"].pop("401")
        paths[path] = {operation.pop("method"): operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pulvinar", "version": __version__, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"x-api-key": []}] if keyed else [],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "headers": {
                name: {"description": description, "schema": {"type": kind}}
                for name, (kind, description) in _HEADERS.items()
            },
        },
    }


_MODEL: Document = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "A name such as `auto/cheap`; it may hold slashes.",
    "schema": {"type": "string", "minLength": 1},
    "example": "auto",
}


def _post(
    name: str, summary: str, body: str, dialect: str = "OpenAI", answer: str | None = None, stream: bool = False
) -> Document:
    """An operation that models answer. `answer` is the shape of what it says, the upstream's own where None."""
    wished = {**_WISHES, **(_FORWARDED if dialect == "Anthropic" else {})}
    said: Document = {"application/json": {"schema": _reference(answer) if answer else {"type": "object"}}}
    if stream:
        # Tools take the schema for that of one event, whose `data` is another thing in every protocol.
        said["text/event-stream"] = {"schema": {}}
    return {
        "method": "post",
        "operationId": name,
        "summary": summary,
        "parameters": [_header(header, description) for header, description in wished.items()],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _reference(body)}}},
        "responses": {
            "200": {
                "description": "The answer" + (", as events where `stream` is true." if stream else "."),
                "headers": _headers([] if answer else _ROUTED),
                "content": said,
            },
            **{str(status): _error(status, dialect) for status in _ERRORS},
            "default": {
                "description": "What else the upstream answered.",
                "headers": _headers(),
                "content": {"application/json": {"schema": _reference(f"{dialect}Error")}},
            },
        },
    }


def _get(
    name: str,
    summary: str,
    answer: str | None,
    also: Iterable[int] = (),
    parameters: list[Document] | None = None,
    not_ready: bool = False,
) -> Document:
    """An operation that the gateway answers by itself. A probe that is `not_ready` has the same shape with 503."""
    content = {"application/json": {"schema": _reference(answer) if answer else {"type": "object"}}}
    operation: Document = {
        "method": "get",
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": "The answer.", "headers": _headers(), "content": content},
            **{str(status): _error(status, "OpenAI") for status in (401, 403, *also)},
        },
    }
    if parameters:
        operation["parameters"] = parameters
    if not_ready:
        operation["responses"]["503"] = {"description": "Not now.", "headers": _headers(), "content": content}
    return operation


def _metrics() -> Document:
    operation = _get("metrics", "Metrics for Prometheus", None)
    operation["responses"]["200"]["content"] = {
        kind: {"schema": {"type": "string"}} for kind in ("text/plain", "application/openmetrics-text")
    }
    return operation


def _error(status: int, dialect: str) -> Document:
    return {
        "description": _ERRORS[status],
        "headers": _headers(_LATER if status in _ASK_LATER else []),
        "content": {"application/json": {"schema": _reference(f"{dialect}Error")}},
    }


def _header(name: str, description: str) -> Document:
    # What HTTP takes in a header: visible characters, with blanks between them.
    schema = {"type": "string", "maxLength": 2000, "pattern": r"^[!-~]+( [!-~]+)*$"}
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _headers(names: Iterable[str] = ()) -> Document:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("x-request-id", "request-id", *names)}


def _reference(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}
