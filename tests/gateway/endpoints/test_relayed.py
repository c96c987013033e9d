"""Audio, images, files and stored responses: relayed to a named card."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from router.cards.servers import Place
from router.formats.quantities import Dollars
from router.gateway.app import make_app
from router.gateway.config.keys import Key, Keys, hash_of
from router.gateway.http.multipart import field_of
from router.store.records.record import Record
from tests.gateway.servers import make_card, make_gateway, make_router, served

ANN, BOB = "pv-" + "a" * 40, "pv-" + "b" * 40
SOUND = bytes(range(256)) * 500
IMAGE = "iVBORw0KGgo" * 200_000
FORM = "multipart/form-data; boundary=XX"
UPLOAD = (
    b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n--XX--\r\n'
)


@dataclass
class Server:
    """A server of everything beside chat, and what reached it: method, path with query, content type and body."""

    url: str = ""
    seen: list[tuple[str, str, str, bytes]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        self.seen.append((request.method, path, request.headers.get("content-type", ""), body))
        self.keys.append(request.headers.get("authorization", ""))
        if "speech" in path:
            if b"cut" in body:
                return Response(SOUND[:9], headers={"content-length": "99", "content-type": "audio/mpeg"})
            return StreamingResponse(iter((SOUND, SOUND)), media_type="audio/mpeg")
        if b"broken" in body:
            return Response(json.dumps({"error": {"message": "no such voice"}}), 400, media_type="application/json")
        if path == "/v1/responses":
            created = {"id": f"resp_{len(self.seen)}", "object": "response", "status": "completed", "output": []}
            if not json.loads(body).get("stream"):
                return Response(json.dumps(created), media_type="application/json")
            kinds = ("response.created", "response.completed")
            events = (f"event: {kind}\ndata: {json.dumps({'type': kind, 'response': created})}\n\n" for kind in kinds)
            return Response("".join(events), media_type="text/event-stream")
        usage = {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30}
        created: dict[str, Any] = {"id": "file-1"} if (request.method, path) == ("POST", "/v1/files") else {}
        if b"a large image" in body:
            created = {"data": [{"b64_json": IMAGE}]}
        return Response(json.dumps({**created, "path": path, "usage": usage}), media_type="application/json")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("FIRST_KEY", "sk-first-secret")
    monkeypatch.setenv("SECOND_KEY", "sk-second-secret")
    seen = Server()
    methods = ["GET", "POST", "DELETE"]
    with served(Starlette(routes=[Route("/{path:path}", seen.answer, methods=methods)])) as seen.url:
        yield seen


@pytest.fixture
def records() -> list[Record]:
    """The records of the gateway, in order."""
    return []


@pytest.fixture
def client(server: Server, records: list[Record]) -> Iterator[httpx.Client]:
    """A gateway with two keys, a card of each kind, and one with two servers that store responses."""
    native: tuple[Any, ...] = ("chat", "responses")
    places = tuple(Place(f"{server.url}/v1", key) for key in ("FIRST_KEY", "SECOND_KEY"))
    cards = [
        make_card("sound", server.url, "tts-1"),
        make_card("stored", server.url, "m", apis=native),
        make_card("twice", server.url, "m", apis=native, base_url=None, deployments=places),
        make_card("dall-e-3", server.url, "dall-e-3"),
    ]
    keys = Keys(
        [
            Key(id="ann", hash=hash_of(ANN), budget_usd_per_day=Dollars(1.0)),
            Key(id="bob", hash=hash_of(BOB), cards=("stored", "twice")),
        ],
        [card.id for card in cards],
    )
    gateway = make_gateway(make_router(*cards), keys=keys)
    gateway.services = msgspec.structs.replace(gateway.services, sinks=(records.append,))
    headers = {"authorization": f"Bearer {ANN}"}
    with served(make_app(gateway)) as url, httpx.Client(base_url=url, trust_env=False, headers=headers) as client:
        yield client


JSON_PATHS = ("images/generations", "moderations", "rerank", "audio/translations", "images/variations")


def test_speech_comes_back_byte_for_byte(client: httpx.Client, server: Server, records: list[Record]) -> None:
    body = b'{"model": "sound",  "input": "hi", "voice": "v"}'
    response = client.post("/v1/audio/speech", content=body, headers={"content-type": "application/json"})
    assert response.content == SOUND * 2
    assert (response.headers["content-type"], response.headers["x-route-card"]) == ("audio/mpeg", "sound")
    assert json.loads(server.seen[0][3]) == {"model": "tts-1", "input": "hi", "voice": "v"}
    assert (records[0].surface, records[0].outcome.card, records[0].key) == ("audio_speech", "sound", "ann")


def test_a_body_with_the_servers_own_name_is_passed_on_byte_for_byte(client: httpx.Client, server: Server) -> None:
    body = b'{"x": 1.0,   "model":"tts-1"}'
    assert client.post("/v1/moderations", content=body).status_code == 200
    assert server.seen[0][3] == body


OWN = {"api_base": "http://evil", "base_url": "http://evil", "api_key": "x", "route": {}}


@pytest.mark.parametrize("model", ["sound", "dall-e-3"])
def test_nothing_that_selects_another_server_is_passed_on(client: httpx.Client, server: Server, model: str) -> None:
    metadata = {"route_flags": "", "own": "y"}
    client.post("/v1/rerank", json={"model": model, "query": "q", "metadata": metadata, **OWN}, params={**OWN, "n": 1})
    [(_, path, _, body)] = server.seen
    assert path == "/v1/rerank?n=1"
    assert json.loads(body) == {
        "model": "tts-1" if model == "sound" else model,
        "query": "q",
        "metadata": {"own": "y"},
    }


@pytest.mark.parametrize(("path", "model"), [("audio/transcriptions", b"tts-1"), ("files", b"sound")])
def test_no_field_of_a_form_that_selects_another_server_is_passed_on(
    client: httpx.Client, server: Server, path: str, model: bytes
) -> None:
    fields = b"".join(
        b'--XX\r\nContent-Disposition: form-data; name="%b"\r\n\r\nhttp://evil\r\n' % name.encode() for name in OWN
    )
    form = UPLOAD.replace(b"--XX--", fields + b"--XX--") % b"sound"
    client.post(f"/v1/{path}", content=form, headers={"content-type": FORM, "x-route-card": "sound"})
    assert server.seen[0][3] == UPLOAD % model


def test_nothing_that_selects_another_server_is_passed_on_for_a_stored_response(
    client: httpx.Client, server: Server
) -> None:
    id_ = created(client, "stored")
    client.post(f"/v1/responses/{id_}/cancel", json={"reason": "late", **OWN})
    assert json.loads(server.seen[-1][3]) == {"reason": "late"}


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/openai/deployments/dall-e-3/images/generations", {}),
        ("/v1/images/generations", {"x-route-card": "dall-e-3"}),
    ],
)
@pytest.mark.parametrize("body", [{"prompt": "a cat"}, {"model": "whatever", "prompt": "a cat"}])
def test_a_card_that_the_body_does_not_name_is_the_model_in_it(
    client: httpx.Client, server: Server, path: str, headers: dict[str, str], body: dict[str, str]
) -> None:
    client.post(path, json=body, headers=headers)
    assert json.loads(server.seen[0][3]) == {"model": "dall-e-3", "prompt": "a cat"}


@pytest.mark.parametrize("path", JSON_PATHS)
@pytest.mark.parametrize("prefix", ["/v1", "", "/openai/v1"])
def test_a_json_body_reaches_the_named_card(
    client: httpx.Client, server: Server, records: list[Record], prefix: str, path: str
) -> None:
    response = client.post(f"{prefix}/{path}", json={"model": "sound", "input": "x", "route": {"session": "s"}})
    assert response.json()["path"] == f"/v1/{path}"
    assert json.loads(server.seen[0][3]) == {"model": "tts-1", "input": "x"}
    usage = records[0].outcome.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (10, 20)
    assert records[0].outcome.cost_usd == pytest.approx(30e-6)


def test_a_large_image_is_charged_as_its_server_reports(client: httpx.Client, records: list[Record]) -> None:
    response = client.post("/v1/images/generations", json={"model": "sound", "prompt": "a large image"})
    assert response.json()["data"] == [{"b64_json": IMAGE}]
    assert records[0].outcome.cost_usd == pytest.approx(30e-6)


@pytest.mark.parametrize("path", ["audio/transcriptions", "images/edits"])
def test_a_form_is_passed_on_with_the_servers_name_of_the_model(
    client: httpx.Client, server: Server, path: str
) -> None:
    client.post(f"/v1/{path}", content=UPLOAD % b"sound", headers={"content-type": FORM})
    assert server.seen == [("POST", f"/v1/{path}", FORM, UPLOAD % b"tts-1")]


def test_a_deployment_in_azures_path_is_the_card(client: httpx.Client, server: Server) -> None:
    path = "/openai/deployments/sound/audio/transcriptions?api-version=2024-10-21"
    client.post(path, content=UPLOAD % b"whatever", headers={"content-type": FORM})
    assert server.seen == [("POST", "/v1/audio/transcriptions", FORM, UPLOAD % b"tts-1")]


def test_a_form_without_a_model_gets_that_of_azures_path(client: httpx.Client, server: Server) -> None:
    form = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n--XX--\r\n'
    path = "/openai/deployments/sound/audio/transcriptions?api-version=2024-10-21"
    client.post(path, content=form, headers={"content-type": FORM})
    assert field_of(server.seen[0][3], FORM, "model") == "tts-1"
    assert server.seen[0][3].endswith(form)


def test_files_name_their_card_in_a_header_or_the_query(client: httpx.Client, server: Server) -> None:
    client.post("/v1/files", content=UPLOAD % b"x", headers={"content-type": FORM, "x-route-card": "sound"})
    client.get("/v1/files", params={"x-route-card": "sound", "limit": 3, "key": "secret"})
    client.get("/v1/files/file-1/content", params={"x-route-card": "sound"})
    client.delete("/v1/files/file-1", headers={"x-route-card": "sound"})
    assert [(method, path) for method, path, _, _ in server.seen] == [
        ("POST", "/v1/files"),
        ("GET", "/v1/files?limit=3"),
        ("GET", "/v1/files/file-1/content"),
        ("DELETE", "/v1/files/file-1"),
    ]
    assert server.seen[0][3] == UPLOAD % b"x"


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("audio/speech", {"model": "auto"}, 400, "must name a card: /v1/audio/speech is relayed"),
        ("audio/speech", {"model": "auto/alone"}, 400, "must name a card"),
        ("rerank", {}, 400, "must name a card"),
        ("files", {}, 400, "`x-route-card` must name a card"),
        ("moderations", {"model": "nobody"}, 404, 'there is no model "nobody"'),
        ("responses/input_tokens", {"model": "sound"}, 400, "does not support responses"),
        ("moderations", {"model": "sound", "x": "broken"}, 400, "no such voice"),
    ],
)
def test_what_cannot_be_relayed_is_explained(
    client: httpx.Client, path: str, body: dict[str, object], status: int, words: str
) -> None:
    response = client.post(f"/v1/{path}", json=body)
    assert response.status_code == status
    assert words in response.json()["error"]["message"]


def test_a_key_is_needed_and_limits_the_cards(client: httpx.Client, server: Server) -> None:
    body = {"model": "sound"}
    assert client.post("/v1/moderations", json=body, headers={"authorization": "Bearer x"}).status_code == 401
    assert client.post("/v1/moderations", json=body, headers={"authorization": f"Bearer {BOB}"}).status_code == 404
    assert server.seen == []


def test_bytes_that_are_cut_do_not_end_cleanly(
    client: httpx.Client, records: list[Record], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        client.post("/v1/audio/speech", json={"model": "sound", "input": "cut"})
    assert records[0].outcome.error is not None
    assert client.get("/healthz").status_code == 200
    # The only failure is that of the server, which runs in this process as well.
    assert [entry.message for entry in caplog.records if entry.levelno >= logging.ERROR] == ["the application failed"]


def created(client: httpx.Client, card: str, key: str = ANN, **fields: object) -> str:
    """The id of a new response."""
    headers = {"authorization": f"Bearer {key}"}
    response = client.post("/v1/responses", json={"model": card, "input": "hi", **fields}, headers=headers)
    if fields.get("stream"):
        return str(json.loads(response.text.partition("data: ")[2].partition("\n")[0])["response"]["id"])
    return str(response.json()["id"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_stored_response_is_found_at_the_server_that_made_it(
    client: httpx.Client, server: Server, stream: bool
) -> None:
    made = [created(client, "twice", stream=stream) for _ in range(2)]
    by_key = dict(zip(made, server.keys, strict=True))
    for id_ in made:
        requests = [
            ("GET", f"responses/{id_}?include%5B%5D=x"),
            ("GET", f"responses/{id_}/input_items?limit=2"),
            ("POST", f"responses/{id_}/cancel"),
            ("DELETE", f"responses/{id_}"),
        ]
        for method, path in requests:
            assert client.request(method, f"/v1/{path}").json()["path"] == f"/v1/{path}"
            assert server.keys[-1] == by_key[id_]


def test_a_stored_response_is_not_booked_again(client: httpx.Client, records: list[Record]) -> None:
    id_ = created(client, "stored")
    for _ in range(2):
        assert client.get(f"/v1/responses/{id_}").json()["usage"]["output_tokens"] == 20
    assert [(record.surface, record.outcome.usage, record.outcome.cost_usd) for record in records[1:]] == [
        ("response", None, None)
    ] * 2


def test_a_response_of_another_key_or_an_unknown_one_does_not_exist(client: httpx.Client, server: Server) -> None:
    id_ = created(client, "stored", key=BOB)
    unstored = created(client, "stored", store=False)
    for unknown in (id_, unstored, "resp_none", "%2E%2E", "a%2Fb", "resp_1%3Fx"):
        response = client.get(f"/v1/responses/{unknown}")
        assert response.status_code == 404, unknown
    assert len(server.seen) == 2
    assert client.get(f"/v1/responses/{id_}", headers={"authorization": f"Bearer {BOB}"}).status_code == 200


def test_tokens_are_counted_and_conversations_compacted_by_the_card(client: httpx.Client, server: Server) -> None:
    for path in ("responses/input_tokens", "responses/compact"):
        assert client.post(f"/v1/{path}", json={"model": "stored", "input": "hi"}).json()["path"] == f"/v1/{path}"
    assert [json.loads(body)["model"] for _, _, _, body in server.seen] == ["m", "m"]


def test_only_what_servers_charge_for_is_booked(client: httpx.Client, records: list[Record]) -> None:
    id_ = created(client, "stored")
    client.get(f"/v1/responses/{id_}")
    client.post("/v1/responses/input_tokens", json={"model": "stored", "input": "hi"})
    client.get("/v1/files", params={"x-route-card": "sound"})
    client.post("/v1/images/generations", json={"model": "sound", "prompt": "a cat"})
    assert [record.outcome.usage is not None for record in records] == [True, False, False, False, True]
