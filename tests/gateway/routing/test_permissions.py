"""Tenants: what a key may ask for, and whose ids it may use. Two keys, one account at the upstream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from router.formats.quantities import Dollars
from router.gateway.app import make_app
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from router.gateway.config.reload import ActiveConfig
from router.gateway.http.surfaces import CHAT
from router.gateway.routing.permissions import permitted
from router.gateway.routing.selection import GatewayRequest
from router.store.records.snapshots import catalogue_snapshot
from tests.gateway.servers import COMPLETION, make_card, make_gateway, make_router, served

USAGE = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}


class Account:
    """An upstream that serves every id to everyone."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.listed_files = 2

    async def responses(self, request: Request) -> Response:
        body = await request.json()
        self.seen.append((dict(request.headers), body))
        number = len(self.seen)
        item = {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": []}
        made = {"id": f"resp_{number}", "object": "response", "status": "completed", "output": [item], "usage": USAGE}
        echoed = {
            "metadata": body.get("metadata"),
            "tools": body.get("tools"),
            "instructions": body.get("instructions"),
        }
        return JSONResponse({**made, **echoed, "conversation": {"id": f"conv_{number}"}})

    async def chat(self, request: Request) -> Response:
        self.seen.append((dict(request.headers), await request.json()))
        return JSONResponse(COMPLETION)

    async def files(self, request: Request) -> Response:
        if request.method == "GET":
            listed = [{"id": f"file-{number + 1}"} for number in range(self.listed_files)]
            return JSONResponse({"object": "list", "data": listed, "first_id": "file-1"})
        self.seen.append(({}, {}))
        return JSONResponse({"id": f"file-{len(self.seen)}", "object": "file"})

    async def file(self, request: Request) -> Response:
        return JSONResponse({"id": request.path_params["id"]})


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def client(account: Account) -> Iterator[httpx.Client]:
    routes = [
        Route("/v1/responses", account.responses, methods=["POST"]),
        Route("/v1/chat/completions", account.chat, methods=["POST"]),
        Route("/v1/files", account.files, methods=["GET", "POST"]),
        Route("/v1/files/{id}", account.file),
    ]
    limited = {"budget_usd_per_day": Dollars(5.0)}
    entries: dict[str, dict[str, Any]] = {
        "ann": {},
        "bob": {},
        "limited": limited,
        "searching": {**limited, "allow": ("web_search",)},
        "by-policy": {"policies": ("default",)},
        "cheap-only": {"cards": ("cheap",)},
        "trusted": {"allow": ("all", "provider_ids")},
    }
    with served(Starlette(routes=routes)) as url:
        cards = [
            make_card("cheap", url, "ok", price=1.0, apis=("chat", "responses")),
            make_card("dear", url, "ok", price=500.0, apis=("chat", "responses"), family="secret"),
        ]
        keys = Keys([Key(id=name, hash=hash_of(name), **fields) for name, fields in entries.items()], ["cheap", "dear"])
        config = GatewayConfig(aliases={"vendor-dear": "dear", "vendor-auto": "auto"})
        with (
            served(make_app(make_gateway(make_router(*cards), config, keys))) as gateway,
            httpx.Client(base_url=gateway, trust_env=False) as http,
        ):
            yield http


def post(client: httpx.Client, key: str, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    return client.post(path, json=body, headers={"authorization": f"Bearer {key}", **headers})


def respond(client: httpx.Client, key: str, **fields: Any) -> httpx.Response:
    return post(client, key, "/v1/responses", {"model": "cheap", "input": "hi", **fields})


def chat(client: httpx.Client, key: str, model: str = "auto", **fields: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
    return post(client, key, "/v1/chat/completions", body)


USES: dict[str, dict[str, Any]] = {
    "response": {"previous_response_id": "resp_1"},
    "conversation": {"conversation": "conv_1"},
    "conversation object": {"conversation": {"id": "conv_1"}},
    "item": {"input": [{"type": "item_reference", "id": "msg_1"}]},
    "item without a type": {"input": [{"id": "msg_1"}]},
}


@pytest.mark.parametrize("fields", USES.values(), ids=USES)
def test_an_id_belongs_to_the_key_that_made_it(client: httpx.Client, account: Account, fields: dict[str, Any]) -> None:
    assert respond(client, "ann").status_code == 200
    assert respond(client, "ann", **fields).status_code == 200
    stolen = respond(client, "bob", **fields)
    unknown = respond(client, "bob", **json.loads(json.dumps(fields).replace("_1", "_99")))
    assert (stolen.status_code, stolen.json()) == (404, unknown.json())
    assert respond(client, "trusted", **fields).status_code == 200
    assert len(account.seen) == 3


def test_an_id_that_the_answer_only_repeats_is_not_made_by_the_key(client: httpx.Client) -> None:
    assert respond(client, "ann").status_code == 200
    named = {"id": "resp_1", "file_id": "file-1", "response": {"id": "resp_1"}}
    tool = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": named}}
    for fields in ({"metadata": named}, {"tools": [tool]}, {"instructions": json.dumps(named)}):
        assert respond(client, "bob", **fields).status_code == 200
    assert respond(client, "bob", previous_response_id="resp_1").status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
        {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]},
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-9"]}}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-9"}]}]},
        {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]},
    ],
)
def test_ids_that_nobody_made_are_unknown(client: httpx.Client, account: Account, fields: dict[str, Any]) -> None:
    assert respond(client, "bob", **fields).status_code == 404
    assert account.seen == []


