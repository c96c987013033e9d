from __future__ import annotations

import json
import threading
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from router.gateway.app import make_app
from router.pipeline import Routed
from tests.gateway.servers import COMPLETION, Upstream, gateway_server, make_card, make_gateway, make_router, served

MESSAGES = [{"role": "user", "content": "hi"}]


def chat(gateway: httpx.Client, model: object = "auto", headers: dict[str, str] | None = None, **fields: object):
    body = {"model": model, "messages": MESSAGES, **fields}
    return gateway.post("/v1/chat/completions", json=body, headers=headers)


def error(answer: httpx.Response) -> dict[str, str | None]:
    shape = answer.json()["error"]
    assert set(shape) == {"message", "type", "param", "code"}
    return shape


def test_auto_chooses_and_passes_over_the_card_that_fails(gateway: httpx.Client, upstream: Upstream) -> None:
    answer = chat(gateway)
    assert answer.json() == COMPLETION
    assert (answer.headers["x-route-card"], answer.headers["x-route-policy"]) == ("dear", "default")
    assert upstream.models == ["status-503", "ok"]


def test_a_policy_is_named_after_a_slash(gateway: httpx.Client) -> None:
    answer = chat(gateway, "auto/alone")
    assert (answer.status_code, answer.headers["x-route-policy"]) == (503, "alone")


@pytest.mark.parametrize("model", ["auto[tag=beta]", "auto/alone[tag=beta]", "auto/alone[ tag=beta ]"])
def test_flags_stand_in_brackets_after_the_model(gateway: httpx.Client, upstream: Upstream, model: str) -> None:
    assert chat(gateway, model).headers["x-route-card"] == "dear"
    assert upstream.models == ["ok"]


@pytest.mark.parametrize(
    "fields", [{"route": {"flags": "tag=beta"}}, {"metadata": {"route_flags": "tag=beta", "team": "x"}}]
)
def test_flags_may_stand_in_the_body(gateway: httpx.Client, upstream: Upstream, fields: dict[str, object]) -> None:
    chat(gateway, "auto/alone", **fields)
    assert upstream.models == ["ok"]
    assert "route" not in upstream.seen[0].body
    assert upstream.seen[0].body.get("metadata", {"team": "x"}) == {"team": "x"}


def test_flags_in_the_header_join_those_of_the_model(gateway: httpx.Client) -> None:
    answer = chat(gateway, "auto[tag=beta]", {"x-route-flags": "tag!=beta"})
    assert (answer.status_code, error(answer)["code"]) == (400, "invalid_flag")


def test_a_card_is_served_as_asked(gateway: httpx.Client, upstream: Upstream) -> None:
    answer = chat(gateway, "vendor/dear")
    assert answer.headers["x-route-card"] == "dear"
    assert "x-route-policy" not in answer.headers
    assert upstream.models == ["ok"]


def test_a_card_that_fails_is_not_replaced_when_it_was_asked_for(gateway: httpx.Client, upstream: Upstream) -> None:
    assert chat(gateway, "cheap").status_code == 503
    assert upstream.models == ["status-503"]


def test_the_model_in_the_answer_is_what_the_upstream_said(gateway: httpx.Client) -> None:
    assert chat(gateway, "dear").json()["model"] == "served"


def test_the_base_url_works_without_v1(gateway: httpx.Client) -> None:
    assert gateway.post("/chat/completions?beta=true", json={"model": "dear", "messages": MESSAGES}).is_success


def test_an_unknown_model_is_a_404_with_the_nearest_name(gateway: httpx.Client) -> None:
    answer = chat(gateway, "deer")
    assert answer.status_code == 404
    assert (error(answer)["code"], error(answer)["param"]) == ("model_not_found", "model")
    assert 'did you mean "dear"?' in str(error(answer)["message"])


def test_an_unknown_policy_is_a_404(gateway: httpx.Client) -> None:
    answer = chat(gateway, "auto/aloen")
    assert (answer.status_code, error(answer)["code"]) == (404, "model_not_found")
    assert 'did you mean "alone"?' in str(error(answer)["message"])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b'{"model": NaN}', None),
        (b'{"model": "auto", "messages": [{"role": "user", "content": "\\ud83d", "x": NaN}]}', None),
        (b'{"model": "\xff"}', None),
        (b"[" * 100_000, None),
        (b'{"x\\ud800":' * 100_000, None),
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
def test_a_body_that_is_wrong_is_a_400(gateway: httpx.Client, body: bytes, param: str | None) -> None:
    answer = gateway.post("/v1/chat/completions", content=body)
    assert (answer.status_code, error(answer)["code"], error(answer)["param"]) == (
        400,
        "invalid_request",
        param,
    )


