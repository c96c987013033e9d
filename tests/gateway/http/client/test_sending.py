"""Sending to a client that reads slowly, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from router.errors import UpstreamError
from router.gateway.http.client.sending import GRACE_S, ClientConnection, EndsAt, Sender, StalledClientError
from router.gateway.http.disconnect import CancelOnDisconnect

START = {"type": "http.response.start", "status": 200, "headers": []}
LATER = 3600.0


class Transport(asyncio.Transport):
    """A connection whose client has not read `held` bytes."""

    def __init__(self, held: int = 0) -> None:
        super().__init__()
        self.held, self.is_aborted = held, False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def get_write_buffer_size(self) -> int:
        return self.held

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True


async def no_message() -> Message:
    raise AssertionError("the connection says when its client leaves")


async def blocked(_: Message) -> None:
    await asyncio.sleep(LATER)


def body(size: int) -> dict[str, Any]:
    return {"type": "http.response.body", "body": bytes(range(256)) * (size // 256), "more_body": False}


def in_loop(main: Callable[[], Any]) -> Any:
    return asyncio.run(main())


def test_a_long_answer_is_sent_in_parts_which_make_it_up() -> None:
    async def main() -> list[Message]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        sender = Sender(send, None, 5.0, asyncio.get_running_loop().time() + LATER)
        await sender(START)
        await sender(body(200 * 1024))
        return sent

    start, *parts = in_loop(main)
    assert start == START
    assert [part["more_body"] for part in parts] == [True, True, True, False]
    assert b"".join(part["body"] for part in parts) == body(200 * 1024)["body"]


@pytest.mark.parametrize(("stall_s", "left_s"), [(0.05, LATER), (LATER, -0.95)], ids=["stalled", "out of time"])
def test_a_client_that_does_not_read_is_disconnected(stall_s: float, left_s: float) -> None:
    async def main() -> bool:
        transport = Transport(held=10)
        ends_s = asyncio.get_running_loop().time() + left_s
        with pytest.raises(StalledClientError):
            await Sender(blocked, ClientConnection(transport, lambda: None), stall_s, ends_s)(START)
        return transport.is_aborted

    assert in_loop(main)


def test_what_can_be_sent_at_once_is_and_nothing_else() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def main() -> None:
        transport = Transport()
        connection = ClientConnection(transport, lambda: None)
        sender = Sender(send, connection, LATER, LATER)
        assert sender.pass_on(b"event")
        assert sent == [{"type": "http.response.body", "body": b"event", "more_body": True}]
        assert not sender.pass_on(bytes(2**20))
        assert not Sender(send, None, LATER, LATER).pass_on(b"event")
        transport.held = 1
        assert not sender.pass_on(b"event")
        transport.held = 0
        connection.lost()
        assert not sender.pass_on(b"event")

    asyncio.run(main())
    assert len(sent) == 1


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
        connection = ClientConnection(transport, lambda: None)
        connection.watch_rest(0.02)
        Sender(blocked, connection, 5.0, LATER)
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
        async with CancelOnDisconnect(no_message, connection, loop.time() - GRACE_S) as watch:
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
        async with CancelOnDisconnect(no_message, connection, ends_s):
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
        async with CancelOnDisconnect(no_message, connection):
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
        with contextlib.suppress(OSError):
            async with CancelOnDisconnect(no_message, connection):
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
        async with CancelOnDisconnect(no_message, connection, loop.time() - GRACE_S + 0.01):
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
