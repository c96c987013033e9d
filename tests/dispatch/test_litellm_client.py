"""Calls through litellm to a provider with another protocol."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from router.cards import Card
from router.dispatch import Call, Dispatcher, EventStream
from router.dispatch.providers import litellm_providers
from router.errors import FieldError, UpstreamError
from tests.dispatch.anthropic_upstream import EVENTS, AnthropicUpstream, anthropic_server
from tests.dispatch.calls import BODY, call, raw_server, unused_address
from tests.gateway.servers import make_card

pytestmark = [
    pytest.mark.slow,
    # pydantic warns about litellm's types when it first builds their schema.
    pytest.mark.filterwarnings("ignore:Item .* is using the `ReadOnly` qualifier:UserWarning"),
]


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> Iterator[AnthropicUpstream]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret")
    with anthropic_server() as server:
        yield server


def card(url: str, model: str = "ok") -> Card:
    return make_card("claude", url, model, provider="anthropic", base_url=url, api_key_env="ANTHROPIC_API_KEY")


def test_a_response_has_openais_format(claude: AnthropicUpstream) -> None:
    response, body = call(card(claude.url), body={**BODY, "max_tokens": 5})
    completion = msgspec.json.decode(body)
    assert response.status == 200
    assert completion["object"] == "chat.completion"
    assert completion["choices"][0]["message"]["content"] == "Hello"
    assert completion["usage"]["total_tokens"] == 5
    assert claude.seen[0].headers["x-api-key"] == "sk-ant-secret"
    assert claude.seen[0].body["max_tokens"] == 5


def test_a_stream_consists_of_openais_events(claude: AnthropicUpstream) -> None:
    _, stream = call(card(claude.url), body={**BODY, "stream": True}, stream=True)
    *events, done, rest = stream.split(b"\n\n")
    chunks = [msgspec.json.decode(event.removeprefix(b"data: ")) for event in events]
    choices = [chunk["choices"][0] for chunk in chunks]
    assert (done, rest) == (b"data: [DONE]", b"")
    assert "".join(choice["delta"].get("content", "") for choice in choices) == "Hello"
    assert choices[0]["delta"]["role"] == "assistant"
    assert [choice["finish_reason"] for choice in choices] == [None, None, "stop"]
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1


def test_usage_is_streamed_only_if_the_client_requests_it(claude: AnthropicUpstream) -> None:
    body = {**BODY, "stream": True}
    _, without_usage = call(card(claude.url), body=body, stream=True)
    _, with_usage = call(card(claude.url), body={**body, "stream_options": {"include_usage": True}}, stream=True)
    assert b'"usage"' not in without_usage
    last = msgspec.json.decode(with_usage.split(b"\n\n")[-3].removeprefix(b"data: "))
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 5)


def test_fields_that_would_redirect_the_call_are_not_passed_to_litellm(claude: AnthropicUpstream) -> None:
    evil = unused_address()
    names = (
        "api_base",
        "base_url",
        "api_key",
        "custom_llm_provider",
        "extra_headers",
        "mock_response",
        "model_list",
    )
    response, body = call(card(claude.url), body={**BODY, **dict.fromkeys(names, evil)})
    assert response.status == 200
    assert b"Hello" in body
    assert claude.seen[0].headers["x-api-key"] == "sk-ant-secret"


def test_litellm_does_not_send_the_providers_default_key_to_another_host(claude: AnthropicUpstream) -> None:
    call(make_card("claude", "", provider="anthropic", base_url=claude.url))
    assert claude.seen[0].headers["x-api-key"] == "none"
    assert "sk-ant-secret" not in str(claude.seen[0].headers)


def test_the_providers_read_from_litellms_source_are_its_providers() -> None:
    code = (
        "from router import settings; settings.prepare_litellm(); import litellm; "
        "print(*(provider.value for provider in litellm.provider_list))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert set(output.split()) == litellm_providers()


def test_a_known_beta_is_forwarded(claude: AnthropicUpstream) -> None:
    beta = "interleaved-thinking-2025-05-14"
    call(card(claude.url), headers={"anthropic-beta": beta, "authorization": "Bearer client"})
    assert claude.seen[0].headers["anthropic-beta"] == beta
    assert "authorization" not in claude.seen[0].headers


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 401, 404, 429, 503])
def test_an_error_keeps_its_status_and_hides_the_url(claude: AnthropicUpstream, status: int, stream: bool) -> None:
    response, body = call(card(claude.url, f"status-{status}"), body={**BODY, "stream": stream}, stream=stream)
    assert response.status == status
    assert response.headers["retry-after"] == "7"
    assert claude.url.encode() not in body
    assert len(claude.seen) == 1


def test_litellm_prepares_no_logs(claude: AnthropicUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    from litellm.litellm_core_utils import litellm_logging

    monkeypatch.setattr(litellm_logging, "get_standard_logging_object_payload", lambda **_: called.append("payload"))
    for model, stream in itertools.product(("ok", "status-429"), (False, True)):
        call(card(claude.url, model), body={**BODY, "stream": stream}, stream=stream)
    with pytest.raises(UpstreamError):
        call(card(claude.url, "cut"), body={**BODY, "stream": True}, stream=True)
    assert called == []


def test_half_a_character_is_the_clients_mistake(claude: AnthropicUpstream) -> None:
    with pytest.raises(FieldError, match="half of a character"):
        call(card(claude.url), body={**BODY, "messages": [{"role": "user", "content": "\ud800"}]})
    assert not claude.seen


def test_a_connection_that_breaks_inside_a_stream_is_an_error(claude: AnthropicUpstream) -> None:
    with pytest.raises(UpstreamError) as caught:
        call(card(claude.url, "cut"), body={**BODY, "stream": True}, stream=True)
    assert caught.value.status == 502


def test_a_stream_that_is_repeated_as_its_kept_connection_broke_arrives_whole(claude: AnthropicUpstream) -> None:
    length = sum(map(len, EVENTS))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % length
    dropped, serving = asyncio.Event(), list[asyncio.Future[None]]()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.ensure_future(serve(reader, writer)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the first request of a connection in parts, and ends the connection at the second."""
        with contextlib.suppress(asyncio.IncompleteReadError):
            await read_request(reader)
            writer.write(head)
            for event in EVENTS:
                writer.write(event)
                # What comes at once would have arrived before litellm closes anything.
                await asyncio.sleep(0.01)
            await read_request(reader)
            dropped.set()
        writer.close()
        await writer.wait_closed()

    async def main() -> list[bytes]:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        called = card(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        dispatcher, streams = Dispatcher(), []
        while not dropped.is_set():
            response = await dispatcher.send(called, Call("chat", {**BODY, "stream": True}, True))
            assert isinstance(response.body, EventStream)
            streams.append(b"".join([piece async for piece in response.body]))
            await response.body.aclose()
            # The connection is free a little after the end of the answer.
            await asyncio.sleep(0.02)
        await dispatcher.aclose()
        server.close()
        await asyncio.gather(*serving)
        return streams

    streams = asyncio.run(main())
    assert all(b'"lo"' in stream and stream.endswith(b"data: [DONE]\n\n") for stream in streams)


async def read_request(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))


