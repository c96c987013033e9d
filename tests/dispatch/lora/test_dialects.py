"""Every kind of server against a scripted one that answers as its source does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from router.dispatch.lora.api import Activity, AdapterServerError, Held, Listed
from router.dispatch.lora.http import ServerClient
from router.dispatch.lora.llama_cpp import LlamaCppApi
from router.dispatch.lora.lorax import LoraxApi
from router.dispatch.lora.sglang import SglangApi
from router.dispatch.lora.vllm import VllmApi, activity_in
from tests.dispatch.calls import raw_server, unused_address
from tests.dispatch.lora.cards import make_cards
from tests.dispatch.lora.scripted import (
    ScriptedLlamaCpp,
    ScriptedLorax,
    ScriptedServer,
    ScriptedSglang,
    ScriptedVllm,
    running,
)

_APIS = {"vllm": VllmApi, "sglang": SglangApi, "lorax": LoraxApi, "llama.cpp": LlamaCppApi}


def at(url: str, kind: str, use: Callable[[Any], Awaitable[Any]], **facts: Any) -> Any:
    """What `use` returns for the API of the server at `url`."""

    async def main() -> Any:
        client = ServerClient()
        try:
            return await use(_APIS[kind](client, make_cards(url, kind, **facts)["base"]))
        finally:
            await client.aclose()

    return asyncio.run(main())


def problem(url: str, kind: str, use: Callable[[Any], Awaitable[Any]], **facts: Any) -> AdapterServerError:
    with pytest.raises(AdapterServerError) as raised:
        at(url, kind, use, **facts)
    return raised.value


LOADING: list[tuple[str, Callable[[], ScriptedServer]]] = [("vllm", ScriptedVllm), ("sglang", ScriptedSglang)]


@pytest.mark.parametrize(("kind", "make"), LOADING)
def test_an_adapter_is_loaded_listed_and_unloaded(kind: str, make: Callable[[], ScriptedServer]) -> None:
    async def use(api: Any) -> list[Listed]:
        await api.load("a", "/adapters/a", pinned=False)
        loaded = await api.list()
        await api.unload("a")
        return [loaded, await api.list()]

    with running(server := make()):
        assert at(server.url, kind, use) == [Listed((Held("a", "/adapters/a"),)), Listed()]


@pytest.mark.parametrize(("kind", "make"), LOADING)
def test_an_adapter_that_is_loaded_already_is_told_apart(kind: str, make: Callable[[], ScriptedServer]) -> None:
    with running(server := make()):
        server.adapters["a"] = "/adapters/a"
        assert problem(server.url, kind, lambda api: api.load("a", "/adapters/a", pinned=False)).problem == "exists"


@pytest.mark.parametrize(("kind", "make"), LOADING)
def test_an_adapter_that_is_not_loaded_cannot_be_unloaded(kind: str, make: Callable[[], ScriptedServer]) -> None:
    with running(server := make()):
        assert problem(server.url, kind, lambda api: api.unload("a")).problem == "missing"


@pytest.mark.parametrize(("kind", "make", "expected"), [(*LOADING[0], "missing"), (*LOADING[1], "refused")])
def test_weights_that_the_server_does_not_find_are_an_error_with_its_words(
    kind: str, make: Callable[[], ScriptedServer], expected: str
) -> None:
    with running(server := make()):
        error = problem(server.url, kind, lambda api: api.load("a", "/absent", pinned=False))
    assert error.problem == expected
    assert "/absent" in error.detail
    # The client has no use for the paths of the server.
    assert "/absent" not in str(error)


def test_a_vllm_that_may_not_load_adapters_says_how_to_start_it() -> None:
    with running(server := ScriptedVllm(updating=False)):
        error = problem(server.url, "vllm", lambda api: api.load("a", "/adapters/a", pinned=False))
    assert error.problem == "unsupported"
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in error.detail


def test_an_sglang_without_lora_says_how_to_start_it() -> None:
    with running(server := ScriptedSglang(enabled=False)):
        error = problem(server.url, "sglang", lambda api: api.load("a", "/adapters/a", pinned=False))
    assert (error.problem, "--enable-lora" in error.detail) == ("unsupported", True)


def test_an_sglang_whose_slots_are_taken_is_full() -> None:
    with running(server := ScriptedSglang(slots=1)):
        server.adapters["b"] = "/adapters/b"
        assert problem(server.url, "sglang", lambda api: api.load("a", "/a", pinned=False)).problem == "full"


def test_an_sglang_that_can_pin_no_more_loads_the_adapter_unpinned() -> None:
    with running(server := ScriptedSglang(slots=1)):
        at(server.url, "sglang", lambda api: api.load("a", "/adapters/a", pinned=True))
    assert [body["pinned"] for _, body in server.asked] == [True, False]
    assert list(server.adapters) == ["a"]


def test_vllm_reports_what_its_requests_use() -> None:
    with running(server := ScriptedVllm()):
        server._running["a"] = 1
        seen = at(server.url, "vllm", lambda api: api.activity())
    assert seen == Activity(running=frozenset({"a"}), waiting=frozenset(), gpu_slots=2)


def test_the_metrics_of_loaded_adapters_are_read() -> None:
    metrics = """vllm:lora_adapter_loaded{adapter_name="a",engine="0",level="gpu",model_name="m",pinned="false"} 1.0