def test_files_belong_to_the_key_that_uploaded_them(client: httpx.Client) -> None:
    def files(key: str, method: str, path: str = "") -> httpx.Response:
        headers = {"authorization": f"Bearer {key}", "x-route-card": "cheap"}
        return client.request(method, f"/v1/files{path}", headers=headers)

    assert files("ann", "POST").json()["id"] == "file-1"
    assert files("bob", "POST").json()["id"] == "file-2"
    assert (files("ann", "GET", "/file-1").status_code, files("bob", "GET", "/file-1").status_code) == (200, 404)
    assert [entry["id"] for entry in files("bob", "GET").json()["data"]] == ["file-2"]
    assert "file-1" not in files("bob", "GET").text


def test_a_list_of_files_that_is_too_large_is_an_error_of_the_upstream(client: httpx.Client, account: Account) -> None:
    account.listed_files = 250_000
    refused = client.get("/v1/files", headers={"authorization": "Bearer bob", "x-route-card": "cheap"})
    assert refused.status_code == 502
    assert "too large" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("extra", "fields"),
    [
        ("background", {"background": True}),
        ("upstream_routing", {"models": ["other/dear"]}),
        ("upstream_routing", {"provider": {"order": ["x"]}}),
        ("upstream_routing", {"prompt": {"id": "pmpt_1"}}),
        ("web_search", {"tools": [{"type": "web_search"}]}),
        ("upstream_routing", {"fallbacks": [{"model": "dear"}]}),
        ("inference_geo", {"inference_geo": "us"}),
        ("other_tools", {"data_sources": [{"type": "azure_search"}]}),
        ("other_tools", {"tools": [{"type": "advisor_20260301", "model": "dear"}]}),
        ("code_interpreter", {"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}),
        ("mcp", {"tools": [{"type": "mcp", "server_url": "http://127.0.0.1"}]}),
        ("code_interpreter", {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}),
    ],
)
def test_extras_of_a_limited_key_are_refused_by_their_setting(
    client: httpx.Client, account: Account, extra: str, fields: dict[str, Any]
) -> None:
    refused = respond(client, "limited", **fields)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    assert f"add {extra} to `allow`" in refused.json()["error"]["message"]
    assert respond(client, "ann", **fields).status_code == 200
    assert len(account.seen) == 1


@pytest.mark.parametrize(
    "fields",
    [{"inference_geo": "global"}, {"tools": [{"type": "shell", "environment": {"type": "local"}}]}],
    ids=["the usual region", "a shell of the client's"],
)
def test_what_costs_nothing_more_is_no_extra(client: httpx.Client, fields: dict[str, Any]) -> None:
    assert respond(client, "limited", **fields).status_code == 200


def test_an_extra_that_the_key_allows_is_passed_on(client: httpx.Client, account: Account) -> None:
    assert respond(client, "searching", tools=[{"type": "web_search"}]).status_code == 200
    assert account.seen[0][1]["tools"] == [{"type": "web_search"}]


def test_a_dearer_tier_and_one_tool_of_many_are_left_out(client: httpx.Client, account: Account) -> None:
    function = {"type": "function", "name": "f", "parameters": {}}
    answer = respond(client, "limited", service_tier="priority", tools=[function, {"type": "web_search"}])
    assert answer.status_code == 200
    assert answer.headers["x-route-dropped"] == "service_tier, tools"
    assert "service_tier" not in account.seen[0][1]
    assert account.seen[0][1]["tools"] == [function]
    respond(client, "limited", service_tier="flex")
    assert account.seen[1][1]["service_tier"] == "flex"


def test_the_idempotency_keys_of_two_clients_never_meet(client: httpx.Client, account: Account) -> None:
    for key in ("ann", "ann", "bob"):
        body = {"model": "cheap", "input": "hi"}
        post(client, key, "/v1/responses", body, **{"idempotency-key": "same", "openai-beta": "x=1"})
    first, second, other = (headers["idempotency-key"] for headers, _ in account.seen)
    assert first == second
    assert other not in (first, "same")


def test_a_key_with_policies_only_reaches_no_card_by_name_and_no_dearer_one_by_flags(client: httpx.Client) -> None:
    assert chat(client, "by-policy").headers["x-route-card"] == "cheap"
    assert chat(client, "by-policy", "dear").status_code == 404
    assert chat(client, "by-policy", "auto[price>50$]").status_code == 400
    assert chat(client, "by-policy", "auto[best]").headers["x-route-card"] == "cheap"
    listed = client.get("/v1/models", headers={"authorization": "Bearer by-policy"}).text
    assert "dear" not in listed
    assert "auto/default" in listed
    assert "vendor-auto" in listed
    assert chat(client, "by-policy", "vendor-dear").status_code == 404


def test_flags_that_the_key_forbids_are_refused_as_such(client: httpx.Client) -> None:
    refused = chat(client, "cheap-only", "auto[price>50$]")
    assert refused.status_code == 403
    assert 'the key "cheap-only" allows no card' in refused.json()["error"]["message"]
    assert "dear" not in refused.text
    assert "route doctor" not in refused.text


def test_a_dry_run_shows_only_the_cards_of_the_key(client: httpx.Client) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    assert "dear" not in post(client, "cheap-only", "/route", body).text
    assert "dear" in post(client, "ann", "/route", body).text
    hidden = post(client, "cheap-only", "/route", {**body, "model": "auto[family=secret]"})
    assert (hidden.status_code, "dear" in hidden.text) == (403, False)


@pytest.mark.parametrize("allow", [(), ("service_tier",)], ids=["a key without service_tier", "a key with it"])
def test_a_request_of_which_nothing_is_left_out_is_not_copied(allow: tuple[Any, ...]) -> None:
    router = make_router(make_card("a", "http://127.0.0.1:1"))
    active = ActiveConfig(router, catalogue_snapshot(router.catalog, {}), GatewayConfig(), Keys(), 1, "fixed", 0.0)
    body = {"model": "auto", "service_tier": "auto", "messages": [{"role": "user", "content": "hi"}]}
    request = GatewayRequest(CHAT, active, Key(id="ann", hash="a", allow=allow), {}, body)
    passed, left_out = permitted(request)
    assert passed is request
    assert left_out == ()
