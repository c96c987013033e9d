"""A request that arrives, and a response to a client that reads it, slowly, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from router.errors import UpstreamError
from router.gateway.http.client.connection import GRACE_S, ClientConnection, EndsAt, StalledClientError
from router.gateway.http.disconnect import CancelOnDisconnect
from tests.gateway.http.client.lines import Transport, exchange_on

LATER = 3600.0
LENGTH = {"content-length": "200000"}
BODY = bytes(range(250)) * 800


def in_loop(main: Callable[[], Any]) -> Any:
    return asyncio.run(main())


def test_a_long_answer_is_sent_in_parts_which_make_it_up() -> None:
    async def main() -> list[bytes]:
        await exchange_on(transport := Transport()).respond(200, LENGTH, BODY)
        return transport.written

    first, *others = in_loop(main)
    head, _, start = first.partition(b"\r\n\r\n")
    assert head == b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 200000"
    assert [len(part) for part in (start, *others)] == [65536, 65536, 65536, 3392]
    assert b"".join((start, *others)) == BODY


def test_a_head_leaves_with_its_body_alone_in_the_next_pass_and_before_the_end_of_the_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\ndate: today\r\n%b\r\n"
    chunked = head % b"transfer-encoding: chunked\r\n"

    async def main() -> None:
        together = exchange_on(transport := Transport())
        together.begin(200, {})
        await together.write(b"body", is_last=False)
        await together.write(b"", is_last=True)
        assert transport.written == [chunked + b"4\r\nbody\r\n", b"0\r\n\r\n"]
        alone = exchange_on(transport := Transport())
        alone.begin(200, {})
        assert transport.written == []
        await asyncio.sleep(0)
        assert transport.written == [chunked]
        ended = exchange_on(transport := Transport(), keep_alive=False)
        ended.begin(200, {"content-length": "0"})
        await ended.write(b"", is_last=True)
        assert transport.written == [head % b"content-length: 0\r\nconnection: close\r\n"]

    in_loop(main)


def test_a_response_that_breaks_off_ends_the_connection() -> None:
    async def main() -> tuple[list[bytes], bool]:
        exchange = exchange_on(transport := Transport())

        async def app(_scope: Any, _receive: Any, _send: Any) -> None:
            exchange.begin(200, LENGTH)
            raise KeyError

        await exchange.run(app, {})
        return transport.written, transport.is_closed

    written, is_closed = in_loop(main)
    assert (len(written), is_closed) == (1, True)


def test_a_response_that_is_broken_off_is_no_failure_of_the_application(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> tuple[bytes, bool]:
        exchange = exchange_on(transport := Transport())

        async def app(_scope: Any, _receive: Any, _send: Any) -> None:
            exchange.begin(200, {})
            await exchange.write(b"half", is_last=False)
            exchange.break_off()

        await exchange.run(app, {})
        return b"".join(transport.written), transport.is_closed

    written, is_closed = in_loop(main)
    assert (written.endswith(b"4\r\nhalf\r\n"), is_closed) == (True, True)
    assert caplog.records == []


@pytest.mark.parametrize("size", [1, 200_001], ids=["short", "long"])
def test_a_body_that_has_not_its_stated_length_is_an_error(size: int) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError):
            await exchange_on(Transport()).respond(200, LENGTH, b"x" * size)

    in_loop(main)


def test_a_header_with_a_line_break_is_not_sent() -> None:
    async def main() -> bytes:
        exchange = exchange_on(transport := Transport())
        await exchange.respond(200, {"bad": "a\r\nset-cookie: b", "good": "c", "content-length": "0"}, b"")
        message = {"type": "http.response.start", "status": 200, "headers": [(b"bad", b"a\r\nset-cookie: b")]}
        with pytest.raises(RuntimeError):
            await exchange_on(Transport()).send(message)
        return b"".join(transport.written)

    assert in_loop(main) == b"HTTP/1.1 200 OK\r\ndate: today\r\ngood: c\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize("name", ["x-a\r\nset-cookie: b\r\nx-b", " folded", "x a", "x-a:"])
def test_a_header_whose_name_no_header_may_have_is_not_sent(name: str) -> None:
    async def main() -> bytes:
        exchange = exchange_on(transport := Transport())
        await exchange.respond(200, {"good": "c", name: "b", "content-length": "0"}, b"")
        message = {"type": "http.response.start", "status": 200, "headers": [(name.encode(), b"b")]}
        with pytest.raises(RuntimeError):
            await exchange_on(Transport()).send(message)
        return b"".join(transport.written)

    assert in_loop(main) == b"HTTP/1.1 200 OK\r\ndate: today\r\ngood: c\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_body_is_taken_at_once_where_all_of_it_has_arrived(is_whole: bool) -> None:
    async def main() -> None:
        exchange = exchange_on(Transport())
        exchange.take(b"one ")
        exchange.take(b"two")
        if is_whole:
            exchange.end_body()
            assert exchange.whole_body() == b"one two"
        else:
            assert exchange.whole_body() is None
            assert (await exchange.receive())["body"] == b"one two"

    in_loop(main)


@pytest.mark.parametrize(("stall_s", "left_s"), [(0.05, LATER), (LATER, -0.95)], ids=["stalled", "out of time"])
def test_a_client_that_does_not_read_is_disconnected(stall_s: float, left_s: float) -> None:
    async def main() -> bool:
        transport = Transport(held=10)
        with pytest.raises(StalledClientError):
            await exchange_on(transport, stall_s, left_s).respond(200, LENGTH, BODY)
        return transport.is_aborted

    assert in_loop(main)


def test_what_can_be_sent_at_once_is_and_nothing_else() -> None:
    async def main() -> list[bytes]:
        exchange = exchange_on(transport := Transport())
        exchange.begin(200, {"content-length": "10"})
        assert exchange.write_now(b"event")
        assert not exchange.write_now(bytes(2**20))
        transport.held = 1
        assert not exchange.write_now(b"event")
        transport.held = 0
        exchange.lose()
        assert not exchange.write_now(b"event")
        return transport.written

    (written,) = in_loop(main)
    assert written.endswith(b"\r\n\r\nevent")


@pytest.mark.parametrize("held", [0, 10])
def test_what_the_server_still_holds_must_leave_in_time(held: int) -> None:
    async def main() -> bool:
        transport = Transport(held)
        ClientConnection(transport, lambda: None).watch_rest(0.02)
        await asyncio.sleep(0.1)
        return transport.is_aborted

    assert in_loop(main) == bool(held)


def test_the_next_response_ends_the_watch_of_the_one_before() -> None:
    async def main() -> bool:
        transport = Transport(10)
        exchange = exchange_on(transport)
        exchange.connection.watch_rest(0.02)
        exchange.limit(5.0, LATER)
        await asyncio.sleep(0.1)
        return transport.is_aborted

    assert not in_loop(main)


def test_an_exchange_ends_at_its_time() -> None:
    async def main() -> None:
        async with EndsAt(asyncio.get_running_loop().time() - 1.0):
            await asyncio.sleep(LATER)

    with pytest.raises(UpstreamError) as caught:
        in_loop(main)
    assert caught.value.status == 504


@pytest.mark.parametrize("has_left", [False, True])
def test_a_request_ends_at_its_time_also_after_its_client_has_left(has_left: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        connection = ClientConnection(Transport(), lambda: None)
        with CancelOnDisconnect(connection, loop.time() - GRACE_S) as watch:
            watch.grace_s = LATER
            if has_left:
                connection.lost()
            await asyncio.sleep(LATER)

    with pytest.raises(UpstreamError) as caught:
        in_loop(main)
    assert (caught.value.status, caught.value.fault) == (504, "late")


def test_a_client_that_left_before_the_time_of_its_request_is_what_ended_it() -> None:
    async def main() -> None:
        connection = ClientConnection(Transport(), lambda: None)
        ends_s = asyncio.get_running_loop().time() - GRACE_S + 0.02
        with CancelOnDisconnect(connection, ends_s):
            connection.lost()
            try:
                await asyncio.sleep(LATER)
            finally:
                # What ends the call is slow.
                await asyncio.sleep(LATER)

    with pytest.raises(ClientDisconnect):
        in_loop(main)


def test_a_request_that_is_cancelled_from_outside_when_its_client_leaves_stays_cancelled() -> None:
    async def request() -> None:
        connection = ClientConnection(Transport(), lambda: None)
        with CancelOnDisconnect(connection):
            asyncio.get_running_loop().call_soon(connection.lost)
            await asyncio.sleep(LATER)

    async def main() -> bool:
        task = asyncio.ensure_future(request())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert in_loop(main)


def test_a_request_that_fails_when_it_is_cancelled_leaves_no_cancellation_behind() -> None:
    async def main() -> int:
        task = asyncio.current_task()
        assert task is not None
        connection = ClientConnection(Transport(), lambda: None)
        with contextlib.suppress(OSError), CancelOnDisconnect(connection):
            connection.lost()
            try:
                await asyncio.sleep(LATER)
            except asyncio.CancelledError:
                raise OSError from None
        return task.cancelling()

    assert in_loop(main) == 0


def test_a_request_that_has_ended_is_not_cancelled_at_its_time() -> None:
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        connection = ClientConnection(Transport(), lambda: None)
        with CancelOnDisconnect(connection, loop.time() - GRACE_S + 0.01):
            pass
        await asyncio.sleep(0.02)
        return True

    assert in_loop(main)


def test_another_time_limit_within_is_not_taken_for_it() -> None:
    async def main() -> None:
        async with EndsAt(asyncio.get_running_loop().time() + LATER):
            raise TimeoutError

    with pytest.raises(TimeoutError):
        in_loop(main)


def test_a_body_of_many_small_parts_takes_no_more_than_its_bytes_and_nothing_once_it_is_answered() -> None:
    async def main() -> None:
        exchange = exchange_on(Transport())
        assert [exchange.take(b"ab") for _ in range(3)] == [2, 4, 6]
        exchange.end_body()
        assert exchange.whole_body() == b"ababab"
        unread = exchange_on(Transport())
        unread.take(b"x" * 1000)
        await unread.respond(401, {"content-length": "2"}, b"no")
        assert not unread._body

    in_loop(main)


def test_an_error_after_a_whole_response_leaves_the_connection_to_the_next_request() -> None:
    async def main() -> bool:
        exchange = exchange_on(transport := Transport())

        async def app(_scope: Any, _receive: Any, _send: Any) -> None:
            await exchange.respond(200, {"content-length": "2"}, b"ok")
            raise KeyError

        await exchange.run(app, {})
        return transport.is_closed

    assert not in_loop(main)


@pytest.mark.parametrize("is_last", [True, False])
def test_the_rest_of_a_response_has_a_time_unless_another_response_follows_it(is_last: bool) -> None:
    async def main() -> bool:
        exchange = exchange_on(transport := Transport(), stall_s=0.01)
        exchange._line.running = exchange if is_last else exchange_on(Transport())  # type: ignore[misc]
        await exchange.respond(200, {"content-length": "2"}, b"ok")
        transport.held = 10
        exchange.finish()
        await asyncio.sleep(0.03)
        return transport.is_aborted

    assert in_loop(main) is is_last
