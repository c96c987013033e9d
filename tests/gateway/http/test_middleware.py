from __future__ import annotations

import httpx
import pytest

from tests.gateway.servers import Upstream

BODY = '{"model": "dear", "messages": [{"role": "user", "content": "hi"}]}'


def post(gateway: httpx.Client, **headers: str) -> httpx.Response:
    return gateway.post("/v1/chat/completions", content=BODY, headers={"content-type": "text/plain", **headers})


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "https://localhost.evil.example", "http://[::1"]
)
def test_a_request_from_a_foreign_web_page_is_rejected(gateway: httpx.Client, upstream: Upstream, origin: str) -> None:
    answer = post(gateway, origin=origin)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden_origin")
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"].startswith("req_")
    assert upstream.seen == []


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8686", "127.0.0.1.evil.example", "192.168.0.1:8686"])
def test_a_foreign_host_name_is_rejected(gateway: httpx.Client, upstream: Upstream, host: str) -> None:
    assert post(gateway, host=host).status_code == 403
    assert gateway.get("/v1/models", headers={"host": host}).status_code == 403
    assert upstream.seen == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8686", "127.0.0.1", "[::1]:8686"])
@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:8686", "https://[::1]"])
def test_local_pages_and_programs_are_accepted(gateway: httpx.Client, host: str, origin: str) -> None:
    assert post(gateway, host=host, origin=origin).is_success


@pytest.mark.parametrize("path", ["/v1/chat%2fcompletions", "/v1%2Fmodels", "/%2fmetrics"])
def test_an_encoded_slash_is_refused(gateway: httpx.Client, path: str) -> None:
    answer = gateway.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_path")


def test_the_name_of_a_model_may_have_an_encoded_slash(gateway: httpx.Client) -> None:
    assert gateway.get("/v1/models/vendor%2Fdear").status_code == 200
