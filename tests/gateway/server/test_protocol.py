"""What a connection may do before its key is known, by raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.formats.quantities import ByteCount, Seconds
from router.gateway.config.connections import ConnectionLimits
from router.gateway.http.client.address import TrustedProxies
from router.gateway.server.connections import Connections
from router.gateway.server.http.protocol import HttpProtocol
from tests.gateway.servers import served, wait_for

KIB = 2**10
GET = b"GET /echo HTTP/1.1\r\nhost: x\r\n\r\n"


class Echo:
    """An application that answers with what reached it. `/refuse` does not read the body, `/slow` takes its time."""

    def __init__(self) -> None:
        self.left = threading.Event()
        self.begun = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        body, path = b"", scope["path"]
        while path != "/refuse":
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.begun.set()
        if path == "/slow":
            await self._wait(receive)
        if path == "/breaks":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise RuntimeError("the upstream broke off")
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
        answer = json.dumps({"headers": headers, "body": body.decode("latin-1")}).encode()
        if path == "/big":
            answer = b" " * 8_000_000
        start = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 401 if path == "/refuse" else 200, "headers": start})
        await send({"type": "http.response.body", "body": answer})

    async def _wait(self, receive: Any) -> None:
        watch = asyncio.ensure_future(receive())
        done, _ = await asyncio.wait([watch], timeout=1.5)
        if done:
            self.left.set()
        watch.cancel()


@contextlib.contextmanager
def echoing(
    app: Echo | None = None,
    is_trusted: Callable[[str], bool] = lambda _: False,
    max_unread: int = 256 * KIB,
    **limits: Any,
) -> Iterator[tuple[int, Connections]]:
    """The port of a server with these limits."""
    chosen = ConnectionLimits(**limits)
    connections = Connections(lambda: chosen, max_unread=max_unread, is_trusted=is_trusted)
    with served(app or Echo(), connections) as url:
        port = urlsplit(url).port
        assert port is not None
        yield port, connections


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 10)


def read_all(connection: socket.socket) -> bytes:
    """What arrives up to the end of the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return received


def exchange(port: int, data: bytes) -> bytes:
    """The response to `data`, up to the end of the connection."""
    with connect(port) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        return read_all(connection)


def status(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


def is_served(port: int) -> bool:
    return httpx.get(f"http://127.0.0.1:{port}/echo", trust_env=False, timeout=10).status_code == 200


HOST = b"host: x\r\n"
CLOSE = b"connection: close\r\n"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST + b"x-a: a\r\n" * 300 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"x-a: " + b"a" * 80 * KIB + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"x-" + b"a" * 80 * KIB + b": a\r\n\r\n", 431),
        (b"GET /" + b"a" * 80 * KIB + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /echo?" + b"a" * 80 * KIB, 414),
        (b"\r\n" * 80 * KIB, 431),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"x-api-key: a\r\nX-Api-Key: b\r\n\r\n", 400),
        (b"CONNECT x:1 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET http://x HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (
            b"POST / HTTP/1.1\r\n"
            + HOST
            + b"connection: upgrade\r\nupgrade: h2c\r\ntransfer-encoding: chunked\r\n\r\n",
            400,
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)
def test_a_head_that_is_invalid_or_too_large_is_refused_and_the_connection_closed(head: bytes, expected: int) -> None:
    with echoing() as (port, connections):
        assert status(exchange(port, head)) == expected
        assert connections.invalid_heads == 1
        assert is_served(port)


def test_the_limits_of_a_head_are_exact() -> None:
    with echoing(head_bytes=ByteCount(8 * KIB), headers=50) as (port, _):
        start = b"GET /echo HTTP/1.1\r\n" + HOST + CLOSE + b"x-a: "
        room = 8 * KIB - len(start) - 4
        assert status(exchange(port, start + b"a" * room + b"\r\n\r\n")) == 200
        assert status(exchange(port, start + b"a" * (room + 1) + b"\r\n\r\n")) == 431
        assert status(exchange(port, start + b"a\r\n" + b"b: c\r\n" * 47 + b"\r\n")) == 200
        assert status(exchange(port, start + b"a\r\n" + b"b: c\r\n" * 48 + b"\r\n")) == 431


def test_a_body_is_not_counted_as_a_head() -> None:
    with echoing(head_bytes=ByteCount(8 * KIB)) as (port, _):
        for body in (b"b" * 300 * KIB, b"b" * 9 * KIB):
            length = b"content-length: %d\r\n\r\n" % len(body)
            answer = exchange(port, b"POST /echo HTTP/1.1\r\n" + HOST + CLOSE + length + body)
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["body"] == body.decode()


