from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest

from router.cards import Catalog
from router.dispatch.availability import ListingProblem, ModelServer, ServerInventory
from router.gateway.app import make_app
from router.pipeline import Routed
from tests.gateway.servers import COMPLETION, Upstream, gateway_server, make_card, make_gateway, make_router, served

MESSAGES = [{"role": "user", "content": "hi"}]


def chat(gateway: httpx.Client, model: object = "auto", headers: dict[str, str] | None = None, **fields: object):
    body = {"model": model, "messages": MESSAGES, **fields}
    return gateway.post("/v1/chat/completions", json=body, headers=headers)


def error(response: httpx.Response) -> dict[str, str | None]:
    fields = response.json()["error"]
    assert set(fields) == {"message", "type", "param", "code"}
    return fields


def test_auto_falls_back_when_the_first_card_fails(gateway: httpx.Client, upstream: Upstream) -> None:
    response = chat(gateway)
    assert response.json() == COMPLETION
    assert (response.headers["x-route-card"], response.headers["x-route-policy"]) == ("dear", "default")
    assert upstream.models == ["status-503", "ok"]


def test_the_model_name_may_select_a_policy_after_a_slash(gateway: httpx.Client) -> None:
    response = chat(gateway, "auto/alone")
    assert (response.status_code, response.headers["x-route-policy"]) == (503, "alone")


@pytest.mark.parametrize("model", ["auto[tag=beta]", "auto/alone[tag=beta]", "auto/alone[ tag=beta ]"])
def test_the_model_name_may_have_flags_in_brackets(gateway: httpx.Client, upstream: Upstream, model: str) -> None:
    assert chat(gateway, model).headers["x-route-card"] == "dear"
    assert upstream.models == ["ok"]


@pytest.mark.parametrize(
    "fields", [{"route": {"flags": "tag=beta"}}, {"metadata": {"route_flags": "tag=beta", "team": "x"}}]
)
def test_flags_may_be_in_the_body(gateway: httpx.Client, upstream: Upstream, fields: dict[str, object]) -> None:
    chat(gateway, "auto/alone", **fields)
    assert upstream.models == ["ok"]
    assert "route" not in upstream.seen[0].body
    assert upstream.seen[0].body.get("metadata", {"team": "x"}) == {"team": "x"}


def test_flags_in_the_header_are_added_to_those_in_the_model_name(gateway: httpx.Client) -> None:
    response = chat(gateway, "auto[tag=beta]", {"x-route-flags": "tag!=beta"})
    assert (response.status_code, error(response)["code"]) == (400, "invalid_flag")


def test_a_named_card_is_called_without_routing(gateway: httpx.Client, upstream: Upstream) -> None:
    response = chat(gateway, "vendor/dear")
    assert response.headers["x-route-card"] == "dear"
    assert "x-route-policy" not in response.headers
    assert upstream.models == ["ok"]


def test_a_named_card_has_no_fallback(gateway: httpx.Client, upstream: Upstream) -> None:
    assert chat(gateway, "cheap").status_code == 503
    assert upstream.models == ["status-503"]


def test_the_response_has_the_upstreams_model_name(gateway: httpx.Client) -> None:
    assert chat(gateway, "dear").json()["model"] == "served"


def test_the_base_url_works_without_v1(gateway: httpx.Client) -> None:
    assert gateway.post("/chat/completions?beta=true", json={"model": "dear", "messages": MESSAGES}).is_success


def test_an_unknown_model_is_a_404_with_the_nearest_name(gateway: httpx.Client) -> None:
    response = chat(gateway, "deer")
    assert response.status_code == 404
    assert (error(response)["code"], error(response)["param"]) == ("model_not_found", "model")
    assert 'did you mean "dear"?' in str(error(response)["message"])


