"""The paths that clients build: each means one endpoint, or none."""

from __future__ import annotations

import contextlib
import http.client
import json
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.gateway.app import make_app
from router.gateway.config.keys import Key, Keys, hash_of
from router.gateway.http.paths import read_path
from router.gateway.http.routes import ENDPOINTS
from tests.gateway.servers import Upstream, make_card, make_gateway, make_router, served

CHAT = "/v1/chat/completions"
KEY = "pv-" + "k" * 40

MEANT = {
    "/v1/chat/completions": CHAT,
    "/chat/completions": "/chat/completions",
    "//v1//chat///completions": CHAT,
    "/v1/chat/completions/": CHAT,
    "/v1/v1/chat/completions": CHAT,
    "/v1/v1/v1//chat/completions//": CHAT,
    "/v1/chat/completions/chat/completions": CHAT,
    "/v1/chat/completions/v1/chat/completions": CHAT,
    "/chat/completions/v1/v1/chat/completions": CHAT,
    "/v1/chat/completions/models": "/v1/models",
    "/v1/chat/completions/v1/responses": "/v1/responses",
    "/v1/messages/v1/messages": "/v1/messages",
    "/v1/messages/v1/messages/count_tokens": "/v1/messages/count_tokens",
    "/v1/responses/responses": "/v1/responses",
    "/v1/completions/chat/completions": CHAT,
    "/openai/v1/chat/completions": CHAT,
    "/openai/v1/responses/resp_1": "/v1/responses/resp_1",
    "/openai/responses": "/responses",
    "/openai/models": "/models",
    "/anthropic/v1/messages": "/v1/messages",
    "/api/v1/chat/completions": CHAT,
    "/api/chat/completions": "/chat/completions",
    "/openai/openai/v1/chat/completions": CHAT,
    "/v1/openai/chat/completions": "/chat/completions",
    "/v1/openai/v1/models": "/v1/models",
    "/v1/anthropic/v1/messages": "/v1/messages",
    "/models/chat/completions": "/chat/completions",
    "/v2/rerank": "/v1/rerank",
    "/v1/api/tags": "/api/tags",
    "/ollama/api/chat": "/api/chat",
    "/api/chat": "/api/chat",
    "/api/tags/": "/api/tags",
    "/v1": "/",
    "/v1/": "/",
    "/": "/",
    "/v1/models/": "/v1/models",
    "/v1/models/auto%2Fcheap": "/v1/models/auto/cheap",
    "/v1/models/auto/cheap": "/v1/models/auto/cheap",
    "/v1/models/v1": "/v1/models/v1",
    "/v1/messages/count_tokens": "/v1/messages/count_tokens",
    "/v1/responses/resp_1/input_items": "/v1/responses/resp_1/input_items",
    # A path for operators has one spelling, so that a proxy can protect it.
    "/metrics": "/metrics",
    "//metrics": "//metrics",
    "/metrics/": "/metrics/",
    "/openai/metrics": "/openai/metrics",
    "/v1/openai/metrics": "/v1/openai/metrics",
    "/ollama/healthz": "/ollama/healthz",
    # An escape is no other spelling of a path.
    "/v1%2Fchat%2Fcompletions": "/v1%2Fchat%2Fcompletions",
    "/%76%31/chat/completions": "/%76%31/chat/completions",
    "/v1/%63hat/completions": "/v1/%63hat/completions",
    "/v1/../metrics": "/v1/../metrics",
    "/v1/%2e%2e/metrics": "/v1/%2e%2e/metrics",
    "/healthz%2F..%2Fmetrics": "/healthz%2F..%2Fmetrics",
}


@pytest.mark.parametrize("raw", MEANT)
def test_a_path_means_one_endpoint(raw: str) -> None:
    assert read_path(raw).path == MEANT[raw]
    assert read_path(raw).model is None


@pytest.mark.parametrize(
    ("raw", "path", "model"),
    [
        ("/openai/deployments/my-gpt/chat/completions", CHAT, "my-gpt"),
        ("/openai/deployments/my-gpt/completions/", "/v1/completions", "my-gpt"),
        ("/openai/deployments/my-gpt/embeddings", "/v1/embeddings", "my-gpt"),
        ("/openai/deployments/my-gpt/responses", "/v1/responses", "my-gpt"),
        ("/openai/deployments/auto%2Fcheap/chat/completions", CHAT, "auto/cheap"),
        ("/v1/openai/deployments/my-gpt/chat/completions", CHAT, "my-gpt"),
        ("/openai/deployments/my-gpt/v1/chat/completions", CHAT, "my-gpt"),
        ("/openai/deployments/my-gpt/chat/completions/chat/completions", CHAT, "my-gpt"),
        ("/v1/engines/my-gpt/completions", "/v1/completions", "my-gpt"),
        ("//openai//deployments/my-gpt//audio/transcriptions", "/v1/audio/transcriptions", "my-gpt"),
    ],
)
def test_an_azure_deployment_is_the_model(raw: str, path: str, model: str) -> None:
    found = read_path(raw)
    assert (found.path, found.model) == (path, model)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/llm/v1/chat/completions", CHAT),
        ("/llm/chat/completions", "/chat/completions"),
        ("/v1/chat/completions", CHAT),
        ("/llm/healthz", "/healthz"),
        ("/llm", "/"),
        ("/llm/", "/"),
        ("//llm//v1/chat/completions", CHAT),
        # A path for operators has one spelling.
        ("//llm/metrics", "//llm/metrics"),
        ("/llm//metrics", "//metrics"),
        ("/llmx/v1/chat/completions", "/llmx/v1/chat/completions"),
    ],
)
def test_the_base_path_may_be_there_or_not(raw: str, path: str) -> None:
    assert read_path(raw, "/llm").path == path


