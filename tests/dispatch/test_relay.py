from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

import pytest

from router.cards import Card
from router.dispatch import Call, Dispatcher, EventStream, Timeouts, UpstreamResponse
from router.errors import UpstreamError
from tests.dispatch.calls import BODY, call, raw_server, unused_address
from tests.gateway.servers import CHUNKS, Upstream, make_card


def served_by(result: tuple[UpstreamResponse, bytes]) -> str:
    return result[0].card.id


def test_only_the_model_is_replaced_in_the_body(upstream: Upstream) -> None:
    body = {**BODY, "seed": 2**70, "temperature": 1.0, "vendor": {"deep": [None, 1e-9, "é\x00"]}}
    call(make_card("a", upstream.url), body=body)
    assert upstream.seen[0].body == {**body, "model": "ok"}


def test_half_a_surrogate_pair_reaches_the_upstream(upstream: Upstream) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "cut \ud83d"}]}
    call(make_card("a", upstream.url), body=body)
    assert upstream.seen[0].body["messages"] == body["messages"]


@pytest.mark.parametrize("field", ["api_base", "base_url", "api_key", "route"])
def test_a_field_that_would_redirect_the_call_is_not_forwarded(upstream: Upstream, field: str) -> None:
    call(make_card("a", upstream.url), body={**BODY, field: "http://evil.example"})
    assert field not in upstream.seen[0].body


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(upstream: Upstream, status: int) -> None:
    target = f"{upstream.url}/v1/chat/completions"
    answer = f"HTTP/1.1 {status} Moved\r\nlocation: {target}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    with raw_server(answer.encode()) as url, contextlib.suppress(UpstreamError):
        response, _ = call(make_card("a", url, api_key_env="OPENAI_API_KEY"))
        assert response.status >= 400
    assert upstream.seen == []


def test_the_gateways_flags_are_removed_from_the_metadata(upstream: Upstream) -> None:
    call(make_card("a", upstream.url), body={**BODY, "metadata": {"route_flags": "cheapest", "team": "x"}})
    call(make_card("a", upstream.url), body={**BODY, "metadata": {"route_flags": "cheapest"}})
    assert [seen.body.get("metadata") for seen in upstream.seen] == [{"team": "x"}, None]


def test_the_upstream_receives_its_key_and_none_of_the_clients_credentials(upstream: Upstream) -> None:
    client = {"authorization": "Bearer client", "x-api-key": "client", "cookie": "a=b", "anthropic-beta": "x"}
    call(make_card("a", upstream.url, api_key_env="OPENAI_API_KEY"), headers=client)
    sent = upstream.seen[0].headers
    assert sent["authorization"] == "Bearer sk-gateway-secret"
    assert sent["anthropic-beta"] == "x"
    assert {"x-api-key", "cookie"}.isdisjoint(sent)