def test_an_unknown_policy_is_a_404(gateway: httpx.Client) -> None:
    response = chat(gateway, "auto/aloen")
    assert (response.status_code, error(response)["code"]) == (404, "model_not_found")
    assert 'did you mean "alone"?' in str(error(response)["message"])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b'{"model": NaN}', None),
        (b'{"model": "auto", "messages": [{"role": "user", "content": "\\ud83d", "x": NaN}]}', None),
        (b'{"model": "\xff"}', None),
        pytest.param(b"[" * 100_000, None, id="arrays"),
        pytest.param(b'{"x\\ud800":' * 100_000, None, id="objects"),
        (b'{"model": "auto"}', "messages"),
        (b'{"model": "auto", "messages": {}}', "messages"),
        (b'{"model": "auto", "messages": []}', "messages"),
        (b'{"model": "auto", "messages": [1]}', "messages[0]"),
        (b'{"model": 7, "messages": [{"role": "user", "content": "hi"}]}', "model"),
        (b'{"model": "auto[cheapest", "messages": [{"role": "user", "content": "hi"}]}', "model"),
        (b'{"model": "auto", "stream": 1, "messages": [{"role": "user", "content": "hi"}]}', "stream"),
        (b'{"model": "auto", "route": 1, "messages": [{"role": "user", "content": "hi"}]}', "route"),
    ],
)
def test_an_invalid_body_is_a_400(gateway: httpx.Client, body: bytes, param: str | None) -> None:
    response = gateway.post("/v1/chat/completions", content=body)
    assert (response.status_code, error(response)["code"], error(response)["param"]) == (
        400,
        "invalid_request",
        param,
    )


@pytest.mark.parametrize(
    ("path", "field"), [("chat/completions", "messages"), ("messages", "messages"), ("responses", "input")]
)
def test_an_unknown_type_of_content_is_a_400_that_names_its_place(
    gateway: httpx.Client, upstream: Upstream, path: str, field: str
) -> None:
    content = [{"type": "text", "text": "What is this?"}, {"type": "point_cloud", "points": []}]
    body = {"model": "auto", "max_tokens": 8, field: [{"role": "user", "content": content}]}
    response = gateway.post(f"/v1/{path}", json=body)
    message = response.json()["error"]["message"]
    assert (response.status_code, upstream.seen) == (400, [])
    assert f'`{field}[0].content[1].type` is "point_cloud"' in message


@pytest.mark.parametrize("text", [b"hi", b"cut \\ud800"])
def test_a_number_out_of_range_is_a_400_and_not_forwarded(
    gateway: httpx.Client, upstream: Upstream, text: bytes
) -> None:
    body = b'{"model": "dear", "temperature": 1e400, "messages": [{"role": "user", "content": "%s"}]}' % text
    response = gateway.post("/v1/chat/completions", content=body)
    assert (response.status_code, error(response)["code"], upstream.seen) == (400, "invalid_request", [])


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_response_that_is_not_json_is_a_502(upstream: Upstream, stream: bool) -> None:
    upstream.error = b"<html>Welcome</html>"
    body = {"model": "page", "stream": stream, "messages": MESSAGES}
    with gateway_server(make_card("page", upstream.url, "status-200")) as url:
        response = httpx.post(f"{url}/v1/chat/completions", json=body)
    assert (response.status_code, set(error(response))) == (502, {"message", "type", "param", "code"})


def test_half_a_surrogate_pair_passes_through(gateway: httpx.Client, upstream: Upstream) -> None:
    content = b'{"model": "dear", "messages": [{"role": "user", "content": "cut \\ud83d"}]}'
    assert gateway.post("/v1/chat/completions", content=content).is_success
    assert upstream.seen[0].body["messages"][0]["content"] == "cut \ud83d"


def test_half_a_surrogate_pair_in_a_model_name_is_shown_as_a_question_mark(gateway: httpx.Client) -> None:
    content = b'{"model": "auto/\\ud800", "messages": [{"role": "user", "content": "hi"}]}'
    response = gateway.post("/v1/chat/completions", content=content)
    assert response.status_code == 404
    assert '"?"' in str(error(response)["message"])


@pytest.mark.parametrize(
    ("headers", "fields", "param"),
    [
        ({"x-route-flags": "cheapest"}, {}, "x-route-flags"),
        ({}, {"route": {"flags": "cheapest"}}, "route.flags"),
        ({}, {"metadata": {"route_flags": "cheapest"}}, "metadata.route_flags"),
    ],
)
def test_flags_with_a_named_card_are_a_400(
    gateway: httpx.Client, upstream: Upstream, headers: dict[str, str], fields: dict[str, object], param: str
) -> None:
    response = chat(gateway, "dear", headers, **fields)
    assert (response.status_code, error(response)["param"]) == (400, param)
    assert "model name auto" in str(error(response)["message"])
    assert upstream.seen == []


