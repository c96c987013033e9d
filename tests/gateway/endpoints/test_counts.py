"""Work that is done once a request: converting its body, decoding the response, decoding an error; none is left."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest

from router.dispatch import response, stream
from router.dispatch.bodies import whole
from router.formats import json as formats_json
from router.gateway.endpoints import completion
from router.gateway.endpoints.completion import CompletionHandler
from router.gateway.http.client.exchange import Exchange
from router.pipeline import Routed
from router.wire import CONVERSIONS
from tests.gateway.servers import CHUNKS, Upstream, gateway_server, make_card, wait_for

ANTHROPIC = {"model": "auto", "max_tokens": 16, "messages": [{"role": "user", "content": "Hello"}]}
RESPONSES = {"model": "auto", "input": "Hello"}


def is_of_a_request(thing: object) -> bool:
    """Whether it is of a request to the gateway, which adds ids to its responses, and not to the upstream."""
    return isinstance(thing, CompletionHandler | Routed) or (isinstance(thing, Exchange) and thing.added != b"")


class Calls:
    """Counts the calls of the functions that it wraps."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.count = 0

    def counting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return function(*args, **kwargs)

        return counted

    def of(self, module: Any, name: str) -> Calls:
        self._patch.setattr(module, name, self.counting(getattr(module, name)))
        return self


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The conversions of request bodies to chat."""
    calls = Calls(monkeypatch)
    for api, conversion in list(CONVERSIONS.items()):
        counted = msgspec.structs.replace(conversion, to_chat=calls.counting(conversion.to_chat))
        monkeypatch.setitem(CONVERSIONS, api, counted)  # type: ignore[arg-type]
    return calls


@pytest.fixture
def client(upstream: Upstream) -> Iterator[httpx.Client]:
    """A gateway whose two cheapest cards fail, in front of a chat-only upstream."""
    cards = (
        make_card("failing", upstream.url, "status-500", price=1.0),
        make_card("limited", upstream.url, "status-429", price=2.0),
        make_card("working", upstream.url, "ok", price=3.0),
        make_card("status-400", upstream.url, "status-400", price=4.0),
    )
    with gateway_server(*cards) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/messages", ANTHROPIC), ("/v1/responses", RESPONSES)], ids=["messages", "responses"]
)
def test_a_request_is_converted_once_for_reading_and_for_every_attempt(
    client: httpx.Client, upstream: Upstream, conversions: Calls, path: str, body: dict[str, Any]
) -> None:
    response = client.post(path, json=body)
    assert response.status_code == 200
    assert upstream.models == ["status-500", "status-429", "ok"]
    assert conversions.count == 1


def test_a_request_for_a_named_card_is_converted_once(client: httpx.Client, conversions: Calls) -> None:
    assert client.post("/v1/messages", json={**ANTHROPIC, "model": "working"}).status_code == 200
    assert conversions.count == 1


def test_a_chat_request_is_not_converted(client: httpx.Client, conversions: Calls) -> None:
    body = {"model": "auto", "messages": ANTHROPIC["messages"]}
    assert client.post("/v1/chat/completions", json=body).status_code == 200
    assert conversions.count == 0


def test_flags_in_a_prompt_cost_at_most_one_more_conversion(client: httpx.Client, conversions: Calls) -> None:
    with_flag = {**ANTHROPIC, "messages": [{"role": "user", "content": "[Flag: cheapest] Hello"}]}
    assert client.post("/v1/messages", json=with_flag).status_code == 200
    assert conversions.count <= 2


def test_a_converted_response_is_decoded_once(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    decodes = Calls(monkeypatch)
    for module, name in ((whole, "json_or_none"), (whole, "summary_in"), (response, "json_or_none")):
        decodes.of(module, name)
    answer = client.post("/v1/messages", json={**ANTHROPIC, "model": "working"})
    assert answer.json()["content"] == [{"type": "text", "text": "Hello"}]
    assert decodes.count == 1


def test_every_event_of_a_converted_stream_is_decoded_once(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    decodes = Calls(monkeypatch).of(stream, "read_event")
    body = {**ANTHROPIC, "model": "working", "stream": True}
    assert "message_stop" in client.post("/v1/messages", json=body).text
    assert decodes.count == len(CHUNKS)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
def test_an_upstream_error_is_decoded_once(client: httpx.Client, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    decodes = Calls(monkeypatch)
    for module in (completion, whole, response, stream):
        if hasattr(module, "json_or_none"):
            decodes.of(module, "json_or_none")
    answer = client.post(path, json={**ANTHROPIC, "model": "status-400"})
    assert answer.status_code == 400
    assert "upstream says no" in answer.text
    assert decodes.count == 1


def test_json_is_decoded_by_one_module_only() -> None:
    assert {whole.json_or_none.__module__, response.json_or_none.__module__} == {formats_json.__name__}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", ["auto", "working", "status-400", "unknown"])
def test_a_request_leaves_nothing_to_the_garbage_collector(client: httpx.Client, model: str, stream: bool) -> None:
    # Each time that it runs, all requests wait, the longer the more is left.
    body = {"model": model, "messages": ANTHROPIC["messages"], "stream": stream}
    gc.collect()
    gc.disable()
    try:
        # The connection keeps its last request.
        client.post("/v1/chat/completions", json=body, headers={"connection": "close"}).read()
        assert wait_for(lambda: not any(map(is_of_a_request, gc.get_objects())))
    finally:
        gc.enable()