def test_no_authorization_is_sent_where_there_is_no_key(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    call(make_card("a", upstream.url, api_key_env="OPENAI_API_KEY"), headers={"authorization": "Bearer client"})
    assert "authorization" not in upstream.seen[0].headers


def test_a_providers_default_key_is_not_sent_to_another_host(upstream: Upstream) -> None:
    call(make_card("a", upstream.url))
    assert "authorization" not in upstream.seen[0].headers


def keys_sent(upstream: Upstream, *requests: Sequence[Card]) -> list[str]:
    """The idempotency keys of all calls that these requests of one client's key have caused."""
    for cards in requests:
        call(*cards, headers={"idempotency-key": "k"})
    return [seen.headers["idempotency-key"] for seen in upstream.seen]


def test_a_fallback_has_another_idempotency_key_than_the_card_before_it(upstream: Upstream) -> None:
    # Both at one account, which would refuse a key that it knows with another body.
    cards = make_card("a", upstream.url, "status-500"), make_card("b", upstream.url)
    first, second = keys_sent(upstream, cards)
    assert first != second


def test_a_card_is_recognised_by_its_idempotency_key_when_the_client_repeats_its_request(upstream: Upstream) -> None:
    cards = make_card("a", upstream.url, "status-500"), make_card("b", upstream.url)
    first, second, *again = keys_sent(upstream, cards, cards)
    assert again == [first, second]


def test_two_cards_of_the_same_model_have_two_idempotency_keys(upstream: Upstream) -> None:
    first, second = keys_sent(upstream, [make_card("a", upstream.url)], [make_card("b", upstream.url)])
    assert first != second


@pytest.mark.parametrize("base", ["", "/", "/v1", "/v1/"])
def test_an_ollama_url_works_with_and_without_its_path(upstream: Upstream, base: str) -> None:
    response, _ = call(make_card("a", "", provider="ollama", base_url=upstream.url + base))
    assert response.status == 200


def test_a_stream_is_passed_on_byte_for_byte(upstream: Upstream) -> None:
    response, received = call(make_card("a", upstream.url), body={**BODY, "stream": True}, stream=True)
    assert isinstance(response.body, EventStream)
    assert received == b"".join(CHUNKS)


def test_only_harmless_headers_are_passed_back(upstream: Upstream) -> None:
    upstream.error_headers = {
        "retry-after": "3",
        "retry-after-ms": "3000",
        "x-should-retry": "true",
        "x-key": "k",
    }
    response, _ = call(make_card("a", upstream.url, "status-429"))
    assert response.headers == {
        "content-type": "application/json",
        "retry-after": "3",
        "retry-after-ms": "3000",
        "x-should-retry": "true",
    }
    assert set(call(make_card("a", upstream.url))[0].headers) == {"content-type"}


@pytest.mark.parametrize("status", [302, 401, 402, 403, 404, 408, 409, 429, 500, 502, 503, 529])
def test_a_failure_of_the_upstream_falls_back_to_the_next_card(upstream: Upstream, status: int) -> None:
    result = call(make_card("a", upstream.url, f"status-{status}"), make_card("b", upstream.url))
    assert served_by(result) == "b"
    assert upstream.models == [f"status-{status}", "ok"]


def test_every_card_receives_the_same_request_once(upstream: Upstream) -> None:
    cards: Sequence[Card] = [make_card(name, upstream.url, "status-500") for name in "abc"]
    call(*cards, body={**BODY, "stream": True, "seed": 1}, stream=True)
    sent = {**BODY, "model": "status-500", "stream": True, "seed": 1, "stream_options": {"include_usage": True}}
    assert [seen.body for seen in upstream.seen] == [sent] * 3


def test_an_unreachable_card_falls_back_to_the_next(upstream: Upstream) -> None:
    assert served_by(call(make_card("a", unused_address()), make_card("b", upstream.url))) == "b"


@pytest.mark.parametrize("model", ["empty", "breaks-at-once"])
def test_a_stream_that_fails_before_its_first_byte_falls_back_to_the_next_card(upstream: Upstream, model: str) -> None:
    cards = make_card("a", upstream.url, model), make_card("b", upstream.url)
    assert served_by(call(*cards, body={**BODY, "stream": True}, stream=True)) == "b"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("line", ["999 X", "600 X", "099 X", "000 X", "101 Switching Protocols"])
def test_an_invalid_http_status_falls_back_to_the_next_card(upstream: Upstream, line: str, stream: bool) -> None:
    with raw_server(f"HTTP/1.1 {line}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()) as odd:
        result = call(make_card("a", odd), make_card("b", upstream.url), body={**BODY, "stream": stream}, stream=stream)
        assert served_by(result) == "b"
        with pytest.raises(UpstreamError) as caught:
            call(make_card("a", odd), stream=stream)
    assert caught.value.status == 502


@pytest.mark.parametrize(
    "page", [b"", b"<html></html>", b"null", b"[]", b'{"choices": [', b'{"id": "\xff"}', b'{"a":' * 100_000]
)
def test_a_response_that_is_not_a_json_object_falls_back_to_the_next_card(upstream: Upstream, page: bytes) -> None:
    upstream.error = page
    assert served_by(call(make_card("a", upstream.url, "status-200"), make_card("b", upstream.url))) == "b"


def test_an_empty_response_falls_back_to_the_next_card(upstream: Upstream) -> None:
    with raw_server(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n") as silent:
        assert served_by(call(make_card("a", silent), make_card("b", upstream.url))) == "b"


@pytest.mark.parametrize("type_", ["text/html", "application/json", ""])
def test_a_stream_of_another_content_type_falls_back_to_the_next_card(upstream: Upstream, type_: str) -> None:
    upstream.error, upstream.error_headers = {"choices": []}, {"content-type": type_}
    cards = make_card("a", upstream.url, "status-200"), make_card("b", upstream.url)
    assert served_by(call(*cards, body={**BODY, "stream": True}, stream=True)) == "b"


@pytest.mark.parametrize("body", [b' {"a":"cut \\ud83d", "b":1.0}\n', b'{"logprob": -Infinity}', '{"é": 1}'.encode()])
def test_an_unusual_but_valid_response_is_passed_on_byte_for_byte(upstream: Upstream, body: bytes) -> None:
    upstream.error = body
    assert call(make_card("a", upstream.url, "status-200"))[1] == body


def test_the_last_http_response_is_returned_rather_than_a_failed_connection(upstream: Upstream) -> None:
    cards = make_card("a", upstream.url, "status-429"), make_card("b", unused_address())
    assert call(*cards)[0].status == 429


def test_a_failed_connection_is_a_502_without_the_address() -> None:
    address = unused_address()
    with pytest.raises(UpstreamError) as caught:
        call(make_card("a", address))
    assert caught.value.status == 502
    assert str(caught.value) == 'no connection to the upstream of the card "a"'


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "closed the connection before the answer was complete"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", "closed the connection before the answer was complete"),
        (b"SSH-2.0-OpenSSH\r\n", "sent an answer that is no valid HTTP"),
    ],
)
def test_a_client_learns_how_an_upstream_that_was_reached_has_failed(answer: bytes, problem: str) -> None:
    with raw_server(answer) as url, pytest.raises(UpstreamError) as caught:
        call(make_card("a", url))
    assert (caught.value.status, str(caught.value)) == (502, f'the upstream of the card "a" {problem}')


def test_a_call_that_fails_in_the_gateway_is_not_blamed_on_the_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-gateway\nsecret")
    with pytest.raises(UpstreamError, match="failed in the gateway"):
        call(make_card("a", unused_address(), api_key_env="OPENAI_API_KEY"))


def reason_logged(url: str, caplog: pytest.LogCaptureFixture) -> str:
    """What the operator's log says of a card that is called in vain; the client reads nothing of that."""
    with caplog.at_level(logging.WARNING), pytest.raises(UpstreamError) as caught:
        call(make_card("a", url, api_key_env="OPENAI_API_KEY"))
    reason = next(text.removeprefix("a: ") for text in caplog.messages if text.startswith("a: "))
    assert reason not in str(caught.value)
    return reason


def test_the_log_says_that_a_port_refuses_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    assert "Connect call failed" in reason_logged(unused_address(), caplog)


def test_the_log_says_that_a_name_cannot_be_found(caplog: pytest.LogCaptureFixture) -> None:
    assert reason_logged("http://no-such-name.invalid/v1", caplog).startswith(
        "ConnectError: the name cannot be found: "
    )


def test_the_log_says_that_a_server_does_not_speak_tls(caplog: pytest.LogCaptureFixture) -> None:
    with raw_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        assert "SSL" in reason_logged(url.replace("http", "https"), caplog)


def test_the_log_says_that_a_header_cannot_be_sent_and_not_which_secret_it_has(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-gateway\nsecret")
    reason = reason_logged(unused_address(), caplog)
    assert reason == "ValueError: a header has a line break or a null character"


def test_an_upstream_that_does_not_respond_in_time_is_a_504(upstream: Upstream) -> None:
    with pytest.raises(UpstreamError) as caught:
        call(make_card("a", upstream.url, "hang"), timeouts=Timeouts(total_s=0.1))
    assert caught.value.status == 504
    assert upstream.left.wait(2)


def test_a_stream_that_pauses_too_long_is_a_504(upstream: Upstream) -> None:
    with pytest.raises(UpstreamError) as caught:
        call(
            make_card("a", upstream.url, "quiet"),
            body={**BODY, "stream": True},
            stream=True,
            timeouts=Timeouts(idle_s=0.1),
        )
    assert caught.value.status == 504
    assert upstream.left.wait(2)


def test_a_stream_that_is_closed_unread_ends_the_upstream_call(upstream: Upstream) -> None:
    async def main() -> None:
        dispatcher = Dispatcher()
        response = await dispatcher.send(
            make_card("a", upstream.url, "quiet"), Call("chat", {**BODY, "stream": True}, stream=True)
        )
        assert isinstance(response.body, EventStream)
        await response.body.aclose()
        assert await asyncio.to_thread(upstream.left.wait, 2)
        await dispatcher.aclose()

    asyncio.run(main())


def test_an_error_contains_neither_the_key_nor_the_address(upstream: Upstream) -> None:
    upstream.error = {"error": {"message": f"sk-gateway-secret at {upstream.url}/v1/chat"}}
    _, body = call(make_card("a", upstream.url, "status-400", api_key_env="OPENAI_API_KEY"))
    assert body == b'{"error": {"message": "[hidden] at [hidden]/chat"}}'


def test_an_error_contains_no_variable_of_the_cards_headers(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORP_TOKEN", "corp-secret-token")
    upstream.error = {"error": {"message": "you sent Bearer corp-secret-token from search"}}
    headers = {"x-token": "Bearer ${CORP_TOKEN}", "x-team": "search"}
    _, body = call(make_card("a", upstream.url, "status-400", headers=headers))
    assert body == b'{"error": {"message": "you sent Bearer [hidden] from search"}}'


@pytest.mark.parametrize("status", [401, 403])
def test_an_upstreams_message_about_the_gateways_credentials_is_hidden(upstream: Upstream, status: int) -> None:
    upstream.error = {"error": {"message": "Incorrect API key provided: sk-ga***cret"}}
    assert call(make_card("a", upstream.url, f"status-{status}"))[1] == b""


def test_an_invalid_base_url_is_an_upstream_error() -> None:
    with pytest.raises(UpstreamError, match='the base_url of the card "a" is not a valid URL'):
        call(make_card("a", "", base_url="http://a..é/v1"))


def test_what_has_arrived_before_a_stream_breaks_is_passed_on_although_it_was_not_read_yet() -> None:
    async def main() -> tuple[bytes, int]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            for chunk in CHUNKS[:2]:
                writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.1)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        card = make_card("a", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        dispatcher = Dispatcher()
        response = await dispatcher.send_first_healthy([card], Call("chat", {**BODY, "stream": True}, stream=True))
        assert isinstance(response.body, EventStream)
        # The second chunk and the end of the connection arrive meanwhile.
        await asyncio.sleep(0.5)
        received = b""
        with contextlib.suppress(UpstreamError):
            async for piece in response.body:
                received += piece
        delivered = response.body.delivered.tokens
        await response.body.aclose()
        await dispatcher.aclose()
        server.close()
        return received, delivered

    received, delivered = asyncio.run(main())
    assert b'"content":"Hel"' in received
    assert b'"content":"lo"' in received
    assert delivered == 2