SEGMENTS = st.sampled_from(
    [
        "v1",
        "",
        "chat",
        "completions",
        "messages",
        "responses",
        "models",
        "openai",
        "api",
        "deployments",
        "x",
        "..",
        "%2F",
    ]
)


@given(st.lists(SEGMENTS, max_size=8))
def test_a_path_never_means_an_endpoint_that_it_does_not_spell(segments: list[str]) -> None:
    found = read_path("/" + "/".join(segments))
    named = {"models", "responses", "deployments"} & set(segments)
    assert named or set(found.path.split("/")) <= {*segments, "v1", ""}


def ask(url: str, path: str, headers: dict[str, str] | None = None) -> int:
    """The status of a chat request to exactly this path, without the rewriting that HTTP libraries do."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    body = json.dumps({"model": "dear", "messages": [{"role": "user", "content": "hi"}]})
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"content-type": "application/json", **(headers or {})})
        return connection.getresponse().status


SPELLINGS = [raw for raw, path in MEANT.items() if path in (CHAT, "/chat/completions")]
SPELLINGS.append("/openai/deployments/dear/chat/completions?api-version=2024-10-21")


@pytest.mark.parametrize("raw", SPELLINGS)
def test_every_spelling_is_answered(gateway: httpx.Client, raw: str) -> None:
    assert ask(str(gateway.base_url), raw) == 200


@pytest.mark.parametrize("prefix", ["/openai", "/v1/openai", "/api/v1", "/v1", "/ollama", "/v1/models"])
def test_a_path_of_thousands_of_prefixes_does_not_exist(gateway: httpx.Client, prefix: str) -> None:
    raw = prefix * 2000 + "/chat/completions"
    assert gateway.post(raw, json={"model": "ok", "messages": []}).status_code in (404, 405)


@pytest.mark.parametrize("raw", ["/v1/%63hat/completions", "/v1/x/../chat/completions"])
def test_an_escaped_path_does_not_exist(gateway: httpx.Client, raw: str) -> None:
    assert ask(str(gateway.base_url), raw) == 404


def test_a_path_whose_slashes_are_escaped_is_refused(gateway: httpx.Client) -> None:
    assert ask(str(gateway.base_url), "/v1%2Fchat%2Fcompletions") == 400


def test_no_spelling_avoids_authentication(upstream: Upstream) -> None:
    keys = Keys([Key(id="ci", hash=hash_of(KEY))])
    gateway = make_gateway(make_router(make_card("dear", upstream.url)), keys=keys)
    paths = [*MEANT, *SPELLINGS, *(path for endpoint in ENDPOINTS.values() for path in endpoint.paths)]
    with served(make_app(gateway)) as url:
        for path in paths:
            assert ask(url, path.replace("{model}", "dear")) in (400, 401, 404, 405), path
            assert ask(url, f"{path.partition('?')[0]}?key={KEY}&api-key={KEY}") in (400, 401, 404, 405), path
        for name, value in (("authorization", f"Bearer {KEY}"), ("x-api-key", KEY), ("api-key", KEY)):
            assert ask(url, "/openai/deployments/dear/chat/completions", {name: value}) == 200
    assert upstream.models == ["ok"] * 3


def test_a_deployments_name_takes_precedence_over_the_model_in_the_body(
    gateway: httpx.Client, upstream: Upstream
) -> None:
    body = {"model": "cheap", "messages": [{"role": "user", "content": "hi"}]}
    response = gateway.post("/openai/deployments/dear/chat/completions", json=body, params={"api-version": "1"})
    assert response.headers["x-route-card"] == "dear"


def test_the_model_list_and_the_root_are_found_by_every_spelling(gateway: httpx.Client) -> None:
    for path in ("/v1/models/", "//v1/models", "/v1/v1/models", "/openai/v1/models", "/v1/chat/completions/models"):
        assert gateway.get(path).json()["object"] == "list", path
    assert gateway.get("/v1").json()["name"] == "pulvinar"