@pytest.mark.parametrize("text", [b"hi", b"cut \\ud800"])
def test_a_number_out_of_range_is_a_400_and_not_forwarded(
    gateway: httpx.Client, upstream: Upstream, text: bytes
) -> None:
    body = b'{"model": "dear", "temperature": 1e400, "messages": [{"role": "user", "content": "%s"}]}' % text
    answer = gateway.post("/v1/chat/completions", content=body)
    assert (answer.status_code, error(answer)["code"], upstream.seen) == (400, "invalid_request", [])


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_no_client_can_read_is_a_502(upstream: Upstream, stream: bool) -> None:
    upstream.error = b"<html>Welcome</html>"
    body = {"model": "page", "stream": stream, "messages": MESSAGES}
    with gateway_server(make_card("page", upstream.url, "status-200")) as url:
        answer = httpx.post(f"{url}/v1/chat/completions", json=body)
    assert (answer.status_code, set(error(answer))) == (502, {"message", "type", "param", "code"})


def test_half_a_surrogate_pair_passes_through(gateway: httpx.Client, upstream: Upstream) -> None:
    content = b'{"model": "dear", "messages": [{"role": "user", "content": "cut \\ud83d"}]}'
    assert gateway.post("/v1/chat/completions", content=content).is_success
    assert upstream.seen[0].body["messages"][0]["content"] == "cut \ud83d"


def test_half_a_surrogate_pair_in_a_name_is_told_as_a_question_mark(gateway: httpx.Client) -> None:
    content = b'{"model": "auto/\\ud800", "messages": [{"role": "user", "content": "hi"}]}'
    answer = gateway.post("/v1/chat/completions", content=content)
    assert answer.status_code == 404
    assert '"?"' in str(error(answer)["message"])


@pytest.mark.parametrize(
    ("headers", "fields", "param"),
    [
        ({"x-route-flags": "cheapest"}, {}, "x-route-flags"),
        ({}, {"route": {"flags": "cheapest"}}, "route.flags"),
        ({}, {"metadata": {"route_flags": "cheapest"}}, "metadata.route_flags"),
    ],
)
def test_flags_beside_the_name_of_a_card_are_a_400(
    gateway: httpx.Client, upstream: Upstream, headers: dict[str, str], fields: dict[str, object], param: str
) -> None:
    answer = chat(gateway, "dear", headers, **fields)
    assert (answer.status_code, error(answer)["param"]) == (400, param)
    assert "model name auto" in str(error(answer)["message"])
    assert upstream.seen == []


def test_blank_flags_beside_the_name_of_a_card_are_none(gateway: httpx.Client) -> None:
    fields: dict[str, object] = {"route": {"flags": " "}, "metadata": {"route_flags": "", "team": "x"}}
    assert chat(gateway, "dear", {"x-route-flags": ""}, **fields).is_success


def test_a_flag_that_cannot_be_read_is_a_400_that_points_at_it(gateway: httpx.Client) -> None:
    answer = chat(gateway, "auto[sise<7B]")
    assert (answer.status_code, error(answer)["code"]) == (400, "invalid_flag")
    assert 'did you mean "size"?' in str(error(answer)["message"])


def test_limits_that_no_card_meets_are_a_400(gateway: httpx.Client) -> None:
    answer = chat(gateway, "auto[tag=nowhere]")
    assert (answer.status_code, error(answer)["code"]) == (400, "no_candidate")


def test_a_body_over_16_mib_is_a_413(gateway: httpx.Client) -> None:
    answer = gateway.post("/v1/chat/completions", content=b" " * (16 * 2**20 + 1))
    assert (answer.status_code, error(answer)["code"]) == (413, "request_too_large")


def test_a_wrong_method_is_a_405_and_an_unknown_path_a_404(gateway: httpx.Client) -> None:
    wrong, unknown = gateway.get("/v1/chat/completions"), gateway.get("/v1/nothing")
    assert (wrong.status_code, error(wrong)["code"], wrong.headers["allow"]) == (
        405,
        "method_not_allowed",
        "POST",
    )
    assert (unknown.status_code, error(unknown)["code"]) == (404, "not_found")


@pytest.mark.parametrize("status", [400, 404, 429])
def test_an_upstreams_error_keeps_its_status_and_its_words(
    gateway: httpx.Client, upstream: Upstream, status: int
) -> None:
    upstream.error = {"error": {"message": "no", "type": "t", "param": "p", "code": "c"}}
    upstream.error_headers = {"retry-after": "3", "x-should-retry": "false"}
    answer = chat(gateway, f"status-{status}")
    assert (answer.status_code, answer.json()) == (status, upstream.error)
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("3", "false")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"object": "error", "message": "too long", "code": 400}, "too long"),
        ({"error": "model not loaded"}, "model not loaded"),
        ({"detail": "nope"}, "nope"),
        (b"<html>Bad Request</html>", 'the upstream of the card "status-400" answered HTTP 400'),
        (b"", 'the upstream of the card "status-400" answered HTTP 400'),
    ],
)
def test_an_upstreams_error_of_another_shape_is_put_into_openais(
    gateway: httpx.Client, upstream: Upstream, said: object, message: str
) -> None:
    upstream.error = said
    answer = chat(gateway, "status-400")
    assert answer.headers["content-type"] == "application/json"
    assert error(answer)["message"] == message