def test_blank_flags_with_a_named_card_are_ignored(gateway: httpx.Client) -> None:
    fields: dict[str, object] = {"route": {"flags": " "}, "metadata": {"route_flags": "", "team": "x"}}
    assert chat(gateway, "dear", {"x-route-flags": ""}, **fields).is_success


def test_an_unknown_flag_is_a_400_with_a_suggestion(gateway: httpx.Client) -> None:
    response = chat(gateway, "auto[sise<7B]")
    assert (response.status_code, error(response)["code"]) == (400, "invalid_flag")
    assert 'did you mean "size"?' in str(error(response)["message"])


def test_limits_that_no_card_meets_are_a_400(gateway: httpx.Client) -> None:
    response = chat(gateway, "auto[tag=nowhere]")
    assert (response.status_code, error(response)["code"]) == (400, "no_candidate")


def test_a_body_over_16_mib_is_a_413(gateway: httpx.Client) -> None:
    response = gateway.post("/v1/chat/completions", content=b" " * (16 * 2**20 + 1))
    assert (response.status_code, error(response)["code"]) == (413, "request_too_large")


def test_a_wrong_method_is_a_405_and_an_unknown_path_a_404(gateway: httpx.Client) -> None:
    wrong_method, unknown_path = gateway.get("/v1/chat/completions"), gateway.get("/v1/nothing")
    assert (wrong_method.status_code, error(wrong_method)["code"], wrong_method.headers["allow"]) == (
        405,
        "method_not_allowed",
        "POST",
    )
    assert (unknown_path.status_code, error(unknown_path)["code"]) == (404, "not_found")


@pytest.mark.parametrize("status", [400, 404, 429])
def test_an_upstream_error_keeps_its_status_and_body(gateway: httpx.Client, upstream: Upstream, status: int) -> None:
    upstream.error = {"error": {"message": "no", "type": "t", "param": "p", "code": "c"}}
    upstream.error_headers = {"retry-after": "3", "x-should-retry": "false"}
    response = chat(gateway, f"status-{status}")
    assert (response.status_code, response.json()) == (status, upstream.error)
    assert (response.headers["retry-after"], response.headers["x-should-retry"]) == ("3", "false")


@pytest.mark.parametrize(
    ("error_body", "message"),
    [
        ({"object": "error", "message": "too long", "code": 400}, "too long"),
        ({"error": "model not loaded"}, "model not loaded"),
        ({"detail": "nope"}, "nope"),
        (b"<html>Bad Request</html>", 'the upstream of the card "status-400" answered HTTP 400'),
        (b"", 'the upstream of the card "status-400" answered HTTP 400'),
    ],
)
def test_an_upstream_error_in_another_format_is_converted_to_openais(
    gateway: httpx.Client, upstream: Upstream, error_body: object, message: str
) -> None:
    upstream.error = error_body
    response = chat(gateway, "status-400")
    assert response.headers["content-type"] == "application/json"
    assert error(response)["message"] == message


def test_rejected_upstream_credentials_are_reported_without_the_upstreams_message(
    gateway: httpx.Client, upstream: Upstream
) -> None:
    upstream.error = {"error": {"message": "Incorrect API key provided: sk-ga***cret"}}
    response = chat(gateway, "status-401")
    assert (response.status_code, error(response)["code"]) == (502, "upstream_key")
    assert "rejects the gateway's API key (HTTP 401)" in str(error(response)["message"])
    assert response.headers["x-should-retry"] == "false"


def test_unlisted_upstream_headers_are_not_forwarded(gateway: httpx.Client) -> None:
    response = chat(gateway, "dear")
    header_names = {name for name in response.headers if not name.startswith("x-route-")}
    assert header_names == {"date", "content-type", "content-length", "x-request-id", "request-id"}


