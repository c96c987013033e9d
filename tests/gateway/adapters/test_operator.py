"""`/adapters` and `route adapters list|load|unload|pin|unpin`: what servers hold, for operators only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from router.commands import main
from router.gateway.app import make_app
from router.gateway.config.keys import Key, Keys, hash_of
from tests.dispatch.lora.scripted import ScriptedVllm, running
from tests.gateway.adapters.setup import make_cards, router_of
from tests.gateway.servers import make_gateway, served

KEYS = Keys(
    [Key(id="ops", hash=hash_of("pv-ops"), operator=True), Key(id="bob", hash=hash_of("pv-bob"))],
    ["base", "a", "b", "c"],
)


@pytest.fixture
def servers() -> Iterator[tuple[ScriptedVllm, ScriptedVllm]]:
    pair = ScriptedVllm(), ScriptedVllm()
    with running(*pair):
        yield pair


@pytest.fixture
def serve(servers: tuple[ScriptedVllm, ScriptedVllm]) -> Iterator[Callable[..., httpx.Client]]:
    """A gateway over a base with three adapters on two servers of two slots each."""
    with contextlib.ExitStack() as stack:

        def start(keys: Keys = KEYS, **parts: Any) -> httpx.Client:
            router = router_of(make_cards([server.url for server in servers]))
            url = stack.enter_context(served(make_app(make_gateway(router, keys=keys, **parts))))
            return stack.enter_context(httpx.Client(base_url=url, trust_env=False))

        yield start


def ops(client: httpx.Client, path: str, key: str = "ops", **body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer pv-{key}"}
    return (
        client.post(f"/adapters/{path}", json=body, headers=headers)
        if path
        else client.get("/adapters", headers=headers)
    )


def held(response: httpx.Response) -> dict[str, list[str]]:
    assert response.status_code == 200, response.text
    return {server["server"]: [each["card"] for each in server["adapters"]] for server in response.json()["servers"]}


def test_an_operator_loads_pins_and_unloads(
    serve: Callable[..., httpx.Client], servers: tuple[ScriptedVllm, ScriptedVllm]
) -> None:
    client = serve()
    assert held(ops(client, "")) == {"base#1": [], "base#2": []}
    assert held(ops(client, "load", adapter="a", server="base#2")) == {"base#1": [], "base#2": ["a"]}
    assert dict(servers[1].adapters) == {"a": "/adapters/a"}
    pinned = ops(client, "pin", adapter="b", server="base#1")
    assert held(pinned) == {"base#1": ["b"], "base#2": ["a"]}
    assert [each["pinned"] for each in pinned.json()["servers"][0]["adapters"]] == [True]
    unpinned = ops(client, "unpin", adapter="b")
    assert [each["pinned"] for each in unpinned.json()["servers"][0]["adapters"]] == [False]
    assert held(ops(client, "unload", adapter="b")) == {"base#1": [], "base#2": ["a"]}
    assert dict(servers[0].adapters) == {}


def test_an_adapter_is_loaded_where_there_is_most_room(serve: Callable[..., httpx.Client]) -> None:
    client = serve()
    ops(client, "load", adapter="a", server="base#1")
    assert held(ops(client, "load", adapter="b")) == {"base#1": ["a"], "base#2": ["b"]}
    assert held(ops(client, "load", adapter="a")) == {"base#1": ["a"], "base#2": ["b"]}


@pytest.mark.parametrize("path", ["", "load", "unload", "pin", "unpin"])
@pytest.mark.parametrize(("key", "status"), [("bob", 403), ("zzz", 401)])
def test_other_keys_see_and_change_nothing(
    serve: Callable[..., httpx.Client], servers: tuple[ScriptedVllm, ScriptedVllm], path: str, key: str, status: int
) -> None:
    refused = ops(serve(), path, key, adapter="a")
    assert refused.status_code == status
    assert servers[0].url not in refused.text
    assert servers[0].loads() == servers[1].loads() == 0


def test_the_refusal_says_how_to_make_an_operator(serve: Callable[..., httpx.Client]) -> None:
    error = ops(serve(), "", "bob").json()["error"]
    assert error["message"] == (
        'the key "bob" is no operator\'s; the operator can add `operator: true` to a key in keys.yaml'
    )


def test_without_keys_every_program_of_this_machine_may(serve: Callable[..., httpx.Client]) -> None:
    client = serve(Keys())
    assert client.post("/adapters/load", json={"adapter": "a"}).status_code == 200
    page = {"origin": "https://evil.example", "host": client.base_url.netloc.decode()}
    assert client.post("/adapters/load", json={"adapter": "a"}, headers=page).status_code == 403


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "`adapter` must be the id of an adapter's card"),
        ({"adapter": "aa"}, '`adapter` is "aa", which is no adapter\'s card whose base states `adapters`'),
        ({"adapter": "base"}, '`adapter` is "base", which is no adapter'),
        ({"adapter": "../../etc/passwd"}, '`adapter` is "../../etc/passwd", which is no adapter'),
        ({"adapter": "/adapters/a"}, '`adapter` is "/adapters/a", which is no adapter'),
        (
            {"adapter": "a", "server": "base#3"},
            '`server` is "base#3", which is no server that holds adapters',
        ),
        ({"adapter": "a", "server": "http://evil.example"}, "`server` is"),
        ({"adapter": "a", "lora_path": "/etc"}, "`lora_path` is no field of this request"),
    ],
)
def test_only_cards_and_servers_of_the_configuration_can_be_named(
    serve: Callable[..., httpx.Client],
    servers: tuple[ScriptedVllm, ScriptedVllm],
    body: dict[str, str],
    message: str,
) -> None:
    refused = ops(serve(), "load", **body)
    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith(message)
    assert servers[0].loads() == servers[1].loads() == 0


def test_what_the_server_says_of_a_failed_load_reaches_the_operator(
    serve: Callable[..., httpx.Client], servers: tuple[ScriptedVllm, ScriptedVllm]
) -> None:
    servers[0].absent_paths = {"/adapters/a"}
    client = serve()
    refused = ops(client, "load", adapter="a", server="base#1")
    assert refused.status_code == 502
    assert "No adapter found for /adapters/a" in refused.json()["error"]["message"]
    assert "No adapter found" in ops(client, "").json()["servers"][0]["problems"]["a"]


def test_one_of_several_workers_pins_nothing_that_the_others_would_not_know(
    serve: Callable[..., httpx.Client], tmp_path: Any
) -> None:
    refused = ops(serve(metrics_folder=tmp_path), "pin", adapter="a")
    assert refused.status_code == 400
    assert "Add it to `adapters.pinned` of the base's card" in refused.text


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(["adapters", *arguments])
    except SystemExit as ended:
        code = int(ended.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_commands_show_what_the_endpoints_answer(
    serve: Callable[..., httpx.Client], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    url = str(client.base_url)
    monkeypatch.setenv("PULVINAR_API_KEY", "pv-ops")
    code, out, _ = run(capsys, "load", "a", "--server", "base#1", "--url", url)
    assert code == 0
    assert out.splitlines()[0].startswith("base#1: vllm at http://127.0.0.1:")
    assert out.splitlines()[0].endswith("1 of 2 slots; 0 hits, 1 loads, 0 evictions, 0 waits, 0 failures")
    assert out.splitlines()[2].split()[:4] == ["a", "a", "loaded", "0"]
    code, out, _ = run(capsys, "pin", "b", "--server", "base#1", "--url", f"{url}/v1", "--json")
    assert [each["pinned"] for each in json.loads(out)["servers"][0]["adapters"]] == [False, True]
    assert run(capsys, "unpin", "b", "--url", url)[0] == 0
    assert run(capsys, "unload", "b", "--url", url)[0] == 0
    assert [
        each["card"] for each in json.loads(run(capsys, "list", "--url", url, "--json")[1])["servers"][0]["adapters"]
    ] == ["a"]


@pytest.mark.parametrize(("key", "problem"), [("pv-bob", "is no operator's"), ("", "API key required")])
def test_the_commands_say_which_variable_has_the_key(
    serve: Callable[..., httpx.Client],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    problem: str,
) -> None:
    monkeypatch.setenv("PULVINAR_API_KEY", key)
    code, _, err = run(capsys, "list", "--url", str(serve().base_url))
    assert code == 2
    assert problem in err
    assert err.rstrip().endswith("(the key is read from PULVINAR_API_KEY)")


def test_the_commands_say_where_no_gateway_answers(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "list", "--url", "http://127.0.0.1:9")
    assert (code, "is `route serve` running?" in err) == (4, True)


@pytest.mark.parametrize("url", ["127.0.0.1:8686", "ftp://x", "http://"])
def test_the_commands_refuse_what_is_no_url(capsys: pytest.CaptureFixture[str], url: str) -> None:
    code, _, err = run(capsys, "list", "--url", url)
    assert (code, "is no URL of a gateway" in err) == (2, True)