vllm:lora_adapter_loaded{adapter_name="b",engine="0",level="cpu",model_name="m",pinned="true"} 1.0
vllm:lora_adapter_loaded{adapter_name="gone",engine="0",level="gpu",model_name="m",pinned="false"} 0.0
vllm:num_gpu_loaded_lora_adapters{engine="0",model_name="m"} 1.0
vllm:max_gpu_lora_adapters{engine="0",model_name="m"} 4.0
"""
    assert activity_in(metrics) == Activity(
        on_gpu=frozenset({"a"}), on_cpu=frozenset({"b"}), pinned=frozenset({"b"}), gpu_slots=4
    )


def test_metrics_without_adapters_say_nothing_of_them() -> None:
    assert activity_in('vllm:num_requests_running{model_name="m"} 1.0\n') is None


@pytest.mark.parametrize("number", ["1e", "--", "1e999"])
def test_metrics_with_a_number_that_is_none_are_read_without_it(number: str) -> None:
    metrics = f'vllm:max_gpu_lora_adapters{{m="m"}} {number}\nvllm:num_gpu_loaded_lora_adapters{{m="m"}} 1.0\n'
    assert activity_in(metrics) == Activity(on_gpu=frozenset(), on_cpu=frozenset(), pinned=frozenset())


def test_a_lorax_that_is_well_lists_nothing() -> None:
    with running(server := ScriptedLorax()):
        assert at(server.url, "lorax", lambda api: api.list()) is None
    assert [path for path, _ in server.asked] == ["/health"]


@pytest.mark.parametrize("kind", ["lorax", "llama.cpp"])
def test_a_server_that_loads_by_itself_is_not_asked_to(kind: str) -> None:
    facts: dict[str, Any] = {"slots": None, "lora_slots": ("a",), "adapters": ("a",)}
    facts = facts if kind == "llama.cpp" else {}
    for use in (lambda api: api.load("a", "/a", pinned=False), lambda api: api.unload("a")):
        assert problem(unused_address(), kind, use, **facts).problem == "unsupported"


def test_llama_cpp_lists_its_adapters_in_the_order_of_their_ids() -> None:
    with running(server := ScriptedLlamaCpp("/b.gguf", "/a.gguf")):
        listed = at(server.url, "llama.cpp", lambda api: api.list(), slots=None, lora_slots=("b", "a"), adapters="ab")
    assert listed == Listed((Held("b", "/b.gguf"), Held("a", "/a.gguf")))


def test_a_llama_cpp_with_another_number_of_adapters_is_refused() -> None:
    with running(server := ScriptedLlamaCpp("/b.gguf", "/a.gguf")):
        error = problem(server.url, "llama.cpp", lambda api: api.list(), slots=None, lora_slots=("b",), adapters="b")
    assert (error.problem, "2 adapters" in error.detail) == ("refused", True)


def test_the_servers_endpoints_are_asked_with_the_cards_key_and_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_SERVER", "sk-server-secret")
    monkeypatch.setenv("TEAM", "team-secret")
    with running(server := ScriptedSglang()):
        at(
            server.url,
            "sglang",
            lambda api: api.load("a", "/adapters/a", pinned=False),
            api_key_env="KEY_OF_SERVER",
            headers={"x-team": "${TEAM}"},
        )
    assert (server.headers["authorization"], server.headers["x-team"]) == ("Bearer sk-server-secret", "team-secret")


def test_the_servers_words_are_shown_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_SERVER", "sk-server-secret")
    body = b'{"error": {"message": "bad key sk-server-secret\\r\\nx"}}'
    answer = b"HTTP/1.1 401 No\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    with raw_server(answer) as url:
        error = problem(url, "vllm", lambda api: api.list(), api_key_env="KEY_OF_SERVER")
    assert error.problem == "refused"
    assert "secret" not in error.detail
    assert "\n" not in error.detail


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{"data": "none"}',
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 2",
        b"nonsense",
    ],
)
@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_an_answer_that_is_no_list_is_an_error(kind: str, answer: bytes) -> None:
    with raw_server(answer) as url:
        problem(url, kind, lambda api: api.list())


def test_a_server_that_does_not_run_is_unreachable() -> None:
    error = problem(unused_address(), "vllm", lambda api: api.list())
    assert (error.problem, error.fault) == ("unreachable", "unreachable")
    assert "Connect call failed" in error.detail