def test_every_response_has_a_request_id_and_a_valid_one_from_the_client_is_kept(gateway: httpx.Client) -> None:
    assert gateway.get("/nothing").headers["x-request-id"].startswith("req_")
    assert gateway.get("/", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert gateway.get("/", headers={"x-request-id": "<script>"}).headers["x-request-id"].startswith("req_")


def test_missing_credentials_are_a_503_that_names_the_variable_and_forbids_a_retry(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    cards = (
        make_card("a", "", provider="groq", base_url=None),
        make_card("b", "", provider="groq", base_url=None),
    )
    with gateway_server(*cards) as url, httpx.Client(base_url=url, trust_env=False) as client:
        for model in ("auto", "a"):
            response = chat(client, model)
            assert (response.status_code, error(response)["code"]) == (503, "not_configured")
            assert "GROQ_API_KEY is not set" in str(error(response)["message"])
            assert response.headers["x-should-retry"] == "false"


def test_auto_excludes_a_card_without_credentials(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    cards = (
        make_card("a", "", provider="groq", base_url=None, price=0.1),
        make_card("b", upstream.url, tags=("x",)),
    )
    with gateway_server(*cards) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert chat(client).headers["x-route-card"] == "b"
        assert chat(client, "auto[provider=groq]").status_code == 503
        assert chat(client, "auto[provider=unknown]").status_code == 400


def test_auto_excludes_an_unavailable_card_which_may_still_be_named(upstream: Upstream) -> None:
    cards = make_card("a", upstream.url, price=0.1), make_card("b", upstream.url)
    router = make_router(*cards)

    async def probe(_: Catalog) -> ServerInventory:
        server = ModelServer(f"{upstream.url}/models", "a server", (), ListingProblem.NO_RESPONSE)
        return ServerInventory({"a": server})

    app = make_app(make_gateway(router, probe=probe))
    with served(app) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert chat(client).headers["x-route-card"] == "b"
        assert chat(client, "a").headers["x-route-card"] == "a"


def test_a_card_of_an_unknown_provider_is_a_503(upstream: Upstream) -> None:
    with (
        gateway_server(make_card("a", upstream.url, provider="hosted_vlm")) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        response = chat(client, "a")
    assert (response.status_code, error(response)["code"]) == (503, "not_configured")
    assert 'did you mean "hosted_vllm"?' in str(error(response)["message"])


def test_a_client_disconnect_cancels_the_upstream_call(gateway: httpx.Client, upstream: Upstream) -> None:
    with pytest.raises(httpx.ReadTimeout):
        gateway.post(
            "/v1/chat/completions",
            json={"model": "hang", "messages": MESSAGES},
            timeout=httpx.Timeout(5, read=0.3),
        )
    assert upstream.left.wait(1)


def test_an_unexpected_exception_is_a_500_without_details(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = make_router(make_card("a", "http://127.0.0.1:1"))
    monkeypatch.setattr(router, "route", lambda *_, **__: {}["secret"])
    with served(make_app(make_gateway(router))) as url, httpx.Client(base_url=url, trust_env=False) as client:
        response = chat(client, model="auto")
    assert (response.status_code, error(response)["code"]) == (500, "internal_error")
    assert "secret" not in response.text
    assert "KeyError: 'secret'" in caplog.text


def test_concurrent_requests_are_all_answered(gateway: httpx.Client) -> None:
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(chat(gateway).status_code)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 20


@pytest.mark.parametrize(("size", "on_the_loop"), [(1_000, True), (300_000, False)])
def test_only_a_large_body_is_routed_in_a_thread(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, size: int, on_the_loop: bool
) -> None:
    router = make_router(make_card("a", upstream.url))
    on_a_loop: list[bool] = []
    route = router.route

    def recording_route(*arguments: Any, **options: Any) -> Routed:
        on_a_loop.append(is_on_a_loop())
        return route(*arguments, **options)

    monkeypatch.setattr(router, "route", recording_route)
    app = make_app(make_gateway(router))
    with served(app) as url, httpx.Client(base_url=url, trust_env=False) as client:
        response = chat(client, metadata={"note": "a" * size})
    assert response.is_success
    assert on_a_loop == [on_the_loop]


def is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
