"""/openapi.json: a valid document, whose schemas accept the same bodies as the gateway."""

from __future__ import annotations

import json
import re
from inspect import getsource
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from router.compose.run import ledger
from router.decide.model_name import read_routing_options, read_target
from router.errors import CallerError
from router.gateway.endpoints.apidoc.document import openapi_document
from router.gateway.http.errors import ErrorResponse
from router.gateway.http.origins import Visitors
from router.gateway.http.surfaces import anthropic_error, openai_error
from router.gateway.routing import headers
from router.types import Candidate, Decision, Guard, Rejection, SinglePlan
from router.wire import ChatRequest, wants_stream

DOCUMENT: dict[str, Any] = json.loads(msgspec.json.encode(openapi_document()))
POSTS = {
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/route",
    "/v1/feedback",
    "/api/chat",
    "/api/generate",
    "/api/show",
}
GETS = {"/v1/models", "/v1/models/{model}", "/healthz", "/readyz", "/metrics", "/openapi.json"}
GETS |= {"/api/tags", "/api/version"}
REQUEST = {"messages": [{"role": "user", "content": "Hello"}]}


def is_valid(name: str, value: Any) -> bool:
    """Whether `value` is valid by the document's schema of this name."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return Draft202012Validator(schema).is_valid(value)


def is_accepted(body: dict[str, Any]) -> bool:
    """Whether the gateway accepts a chat body."""
    try:
        wants_stream(body)
        read_target(body.get("model"), {})
        read_routing_options({}, body)
        ChatRequest.from_body(body)
    except CallerError:
        return False
    return True


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("open_metrics", [True, False])
def test_the_document_is_valid(keyed: bool, open_metrics: bool) -> None:
    document = json.loads(msgspec.json.encode(openapi_document(keyed=keyed, open_metrics=open_metrics)))
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_endpoint_is_documented_with_its_method() -> None:
    methods = {path: set(operations) for path, operations in DOCUMENT["paths"].items()}
    assert methods == {**{path: {"post"} for path in POSTS}, **{path: {"get"} for path in GETS}}


def test_operation_ids_are_unique() -> None:
    names = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", sorted(POSTS))
def test_every_error_status_is_documented(path: str) -> None:
    statuses = set(DOCUMENT["paths"][path]["post"]["responses"])
    assert {
        "200",
        "400",
        "401",
        "403",
        "404",
        *(["409"] if path == "/v1/feedback" else []),
        "408",
        "413",
        "415",
        "429",
        "500",
        "502",
        "503",
        "504",
        "default",
    } == statuses


@pytest.mark.parametrize("path", sorted(POSTS))
def test_errors_have_the_format_of_their_protocol(path: str) -> None:
    name = "AnthropicError" if "messages" in path else "OllamaError" if "/api/" in path else "OpenAIError"
    response = DOCUMENT["paths"][path]["post"]["responses"]["429"]
    assert response["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{name}"}
    assert "retry-after" in response["headers"]


def test_errors_match_their_schemas() -> None:
    error = ErrorResponse(404, "there is no model", "invalid_request_error", "model_not_found", "model")
    assert is_valid("OpenAIError", json.loads(openai_error(error)))
    assert is_valid("AnthropicError", json.loads(anthropic_error(error)))
    assert not is_valid("AnthropicError", json.loads(openai_error(error)))
    assert not is_valid("OpenAIError", json.loads(anthropic_error(error)))


def test_every_key_header_is_documented() -> None:
    assert DOCUMENT["security"] == [{"bearer": []}, {"x-api-key": []}, {"api-key": []}]
    open_paths = {path for path, methods in DOCUMENT["paths"].items() if methods.get("get", {}).get("security") == []}
    assert open_paths == {"/healthz", "/readyz", "/openapi.json", "/api/version"}
    assert "401" not in DOCUMENT["paths"]["/healthz"]["get"]["responses"]


def test_every_header_that_describes_the_routing_is_documented_and_readable_by_web_pages() -> None:
    # The modules that write such headers; each name is a literal there.
    written = {name for module in (headers, ledger) for name in re.findall(r'"(x-route-[a-z-]+)"', getsource(module))}
    documented = DOCUMENT["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]["headers"]
    page = dict(Visitors(origins=("https://a.example",)).cors_headers("https://a.example"))
    readable = page[b"access-control-expose-headers"].decode().split(", ")
    guide = (Path(__file__).parents[3] / "docs" / "serving.md").read_text("utf-8")
    assert {name for name in documented if name.startswith("x-route-")} == written
    assert {name for name in readable if name.startswith("x-route-")} == written
    assert {name for name in written if f"`{name}`" not in guide} == set()


def test_without_keys_no_endpoint_needs_one() -> None:
    assert openapi_document(keyed=False)["security"] == []


def test_metrics_may_be_documented_as_open() -> None:
    document = openapi_document(open_metrics=True)
    assert document["paths"]["/metrics"]["get"]["security"] == []


ACCEPTED: list[dict[str, Any]] = [
    {},
    {"model": None},
    {"model": "auto/cheap[size<9B]"},
    {"stream": None},
    {"stream": True, "stream_options": {"include_usage": True}},
    {"max_tokens": 1},
    {"max_completion_tokens": None},
    {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto"},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
    {"route": {"flags": "cheapest", "policy": "cheap", "session": "s"}, "metadata": {"route_flags": "best", "a": "b"}},
    {"route": None, "metadata": None, "odd": [1, {"x": None}]},
    {"messages": [{"role": "assistant", "content": None, "tool_calls": []}, {"role": "user", "content": "x"}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}]}]},
]
REJECTED: list[dict[str, Any]] = [
    {"messages": None},
    {"messages": []},
    {"messages": "Hello"},
    {"messages": ["Hello"]},
    {"messages": [{"content": "x"}]},
    {"messages": [{"role": "", "content": "x"}]},
    {"messages": [{"role": "user", "content": 5}]},
    {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
    {"messages": [{"role": "user", "content": ["x"]}]},
    {"model": ""},
    {"model": 5},
    {"stream": "yes"},
    {"max_tokens": -1},
    {"max_tokens": "5"},
    {"max_completion_tokens": 10**10},
    {"tools": "f"},
    {"route": "cheapest"},
    {"route": {"flag": "cheapest"}},
    {"route": {"flags": 5}},
    {"route": {"policy": ["cheap"]}},
    {"metadata": {"route_flags": 5}},
]


@pytest.mark.parametrize("fields", ACCEPTED, ids=json.dumps)
def test_the_schema_accepts_what_the_gateway_accepts(fields: dict[str, Any]) -> None:
    assert is_accepted(REQUEST | fields)
    assert is_valid("ChatBody", REQUEST | fields)


@pytest.mark.parametrize("fields", REJECTED, ids=json.dumps)
def test_the_schema_rejects_what_the_gateway_rejects(fields: dict[str, Any]) -> None:
    assert not is_accepted(REQUEST | fields)
    assert not is_valid("ChatBody", REQUEST | fields)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("CompletionsBody", {"model": "auto", "prompt": "Once", "stream": True, "echo": False}),
        ("CompletionsBody", {"prompt": [[1, 2], [3]]}),
        ("EmbeddingsBody", {"model": "embed", "input": ["a", "b"], "encoding_format": "float"}),
        ("ResponsesBody", {}),
        ("ResponsesBody", {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}]}),
        ("MessagesBody", {"max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "system": "Be brief."}),
        (
            "CountTokensBody",
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]}]},
        ),
    ],
)
def test_valid_bodies_of_the_other_protocols_are_accepted(name: str, body: dict[str, Any]) -> None:
    assert is_valid(name, body)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("CompletionsBody", {"prompt": ""}),
        ("EmbeddingsBody", {"input": "x"}),
        ("ResponsesBody", {"input": []}),
        ("MessagesBody", {"messages": [{"role": "robot", "content": "x"}]}),
        ("CountTokensBody", {"messages": []}),
    ],
)
def test_invalid_bodies_of_the_other_protocols_are_rejected(name: str, body: dict[str, Any]) -> None:
    assert not is_valid(name, body)


def test_a_decision_matches_its_schema() -> None:
    decision = Decision(
        plan=SinglePlan("a", ("b",)),
        candidates=[Candidate("a", 0.3, 0.7, 0.1, None, 5.0, {"loss": 0.3})],
        rejections={"c": Rejection("size", "size 70B > 9B", ("price 5$ > 1$",))},
        policy="default",
        artifact="irt-1",
        guard=Guard("held", "the default card answers", "a", "b", 0.1, 0.2, 0.6, 0.9),
    )
    document = json.loads(msgspec.json.encode(decision.document()))
    assert is_valid("RouteAnswer", document)
    assert not is_valid("RouteAnswer", {**document, "card": None})


def test_the_dry_run_of_a_named_card_matches_its_schema() -> None:
    assert is_valid("RouteAnswer", {"card": "a", "named": True})