def test_a_head_that_does_not_end_is_answered_and_closed() -> None:
    with echoing(head_s=Seconds(1)) as (port, _):
        assert status(exchange(port, b"GET /echo HTTP/1.1\r\nhost: x\r\n")) == 408


def test_a_head_that_trickles_in_is_closed_all_the_same() -> None:
    with echoing(head_s=Seconds(1)) as (port, _), connect(port) as connection:
        connection.sendall(b"GET /echo HTTP/1.1\r\n")
        connection.settimeout(0.1)
        response = b""
        while not response:
            connection.sendall(b"a: b\r\n")
            with contextlib.suppress(TimeoutError):
                response = connection.recv(4096)
        assert status(response) == 408


def test_a_connection_that_sends_nothing_is_closed() -> None:
    with echoing(head_s=Seconds(1)) as (port, _), connect(port) as connection:
        assert read_all(connection) == b""


def test_an_idle_connection_is_closed_and_one_in_use_is_not() -> None:
    with echoing(idle_s=Seconds(1)) as (port, _), connect(port) as connection:
        connection.sendall(GET)
        assert read_all(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("pieces", [1, 2], ids=["in one read", "later"])
def test_trailers_are_not_headers(pieces: int) -> None:
    head = b"POST /echo HTTP/1.1\r\n" + HOST + CLOSE + b"transfer-encoding: chunked\r\ntrailer: authorization\r\n\r\n"
    rest = b"2\r\nhi\r\n0\r\nAuthorization: Bearer a\r\nx-route-flags: cheap\r\n\r\n"
    with echoing() as (port, _), connect(port) as connection:
        if pieces == 1:
            connection.sendall(head + rest)
        else:
            connection.sendall(head)
            connection.sendall(rest)
        answer = json.loads(read_all(connection).partition(b"\r\n\r\n")[2])
    assert answer["body"] == "hi"
    assert [name for name, _ in answer["headers"]] == ["host", "connection", "transfer-encoding", "trailer"]


@pytest.mark.parametrize("after", [b"0\r\nx-a: " + b"a" * 200 * KIB, b"2;" + b"a" * 200 * KIB])
def test_trailers_and_chunk_extensions_are_bounded(after: bytes) -> None:
    head = b"POST /echo HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n"
    with echoing() as (port, _):
        assert status(exchange(port, head + after)) == 400


def test_after_a_refusal_a_body_is_read_up_to_a_limit_only() -> None:
    with echoing() as (port, _), connect(port) as connection:
        connection.sendall(b"POST /refuse HTTP/1.1\r\n" + HOST + b"content-length: 1000000000\r\n\r\n")
        with pytest.raises(ConnectionError):
            connection.sendall(b"b" * 50_000_000)


def test_after_a_refusal_a_short_body_leaves_the_connection_open() -> None:
    with echoing() as (port, _), connect(port) as connection:
        connection.sendall(b"POST /refuse HTTP/1.1\r\n" + HOST + b"content-length: 100000\r\n\r\n")
        refused = b""
        while not refused.endswith(b"}"):
            refused += connection.recv(65536)
        assert status(refused) == 401
        connection.sendall(b"b" * 100_000 + b"GET /echo HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n")
        assert status(read_all(connection)) == 200


def test_a_response_that_ends_the_connection_is_received_although_the_client_is_still_sending() -> None:
    with echoing(max_unread=8 * KIB * KIB) as (port, _):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/refuse", data=b"b" * 3 * KIB * KIB)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(10):
            with pytest.raises(urllib.error.HTTPError) as refused:
                direct.open(request, timeout=10)
            with refused.value as answer:
                assert answer.code == 401


@pytest.mark.parametrize("start", [b"HTTP/1.0\r\n", b"HTTP/1.1\r\n" + CLOSE], ids=["HTTP/1.0", "close"])
def test_a_body_that_arrives_after_the_last_response_does_not_reset_the_connection(start: bytes) -> None:
    piece = b"b" * 100_000
    with echoing() as (port, _), connect(port) as connection:
        connection.sendall(b"POST /refuse " + start + HOST + b"content-length: 200000\r\n\r\n" + piece)
        assert status(read_all(connection)) == 401
        connection.sendall(piece[:50_000])
        connection.sendall(piece[50_000:])


def test_after_the_last_response_a_body_is_read_up_to_a_limit_only() -> None:
    with echoing() as (port, _), connect(port) as connection:
        connection.sendall(b"POST /refuse HTTP/1.0\r\n" + HOST + b"content-length: 1000000000\r\n\r\n")
        with pytest.raises(ConnectionError):
            connection.sendall(b"b" * 50_000_000)


@pytest.mark.parametrize("start", [b"HTTP/1.0\r\n", b"HTTP/1.1\r\n" + CLOSE], ids=["HTTP/1.0", "close"])
def test_the_last_response_to_a_whole_request_closes_the_connection_at_once(start: bytes) -> None:
    with echoing() as (port, connections), connect(port) as connection:
        connection.sendall(b"GET /echo " + start + HOST + b"\r\n")
        assert status(read_all(connection)) == 200
        assert wait_for(lambda: connections.count == 0)


def test_a_client_that_closes_its_side_gets_its_response() -> None:
    with echoing() as (port, _):
        for path in (b"/echo", b"/slow"):
            with connect(port) as connection:
                connection.sendall(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
                connection.shutdown(socket.SHUT_WR)
                assert b"HTTP/1.1 200" in read_all(connection)


def test_a_client_that_closes_its_side_behind_a_request_without_its_body_gets_the_response_before_it() -> None:
    with echoing() as (port, _), connect(port) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n")
        connection.sendall(b"POST /echo HTTP/1.1\r\n" + HOST + b"content-length: 9\r\n\r\nabc")
        connection.shutdown(socket.SHUT_WR)
        answers = read_all(connection)
        assert answers.count(b"HTTP/1.1 200") == 1
        assert answers.endswith(b"}")


def test_no_interim_response_gets_into_the_response_of_the_request_before() -> None:
    with echoing() as (port, _), connect(port) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n" + b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n")
        connection.shutdown(socket.SHUT_WR)
        first, second = (part for part in read_all(connection).split(b"HTTP/1.1 200")[1:])
        assert b"100 Continue" not in first.partition(b"\r\n\r\n")[2].removesuffix(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert second.endswith(b"}")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_response_that_breaks_off_does_not_look_whole(version: bytes) -> None:
    with echoing() as (port, _), connect(port) as connection:
        connection.sendall(b"GET /breaks HTTP/" + version + b"\r\n" + HOST + b"\r\n")
        if version == b"1.0":
            with pytest.raises(ConnectionResetError):
                list(iter(lambda: connection.recv(65536), b""))
        else:
            assert not read_all(connection).endswith(b"0\r\n\r\n")


def test_a_client_of_http_1_0_gets_no_interim_response() -> None:
    with echoing() as (port, _), connect(port) as connection:
        connection.sendall(b"POST /echo HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        connection.sendall(b"abc")
        assert read_all(connection).startswith(b"HTTP/1.1 200")


def test_a_client_that_has_gone_is_noticed() -> None:
    app = Echo()
    with echoing(app) as (port, _):
        with connect(port) as connection:
            connection.sendall(b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n")
            assert app.begun.wait(5)
        assert app.left.wait(5)


def test_a_request_for_another_protocol_is_answered_in_this_one_with_its_whole_body() -> None:
    upgrade = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    second = b"GET /echo HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n"
    body = b"GET /refuse HTTP/1.1\r\nhost: x\r\n\r\n"
    with echoing() as (port, _):
        head = b"POST /echo HTTP/1.1\r\n" + HOST + upgrade + b"content-length: %d\r\n\r\n" % len(body)
        answer = exchange(port, head + body + second)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert b"GET /refuse" in answer


def test_garbage_after_a_request_does_not_break_its_response() -> None:
    with echoing() as (port, _):
        answer = exchange(port, GET + b"\x00\x01garbage\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1 400") == 1


def test_a_body_that_breaks_off_before_it_was_asked_for_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    head = b"POST /echo HTTP/1.1\r\n" + HOST + b"expect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n"
    with echoing() as (port, _):
        assert status(exchange(port, head + b"zz\r\n")) == 400
    assert "Traceback" not in capfd.readouterr().err


def test_a_client_that_never_reads_is_closed_at_the_end_of_its_time() -> None:
    with echoing(idle_s=Seconds(1)) as (port, connections), connect(port) as connection:
        connection.sendall(b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n")
        assert wait_for(lambda: connections.count == 1)
        assert wait_for(lambda: connections.count == 0, 15)


def test_connections_that_only_wait_make_room_for_those_that_send_requests() -> None:
    with echoing(total=20) as (port, connections), contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(connect(port))
        assert all(is_served(port) for _ in range(10))
        assert connections.count <= 52
        assert connections.evicted >= 80


def test_a_kept_connection_outlasts_those_that_never_sent_a_request() -> None:
    with echoing(total=20) as (port, _), contextlib.ExitStack() as stack, httpx.Client(trust_env=False) as client:
        assert client.get(f"http://127.0.0.1:{port}/echo").is_success
        for _ in range(30):
            stack.enter_context(connect(port))
        assert is_served(port)
        with connect(port) as probe:
            probe.sendall(GET)
            assert status(probe.recv(4096)) == 200


@pytest.mark.parametrize("limit", ["total", "per_address"])
def test_where_all_connections_are_in_use_others_get_503_and_health_checks_an_answer(limit: str) -> None:
    limits: dict[str, Any] = {limit: 2}
    with echoing(**limits) as (port, connections), contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(connect(port)).sendall(
                b"POST /echo HTTP/1.1\r\n" + HOST + b"content-length: 5\r\n\r\nab"
            )
        assert wait_for(lambda: connections.count == 2)
        assert status(exchange(port, GET)) == 503
        assert status(exchange(port, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")) == 200
        assert connections.refused == 1


def test_a_trusted_address_has_no_limit_of_its_own() -> None:
    trusts = TrustedProxies(("127.0.0.0/8",)).trusts
    with echoing(is_trusted=trusts, per_address=1) as (port, connections), contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(connect(port)).sendall(
                b"POST /echo HTTP/1.1\r\n" + HOST + b"content-length: 5\r\n\r\nab"
            )
        assert is_served(port)
        assert connections.refused == 0


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[int]:
    with echoing(head_s=Seconds(1)) as (port, _):
        yield port


TOKENS = st.sampled_from(
    [
        *(b"GET", b"POST", b" ", b"/", b"/echo", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\n", b"\r", b"host: x", b"Host:"),
        *(
            b"content-length: 3",
            b"content-length: -1",
            b"transfer-encoding: chunked",
            b"connection: close",
            b"upgrade: a",
        ),
        *(b"connection: upgrade", b"0\r\n\r\n", b"3\r\nabc\r\n", b"expect: 100-continue", b"abc", b"%2f", b"\0"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TOKENS | st.binary(max_size=8), max_size=25))
def test_any_bytes_get_a_response_of_http_or_the_end_of_the_connection(fuzzed: int, parts: list[bytes]) -> None:
    with connect(fuzzed) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"".join(parts))
            connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection)
    assert not answer or (answer.startswith(b"HTTP/1.1 ") and status(answer) < 500)


def test_many_requests_without_reading_their_responses_are_not_parsed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[int] = []
    begin = HttpProtocol.on_message_begin

    def count(protocol: HttpProtocol) -> None:
        waiting.append(len(protocol.pipeline))
        begin(protocol)

    monkeypatch.setattr(HttpProtocol, "on_message_begin", count)
    requests = 50_000
    with echoing() as (port, _), socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(1)
        # The client stops where nobody takes more.
        with contextlib.suppress(TimeoutError):
            client.sendall(GET * requests)
    assert 0 < len(waiting) < requests
    assert max(waiting) <= 4096 // len(GET) + 1


def test_every_pipelined_request_is_answered_in_its_order() -> None:
    count, body = 1500, b"x" * 3000
    with echoing() as (port, _), socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(20)
        requests = [
            b"POST /echo HTTP/1.1\r\nhost: x\r\nnumber: %d\r\ncontent-length: %d\r\n\r\n" % (number, len(body)) + body
            for number in range(count)
        ]
        sender = threading.Thread(target=client.sendall, args=(b"".join(requests),))
        sender.start()
        with client.makefile("rb") as answers:
            numbers = [_number_of(answers) for _ in range(count)]
        sender.join()
    assert numbers == list(range(count))


def test_the_request_in_progress_learns_that_its_client_has_left_although_others_wait_behind_it() -> None:
    app = Echo()
    with echoing(app) as (port, _):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(GET.replace(b"/echo", b"/slow") + GET + GET)
            assert app.begun.wait(5)
        assert app.left.wait(5)


def _number_of(answers: Any) -> int:
    """The header `number` that the echo of the next response has."""
    length = 0
    while (line := answers.readline()) != b"\r\n":
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    headers = dict(json.loads(answers.read(length))["headers"])
    return int(headers["number"])
