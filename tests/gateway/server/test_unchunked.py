"""Responses to clients of HTTP/1.0."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.gateway.servers import CHUNKS, Upstream, gateway_server, make_card

BODY = {"model": "a", "messages": [{"role": "user", "content": "hi"}]}


def ask(url: str, version: str, stream: bool, connection: str = "close") -> tuple[bytes, bytes]:
    """The head and the body of the response to a raw request, up to the end of the connection."""
    raw = json.dumps({**BODY, "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/{version}\r\nhost: 127.0.0.1\r\nconnection: {connection}\r\n"
    address = urlsplit(url)
    assert address.port is not None
    with socket.create_connection(("127.0.0.1", address.port), 10) as connection_socket:
        connection_socket.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(raw) + raw)
        received = b""
        while piece := connection_socket.recv(65536):
            received += piece
    answer_head, _, body = received.partition(b"\r\n\r\n")
    return answer_head.lower(), body


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_a_stream_of_http_1_0_ends_with_the_connection_and_has_no_chunks(upstream: Upstream, connection: str) -> None:
    with gateway_server(make_card("a", upstream.url)) as url:
        head, body = ask(url, "1.0", stream=True, connection=connection)
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body == b"".join(CHUNKS)


def test_a_whole_response_of_http_1_0_has_its_length(upstream: Upstream) -> None:
    with gateway_server(make_card("a", upstream.url)) as url:
        head, body = ask(url, "1.0", stream=False)
    assert b"content-length: %d" % len(body) in head
    assert json.loads(body)["choices"]


def test_a_stream_of_http_1_1_has_chunks(upstream: Upstream) -> None:
    with gateway_server(make_card("a", upstream.url)) as url:
        head, body = ask(url, "1.1", stream=True)
    assert b"transfer-encoding: chunked" in head
    assert body.endswith(b"0\r\n\r\n")
