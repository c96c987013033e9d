"""`/openapi.json`: the OpenAPI document, generated from the route table, for client generators and API testers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from router import __version__
from router.gateway.endpoints.apidoc.schemas import schemas
from router.gateway.http.response_headers import ID_HEADERS, RESPONSE_HEADERS, RETRY_HEADERS, ROUTE_HEADERS
from router.gateway.http.routes import ENDPOINTS, Endpoint

Document = dict[str, Any]

_DESCRIPTION = (
    "A gateway that routes each request to the best model for it. It implements the OpenAI and Anthropic APIs: their "
    "SDKs work with a changed base URL. Every path under `/v1` also works without `/v1`. Fields of a body that are not "
    "listed are forwarded unchanged."
)
_ERRORS: Mapping[int, str] = {
    400: "Invalid request: a field or a flag is invalid, or no card meets the limits.",
    401: "The API key is missing, invalid, expired or revoked.",
    403: "Forbidden: a cross-origin request without API keys, or the upstream rejected the request.",
    404: "Unknown model, card or policy, or one that the key may not use.",
    408: "The body took too long to arrive.",
    409: "Conflicts with feedback stored earlier.",
    413: "The body is too large.",
    415: "The body has a content coding other than gzip, deflate, zstd and br.",
    429: "Rate limited, by the key's limits or by every upstream; `retry-after` gives the delay.",
    500: "Internal error of the gateway.",
    502: "No upstream gave a usable response.",
    503: "No eligible card is available (`x-should-retry: false` if a retry cannot help), or the gateway is busy.",
    504: "The upstream timed out.",
}
_KEY_HEADERS = ("x-api-key", "api-key")
_RETRYABLE = frozenset({429, 503})
_ROUTING_OPTIONS: Mapping[str, str] = {
    "x-route-flags": "Flags such as `cheapest,size<9B`. They override those in the body and in the model's name.",
    "x-route-policy": "The policy that chooses. It overrides the one in the body or in the model's name.",
    "x-route-session": "The conversation that the request belongs to. A conversation stays on its model while it fits.",
    "x-route-explore": "`false` for a request that no other card may answer in order to learn how good that card is.",
    "x-route-batch": "`true` for a request that can wait: it goes to the servers for throughput where there are some.",
}
_FORWARDED: Mapping[str, str] = {
    "anthropic-version": "Forwarded to the upstream unchanged.",
    "anthropic-beta": "Forwarded to the upstream unchanged.",
}
_MODEL: Document = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "A name such as `auto/cheap`; it may contain slashes.",
    "schema": {"type": "string", "minLength": 1},
    "example": "auto",
}


def openapi_document(*, keyed: bool = True, open_metrics: bool = False) -> Document:
    """Build the OpenAPI 3.1 document.

    `keyed`: whether requests need an API key; `open_metrics`: whether `/metrics` needs none even then.
    """
    paths: Document = {}
    for endpoint in ENDPOINTS.values():
        if endpoint.summary is not None:
            needs_key = endpoint.needs_key and not (open_metrics and endpoint.operation == "metrics")
            paths[endpoint.path] = {endpoint.method.lower(): _operation(endpoint, needs_key)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pulvinar", "version": __version__, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, *({name: []} for name in _KEY_HEADERS)] if keyed else [],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                **{name: {"type": "apiKey", "in": "header", "name": name} for name in _KEY_HEADERS},
            },
            "headers": {
                name: {"description": description, "schema": {"type": kind}}
                for name, (kind, description) in RESPONSE_HEADERS.items()
            },
        },
    }


def _operation(endpoint: Endpoint, needs_key: bool) -> Document:
    operation: Document = {"operationId": endpoint.operation, "summary": endpoint.summary}
    if endpoint.method == "POST":
        options = _ROUTING_OPTIONS if endpoint.takes_options else {}
        headers = {**options, **(_FORWARDED if endpoint.errors == "Anthropic" else {})}
        operation["parameters"] = [_header(name, description) for name, description in headers.items()]
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(endpoint.body or "")}},
        }
        operation["responses"] = _post_responses(endpoint)
    else:
        if "{model}" in endpoint.path:
            operation["parameters"] = [_MODEL]
        operation["responses"] = _get_responses(endpoint)
    if not needs_key:
        operation["security"] = []
        del operation["responses"]["401"]
    return operation


def _post_responses(endpoint: Endpoint) -> Document:
    """The responses of an endpoint that calls, or chooses, a model."""
    content = _json_content(endpoint)
    if endpoint.streams:
        # OpenAPI tools apply this schema to each event, and the events of the protocols differ.
        kind = "application/x-ndjson" if endpoint.errors == "Ollama" else "text/event-stream"
        content[kind] = {"schema": {}}
    return {
        "200": {
            "description": "The response" + (", as events where `stream` is true." if endpoint.streams else "."),
            "headers": _headers([] if endpoint.response else ROUTE_HEADERS),
            "content": content,
        },
        **{str(status): _error(status, endpoint) for status in _ERRORS if status != 409 or endpoint.may_conflict},
        "default": {
            "description": "Any other response of the upstream.",
            "headers": _headers(),
            "content": {"application/json": {"schema": _reference(f"{endpoint.errors}Error")}},
        },
    }


def _get_responses(endpoint: Endpoint) -> Document:
    """The responses of an endpoint that the gateway answers by itself."""
    content = _json_content(endpoint)
    if endpoint.operation == "metrics":
        content = {kind: {"schema": {"type": "string"}} for kind in ("text/plain", "application/openmetrics-text")}
    statuses = (401, 403, 404) if "{model}" in endpoint.path else (401, 403)
    responses: Document = {
        "200": {"description": "The response.", "headers": _headers(), "content": content},
        **{str(status): _error(status, endpoint) for status in statuses},
    }
    if endpoint.operation == "readyz":
        responses["503"] = {"description": "Not ready.", "headers": _headers(), "content": content}
    return responses


def _json_content(endpoint: Endpoint) -> Document:
    schema = _reference(endpoint.response) if endpoint.response else {"type": "object"}
    return {"application/json": {"schema": schema}}


def _error(status: int, endpoint: Endpoint) -> Document:
    return {
        "description": _ERRORS[status],
        "headers": _headers(RETRY_HEADERS if status in _RETRYABLE else []),
        "content": {"application/json": {"schema": _reference(f"{endpoint.errors}Error")}},
    }


def _header(name: str, description: str) -> Document:
    # What HTTP allows in a header: visible ASCII characters, with single spaces between them.
    schema = {"type": "string", "maxLength": 2000, "pattern": r"^[!-~]+( [!-~]+)*$"}
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _headers(names: Iterable[str] = ()) -> Document:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*ID_HEADERS, *names)}


def _reference(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}
