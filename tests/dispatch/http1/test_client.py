"""Connections: kept, repeated, refused, closed; on servers that send exactly the bytes of a test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohappyeyeballs
import pytest
from yarl import URL

from router.dispatch.http1 import (
    BrokenError,
    Client,
    ConnectError,
    ConnectTimeoutError,
    ProtocolError,
    names,
    pool,
    target_of,
)
from router.dispatch.http1.connection import MAX_BUFFERED_BYTES
from router.dispatch.http1.names import Names
from tests.dispatch.http1.servers import OK, Peer, Server, a_client, get, post, run_on, server, whole

Behaviour = Callable[[Peer], Awaitable[None]]


Run = Callable[[Behaviour, Callable[[Client, Server], Awaitable[Any]]], Any]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a test on each kind of loop, with a client and a server that behaves in some way."""
    return lambda behave, test: run_on(request.param, _with_server(behave, test))


async def _with_server(behave: Behaviour, test: Callable[[Client, Server], Awaitable[Any]]) -> Any:
    async with server(behave) as running, a_client() as client, asyncio.timeout(20):
        return await test(client, running)


async def answer_all(peer: Peer) -> None:
    await peer.answer_all()


def test_a_request_has_its_host_headers_length_and_body(run: Run) -> None:
    seen: list[bytes] = []

    async def behave(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.send(OK)

    async def test(client: Client, running: Server) -> None:
        answer = await client.send("POST", running.target(), {"x-a": "b"}, b"{}", connect_s=5)
        assert await whole(answer) == b"ok"
        assert seen[0].decode() == (
            f"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:{running.url.port}\r\nx-a: b\r\ncontent-length: 2\r\n\r\n{{}}"
        )

    run(behave, test)


@pytest.mark.parametrize(
    ("method", "body", "line"),
    [("GET", b"", ""), ("DELETE", b"", "content-length: 0\r\n"), ("POST", b"", "content-length: 0\r\n")],
)
def test_a_request_without_body_states_its_length_where_its_method_may_have_one(
    run: Run, method: str, body: bytes, line: str
) -> None:
    seen: list[bytes] = []

    async def behave(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.send(OK)

    async def test(client: Client, running: Server) -> None:
        await whole(await client.send(method, running.target(), {}, body, connect_s=5))
        assert seen[0].decode() == f"{method} /v1/x HTTP/1.1\r\nhost: 127.0.0.1:{running.url.port}\r\n{line}\r\n"

    run(behave, test)


@pytest.mark.parametrize("value", ["a\r\nx-b: c", "a\nb", "a\rb", "a\0b"])
def test_a_header_that_would_be_two_is_not_sent(run: Run, value: str) -> None:
    async def test(client: Client, running: Server) -> None:
        with pytest.raises(ValueError, match="line break"):
            await client.send("POST", running.target(), {"x-a": value}, b"", connect_s=5)
        assert running.connections == 0

    run(answer_all, test)


@pytest.mark.parametrize("path", ["/v1/x\r\nx-b: c", "/v1/x y", "/v1/\0"])
def test_a_path_that_would_end_the_first_line_is_not_sent(path: str) -> None:
    url = URL("http://model.test/v1").with_path(path, encoded=True)
    with pytest.raises(ValueError, match="not encoded"):
        target_of(url)


def test_one_request_after_another_uses_one_connection(run: Run) -> None:
    async def test(client: Client, running: Server) -> None:
        for _ in range(5):
            assert await post(client, running.target()) == (200, b"ok")
        assert running.connections == 1

    run(answer_all, test)


def test_requests_at_once_have_a_connection_each_and_keep_them(run: Run) -> None:
    async def test(client: Client, running: Server) -> None:
        for _ in range(3):
            assert await asyncio.gather(*(post(client, running.target()) for _ in range(8))) == [(200, b"ok")] * 8
        assert running.connections == 8

    run(answer_all, test)


def test_a_request_alone_says_so_and_its_connection_is_closed(run: Run) -> None:
    seen: list[bytes] = []

    async def behave(peer: Peer) -> None:
        while request := await peer.request():
            seen.append(request)
            await peer.send(OK)

    async def test(client: Client, running: Server) -> None:
        await post(client, running.target())
        await post(client, running.target(), is_alone=True)
        await running.closed.wait()
        await post(client, running.target())
        assert running.connections == 2
        assert [b"connection: close" in request for request in seen] == [False, True, False]

    run(behave, test)


def test_a_connection_that_waits_too_long_is_closed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE_S", 0.02)

    async def test(client: Client, running: Server) -> None:
        await post(client, running.target())
        await running.closed.wait()
        await post(client, running.target())
        assert running.connections == 2

    run(answer_all, test)


def test_no_more_connections_wait_than_the_limit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_IDLE", 2)

    async def test(client: Client, running: Server) -> None:
        await asyncio.gather(*(post(client, running.target()) for _ in range(5)))
        await asyncio.gather(*(post(client, running.target()) for _ in range(2)))
        assert running.connections == 5
        await asyncio.gather(*(post(client, running.target()) for _ in range(3)))
        assert running.connections == 6

    run(answer_all, test)


async def answer_once(peer: Peer) -> None:
    """Answer the first request of a connection, and drop it at the second."""
    await peer.request()
    await peer.send(OK)
    await peer.request()


@pytest.mark.parametrize(("method", "is_repeated"), [("GET", True), ("DELETE", True), ("POST", False)])
def test_a_dead_kept_connection_is_replaced_where_the_method_allows_it(
    run: Run, method: str, is_repeated: bool
) -> None:
    async def test(client: Client, running: Server) -> None:
        await get(client, running.target())
        sending = client.send(method, running.target(), {}, connect_s=5)
        if is_repeated:
            assert await whole(await sending) == b"ok"
        else:
            with pytest.raises(BrokenError):
                await sending
        assert running.connections == (2 if is_repeated else 1)

    run(answer_once, test)


def test_a_request_is_not_repeated_once_something_of_its_answer_came(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await peer.send(b"HTTP/1.1 2")

    async def test(client: Client, running: Server) -> None:
        await get(client, running.target())
        with pytest.raises(BrokenError):
            await get(client, running.target())
        assert running.connections == 1

    run(behave, test)


def test_a_new_connection_that_dies_is_not_repeated(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()

    async def test(client: Client, running: Server) -> None:
        with pytest.raises(BrokenError):
            await get(client, running.target())
        assert running.connections == 1

    run(behave, test)


@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"garbage"])
@pytest.mark.parametrize("is_later", [False, True], ids=["at-once", "later"])
def test_what_a_server_sends_unasked_answers_no_request(run: Run, extra: bytes, is_later: bool) -> None:
    gone = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.request()
        if is_later:
            await peer.send(OK)
            # The client has read the answer before the rest comes.
            await answered.wait()
            await peer.send(extra)
        else:
            await peer.send(OK + extra)
        assert await peer.request() == b""
        gone.set()

    async def test(client: Client, running: Server) -> None:
        assert await post(client, running.target()) == (200, b"ok")
        answered.set()
        await gone.wait()
        second = asyncio.ensure_future(post(client, running.target()))
        assert await second == (200, b"ok")
        assert running.connections == 2

    answered = asyncio.Event()
    run(behave, test)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nset-cookie: a=\r\n b\r\ncontent-length: 2\r\n\r\nok",
        b"hello\r\n",
    ],
)
def test_an_answer_that_is_unclear_ends_the_connection(run: Run, raw: bytes) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(raw)
        assert await peer.request() == b""

    async def test(client: Client, running: Server) -> None:
        with pytest.raises(ProtocolError):
            await post(client, running.target())
        await running.closed.wait()

    run(behave, test)