def test_refused_credentials_are_told_without_the_upstreams_words(gateway: httpx.Client, upstream: Upstream) -> None:
    upstream.error = {"error": {"message": "Incorrect API key provided: sk-ga***cret"}}
    answer = chat(gateway, "status-401")
    assert answer.status_code == 401
    assert "refused the gateway's credentials" in str(error(answer)["message"])


def test_no_upstream_header_reaches_the_client_by_accident(gateway: httpx.Client) -> None:
    answer = chat(gateway, "dear")
    shown = {name for name in answer.headers if not name.startswith("x-route-")}
    assert shown == {"date", "content-type", "content-length", "x-request-id", "request-id"}


def test_every_answer_has_a_request_id_and_keeps_a_sane_one(gateway: httpx.Client) -> None:
    assert gateway.get("/nothing").headers["x-request-id"].startswith("req_")
    assert gateway.get("/", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert gateway.get("/", headers={"x-request-id": "<script>"}).headers["x-request-id"].startswith("req_")


def test_missing_credentials_are_a_503_that_names_them_and_asks_for_no_retry(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    cards = (
        make_card("a", "", provider="groq", base_url=None),
        make_card("b", "", provider="groq", base_url=None),
    )
    with gateway_server(*cards) as url, httpx.Client(base_url=url, trust_env=False) as client:
        for model in ("auto", "a"):
            answer = chat(client, model)
            assert (answer.status_code, error(answer)["code"]) == (503, "not_configured")
            assert "GROQ_API_KEY is not set" in str(error(answer)["message"])
            assert answer.headers["x-should-retry"] == "false"


def test_a_card_without_credentials_is_left_out_of_the_choice(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    cards = (
        make_card("a", "", provider="groq", base_url=None, price=0.1),
        make_card("b", upstream.url, tags=("x",)),
    )
    with gateway_server(*cards) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert chat(client).headers["x-route-card"] == "b"
        assert chat(client, "auto[provider=groq]").status_code == 503
        assert chat(client, "auto[provider=nobody]").status_code == 400


def test_a_card_that_is_down_is_not_chosen_but_may_be_named(upstream: Upstream) -> None:
    cards = make_card("a", upstream.url, price=0.1), make_card("b", upstream.url)
    router = make_router(*cards)
    app = make_app(make_gateway(router, probe=lambda _: {"a": "no server answers"}))
    with served(app) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert chat(client).headers["x-route-card"] == "b"
        assert chat(client, "a").headers["x-route-card"] == "a"


def test_a_card_of_an_unknown_provider_is_a_503(upstream: Upstream) -> None:
    with (
        gateway_server(make_card("a", upstream.url, provider="hosted_vlm")) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        answer = chat(client, "a")
    assert (answer.status_code, error(answer)["code"]) == (503, "not_configured")
    assert 'did you mean "hosted_vllm"?' in str(error(answer)["message"])


def test_a_client_that_leaves_ends_the_upstream_call(gateway: httpx.Client, upstream: Upstream) -> None:
    with pytest.raises(httpx.ReadTimeout):
        gateway.post(
            "/v1/chat/completions",
            json={"model": "hang", "messages": MESSAGES},
            timeout=httpx.Timeout(5, read=0.3),
        )
    assert upstream.left.wait(1)


def test_a_stray_exception_is_a_500_that_tells_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = make_router(make_card("a", "http://127.0.0.1:1"))
    monkeypatch.setattr(router, "route", lambda *_, **__: {}["secret"])
    answer = in_process(make_app(make_gateway(router)), {"model": "auto", "messages": MESSAGES})
    assert (answer.status_code, error(answer)["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert "KeyError: 'secret'" in caplog.text


def in_process(app: Starlette, body: dict[str, object]) -> httpx.Response:
    import asyncio

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        async with app.router.lifespan_context(app), client:
            return await client.post("/v1/chat/completions", content=json.dumps(body))

    return asyncio.run(main())


def test_many_requests_at_once_are_all_answered(gateway: httpx.Client) -> None:
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(chat(gateway).status_code)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 20


@pytest.mark.parametrize(("size", "on_the_loop"), [(1_000, True), (300_000, False)])
def test_only_a_large_body_is_decided_upon_off_the_event_loop(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, size: int, on_the_loop: bool
) -> None:
    router = make_router(make_card("a", upstream.url))
    deciding: list[bool] = []
    route = router.route

    def watched(*arguments: Any, **options: Any) -> Routed:
        deciding.append(threading.current_thread().name.startswith("asyncio_"))
        return route(*arguments, **options)

    monkeypatch.setattr(router, "route", watched)
    app = make_app(make_gateway(router))
    answer = in_process(app, {"model": "auto", "messages": MESSAGES, "metadata": {"note": "a" * size}})
    assert answer.is_success
    assert deciding == [not on_the_loop]