def test_a_stream_that_is_closed_early_ends_the_upstream_call(claude: AnthropicUpstream) -> None:
    async def main() -> None:
        dispatcher = Dispatcher()
        response = await dispatcher.send(card(claude.url, "quiet"), Call("chat", {**BODY, "stream": True}, True))
        assert isinstance(response.body, EventStream)
        await anext(response.body)
        await response.body.aclose()
        assert await asyncio.to_thread(claude.disconnected.wait, 2)
        await dispatcher.aclose()

    asyncio.run(main())


def test_a_server_that_cannot_be_reached_is_a_502(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret")
    with pytest.raises(UpstreamError) as caught:
        call(card(unused_address()))
    assert caught.value.status == 502


def test_an_unknown_provider_is_an_upstream_error() -> None:
    with pytest.raises(UpstreamError, match='the provider "no-such-provider" of the card "a" is not supported'):
        call(make_card("a", "http://127.0.0.1:1", provider="no-such-provider"))


def test_litellm_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, router.gateway.server.serve; sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def gemini_event(text: str, **fields: str) -> bytes:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **fields}
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}
    return b"data: " + msgspec.json.encode({"candidates": [candidate], "usageMetadata": usage}) + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("events", "is_cut"),
    [
        (gemini_event("Hel") + gemini_event("lo", finishReason="STOP"), False),
        (gemini_event("Hel") + gemini_event("lo"), True),
    ],
    ids=["complete", "cut"],
)
def test_a_cut_stream_of_gemini_does_not_end_as_if_it_were_complete(
    monkeypatch: pytest.MonkeyPatch, events: bytes, is_cut: bool
) -> None:
    monkeypatch.setenv("GEMINI_KEY", "x")
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    with raw_server(head + events) as url:
        gemini = make_card("g", url, "gemini-2.5-flash", provider="gemini", base_url=url, api_key_env="GEMINI_KEY")
        if is_cut:
            with pytest.raises(UpstreamError, match="closed the connection"):
                call(gemini, body={**BODY, "stream": True}, stream=True)
        else:
            _, stream = call(gemini, body={**BODY, "stream": True}, stream=True)
            assert stream.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
def test_an_anthropic_server_may_mix_up_streams_and_whole_answers(claude: AnthropicUpstream, stream: bool) -> None:
    claude.mixes_up = True
    _, body = call(card(claude.url), body={**BODY, "max_tokens": 5, "stream": stream}, stream=stream)
    if stream:
        assert body.endswith(b"data: [DONE]\n\n")
        assert b"Hello" in body
    else:
        assert msgspec.json.decode(body)["choices"][0]["message"]["content"] == "Hello"