def test_what_has_arrived_is_read_before_the_failure(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")

    async def test(client: Client, running: Server) -> None:
        answer = await client.send("POST", running.target(), {}, connect_s=5)
        assert await answer.read() == b"abc"
        for _ in range(2):
            with pytest.raises(ProtocolError):
                await answer.read()

    run(behave, test)


def test_the_body_lasts_until_the_connection_ends_where_it_has_no_length(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nfirst ")
        await peer.send(b"last")

    async def test(client: Client, running: Server) -> None:
        assert await post(client, running.target()) == (200, b"first last")
        assert await post(client, running.target()) == (200, b"first last")
        assert running.connections == 2

    run(behave, test)


def test_the_answer_to_head_ends_with_its_head(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")

    async def test(client: Client, running: Server) -> None:
        answer = await client.send("HEAD", running.target(), {}, connect_s=5)
        assert (answer.length, await whole(answer)) == (100, b"")

    run(behave, test)


def test_a_caller_that_does_not_read_stops_the_server(run: Run) -> None:
    size = 64 * MAX_BUFFERED_BYTES
    sent = 0

    async def behave(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while sent < size:
            await peer.send(b"x" * MAX_BUFFERED_BYTES)
            sent += MAX_BUFFERED_BYTES
        await peer.answer_all()

    async def test(client: Client, running: Server) -> None:
        answer = await client.send("POST", running.target(), {}, connect_s=5)
        before = -1
        # The sockets' buffers take some, too.
        while before != sent or not sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < size
        assert answer.buffered_bytes <= 4 * MAX_BUFFERED_BYTES
        assert len(await whole(answer)) == size
        assert await post(client, running.target()) == (200, b"ok")
        assert running.connections == 1

    run(behave, test)


def test_a_large_request_is_sent_whole_to_a_server_that_reads_slowly(run: Run) -> None:
    body = bytes(range(256)) * 32768
    seen: list[bytes] = []

    async def behave(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        got = b""
        while len(got) < len(body):
            got += await peer.reader.read(100_000)
            await asyncio.sleep(0)
        seen.append(got)
        await peer.send(OK)
        await peer.answer_all()

    async def test(client: Client, running: Server) -> None:
        assert await post(client, running.target(), body) == (200, b"ok")
        assert seen == [body]
        assert await post(client, running.target()) == (200, b"ok")
        assert running.connections == 1

    run(behave, test)


def test_a_server_that_answers_before_it_has_read_is_heard_and_its_connection_not_used_again(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Large\r\ncontent-length: 3\r\n\r\nbig")
        # It reads no more, and the client stops to send.
        with contextlib.suppress(ConnectionError):
            while await peer.reader.read(1_000_000):
                pass

    async def test(client: Client, running: Server) -> None:
        assert await post(client, running.target(), b"x" * 50_000_000) == (413, b"big")
        await running.closed.wait()
        assert await post(client, running.target(), b"x" * 50_000_000) == (413, b"big")
        assert running.connections == 2

    run(behave, test)


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"], ids=["head", "body"])
def test_a_call_that_is_cancelled_or_closed_ends_its_connection(run: Run, part: bytes) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(part)
        assert await peer.request() == b""

    async def test(client: Client, running: Server) -> None:
        if part:
            answer = await client.send("POST", running.target(), {}, connect_s=5)
            assert await answer.read() == b"ok"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await answer.read()
            answer.close()
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.send("POST", running.target(), {}, connect_s=5)
        await running.closed.wait()

    run(behave, test)


def test_closing_the_client_ends_running_calls(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        assert await peer.request() == b""

    async def test(client: Client, running: Server) -> None:
        sending = asyncio.ensure_future(post(client, running.target()))
        while not running.connections:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        await client.aclose()
        with pytest.raises(BrokenError):
            await sending
        await running.closed.wait()

    run(behave, test)


def test_a_port_where_nothing_listens_is_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    async def main() -> None:
        async with a_client() as client:
            with pytest.raises(ConnectError) as failure:
                await post(client, target_of(URL(f"http://127.0.0.1:{port}/")))
            assert failure.value.errno is not None

    asyncio.run(main())


def test_a_name_without_address_is_no_connection() -> None:
    async def main() -> None:
        async with a_client() as client:
            for host in ("no-such-name.invalid", "a" * 64 + ".invalid"):
                with pytest.raises(ConnectError):
                    await post(client, target_of(URL(f"http://{host}/")))

    asyncio.run(main())


def test_a_connection_that_does_not_come_about_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", never)

    async def main() -> None:
        async with a_client() as client:
            with pytest.raises(ConnectTimeoutError):
                await client.send("GET", target_of(URL("http://127.0.0.1:9/")), {}, connect_s=0.02)

    asyncio.run(main())


class Resolver:
    """Stands in for the name server: every name has these addresses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
        self.asked = 0

        async def resolved(_: str, port: int) -> list[tuple[Any, ...]]:
            self.asked += 1
            await asyncio.sleep(0.01)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

        monkeypatch.setattr(names, "_resolved", resolved)


def test_the_next_address_is_tried_where_one_does_not_respond(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(client: Client, running: Server) -> None:
        Resolver(monkeypatch, "127.0.0.9", "127.0.0.1")
        target = target_of(running.url.with_host("model.test"))
        for _ in range(3):
            assert await post(client, target, is_alone=True) == (200, b"ok")

    run(answer_all, test)


def test_a_name_is_looked_up_once_for_calls_at_once_and_its_addresses_take_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolver = Resolver(monkeypatch, "127.0.0.1", "127.0.0.2")

    async def main() -> None:
        known = Names()
        found = await asyncio.gather(*(known.addresses("model.test", 80) for _ in range(4)))
        assert resolver.asked == 1
        assert [each[0][4][0] for each in found] == ["127.0.0.1", "127.0.0.2"] * 2
        assert all(len(each) == 2 for each in found)
        asked = asyncio.ensure_future(known.addresses("other.test", 80))
        waits = asyncio.ensure_future(known.addresses("other.test", 80))
        await asyncio.sleep(0)
        asked.cancel()
        assert len(await waits) == 2
        assert resolver.asked == 2

    asyncio.run(main())


def test_a_name_that_is_forgotten_at_once_for_another_one_has_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    Resolver(monkeypatch, "127.0.0.1")
    monkeypatch.setattr(names, "_MAX_NAMES", 1)

    async def main() -> None:
        known = Names()
        found = await asyncio.gather(*(known.addresses(f"{name}.test", 80) for name in "abc"))
        assert [len(each) for each in found] == [1, 1, 1]

    asyncio.run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_is_not_looked_up(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    resolver = Resolver(monkeypatch, "127.0.0.2")
    assert asyncio.run(Names().addresses(host, 80))[0][4][:2] == (host, 80)
    assert resolver.asked == 0
