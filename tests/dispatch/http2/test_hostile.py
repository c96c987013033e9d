"""Servers that flood, lie about lengths, and break the protocol: the connection ends, at a bounded cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import h2.errors
import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.dispatch.http1 import BrokenError, ProtocolError
from router.dispatch.http2 import connection, frames
from router.dispatch.http2.frames import Frames, GoAway
from tests.dispatch.http1.servers import run_on
from tests.dispatch.http2.servers import OK, Peer, a_client, begin, post, server, whole

FLOOD = 5000


def run(hostile: Callable[[Peer, int], Awaitable[None]], expected: type[Exception], match: str | None = None) -> int:
    """Have a server behave in this way after the head of its answer; the number of frames that the client has sent."""
    sent = [0]

    async def behave(peer: Peer) -> None:
        await peer.begin()
        request = await peer.request()
        assert request is not None
        peer.h2.send_headers(request.stream, OK)
        await peer.flush()
        await hostile(peer, request.stream)
        while data := await peer.reader.read(65536):
            sent[0] += len(data) // 9

    async def main() -> None:
        async with server(behave) as running, a_client() as client, asyncio.timeout(30):
            with pytest.raises(expected, match=match):
                await whole(await begin(client, running.target()))

    run_on("uvloop", main())
    return sent[0]


def repeated(frame: Frame, count: int = FLOOD) -> Callable[[Peer, int], Awaitable[None]]:
    async def hostile(peer: Peer, stream: int) -> None:
        if frame.stream_id:
            frame.stream_id = stream
        await peer.flush(frame.serialize() * count)

    return hostile


@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, b"12345678"),
        SettingsFrame(0, {SettingsFrame.MAX_CONCURRENT_STREAMS: 100}),
        SettingsFrame(0, flags=("ACK",)),
        PriorityFrame(1),
        WindowUpdateFrame(0, 1),
        WindowUpdateFrame(1, 1),
        DataFrame(1, b""),
        DataFrame(1, b"", flags=("PADDED",), pad_length=200),
        RstStreamFrame(77),
    ],
    ids=["ping", "settings", "settings-ack", "priority", "window", "window-of-stream", "empty", "padding", "reset"],
)
def test_frames_that_bring_nothing_forward_end_the_connection(frame: Frame) -> None:
    sent = run(repeated(frame), ConnectionError)
    # No more than the credit was answered.
    assert sent < 3500


def test_unknown_frames_without_end_end_the_connection() -> None:
    async def hostile(peer: Peer, _: int) -> None:
        await peer.flush(b"\0\0\0\xbb\0\0\0\0\0" * FLOOD)

    run(hostile, ProtocolError, "nothing forward")


def test_interim_heads_without_end_end_the_connection() -> None:
    async def behave(peer: Peer) -> None:
        await peer.begin()
        request = await peer.request()
        assert request is not None
        for _ in range(FLOOD):
            peer.h2.send_headers(request.stream, [(b":status", b"103")])
        await peer.flush()
        await peer.reader.read()

    async def main() -> None:
        async with server(behave) as running, a_client() as client, asyncio.timeout(30):
            with pytest.raises(ProtocolError, match="nothing forward"):
                await post(client, running.target())

    run_on("uvloop", main())


def test_a_head_that_never_ends_ends_the_connection() -> None:
    async def hostile(peer: Peer, stream: int) -> None:
        block = HeadersFrame(stream, b"\x00\x01a\x01b").serialize()
        await peer.flush(block + ContinuationFrame(stream, b"\x00\x01a\x01b").serialize() * FLOOD)

    run(hostile, ProtocolError, "continuation")


def test_a_head_that_unpacks_to_far_more_ends_the_connection() -> None:
    async def hostile(peer: Peer, stream: int) -> None:
        # One field of 4 KiB that is indexed, and then named a thousand times by one byte each.
        field = b"\x40\x01a\x7f\x81\x1f" + b"b" * 4000 + b"\xbe" * 1000
        await peer.flush(HeadersFrame(stream, field, flags=("END_HEADERS", "END_STREAM")).serialize())

    run(hostile, ProtocolError)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x40\x01\0\0\0\0\0\1",
        b"\xff\xff\xff\0\0\0\0\0\1",
        b"\0\0\x08\x06\0\0\0\0\x0112345678",
        ContinuationFrame(1, b"").serialize(),
        PushPromiseFrame(1, 2, flags=("END_HEADERS",)).serialize(),
        HeadersFrame(2, b"\x88", flags=("END_HEADERS",)).serialize(),
        HeadersFrame(1, b"\xff\xff\xff\xff\xff\xff", flags=("END_HEADERS",)).serialize(),
        DataFrame(99, b"x").serialize(),
        WindowUpdateFrame(0, 2**31 - 1).serialize(),
        b"\0\0\0\x07\0\0\0\0\0",
        SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 2**31 - 1}).serialize()[:-4] + b"\xff\xff\xff\xff",
    ],
    ids=[
        *("just-too-large", "too-large", "ping-of-stream", "continuation", "push", "stream-of-server", "no-hpack"),
        *("unknown-stream", "window-overflow", "short-goaway", "bad-setting"),
    ],
)
def test_a_breach_of_the_protocol_ends_the_connection(raw: bytes) -> None:
    async def hostile(peer: Peer, _: int) -> None:
        await peer.flush(raw)

    run(hostile, ProtocolError)


def test_more_data_than_the_window_allows_ends_the_connection() -> None:
    async def behave(peer: Peer) -> None:
        await peer.begin()
        request = await peer.request()
        assert request is not None
        peer.h2.send_headers(request.stream, OK)
        frame = DataFrame(request.stream, bytes(16384)).serialize()
        for _ in range(40):
            await peer.flush(frame)
        await peer.reader.read()

    async def main() -> None:
        async with server(behave) as running, a_client() as client, asyncio.timeout(30):
            answer = await begin(client, running.target())
            while client._groups[running.target().origin].is_used:
                await asyncio.sleep(0.01)
            # What had arrived within the window is not lost.
            assert answer.buffered_bytes <= connection.STREAM_WINDOW_BYTES
            with pytest.raises(ProtocolError):
                await whole(answer)

    run_on("uvloop", main())


def test_a_body_of_another_length_than_stated_is_no_answer() -> None:
    async def behave(peer: Peer) -> None:
        await peer.begin()
        request = await peer.request()
        assert request is not None
        peer.h2.send_headers(request.stream, [*OK, (b"content-length", b"10")])
        peer.h2.send_data(request.stream, b"short", end_stream=True)
        await peer.flush()
        await peer.reader.read()

    async def main() -> None:
        async with server(behave) as running, a_client() as client, asyncio.timeout(30):
            with pytest.raises(ProtocolError):
                await post(client, running.target())

    run_on("uvloop", main())


def test_a_server_that_resets_every_request_costs_one_call_each() -> None:
    async def behave(peer: Peer) -> None:
        await peer.begin()
        while (request := await peer.request()) is not None:
            peer.h2.reset_stream(request.stream, h2.errors.ErrorCodes.CANCEL)
            await peer.flush()

    async def main() -> None:
        async with server(behave) as running, a_client() as client, asyncio.timeout(30):
            for _ in range(200):
                with pytest.raises(BrokenError):
                    await post(client, running.target())
            assert running.connections == 1

    run_on("uvloop", main())


def test_others_have_their_turn_while_a_server_sends_tiny_frames() -> None:
    """Of a stream of single bytes, no more than a turn's frames are read before the loop serves others."""
    turns: list[int] = []

    async def behave(peer: Peer) -> None:
        await peer.begin()
        request = await peer.request()
        assert request is not None
        peer.h2.send_headers(request.stream, OK)
        await peer.flush(DataFrame(request.stream, b"x").serialize() * 2000)
        peer.h2.send_data(request.stream, b"y", end_stream=True)
        await peer.flush()
        await peer.request()

    async def main() -> None:
        async with server(behave) as running, a_client() as client, asyncio.timeout(30):
            answer = await begin(client, running.target())
            body = b""
            while part := await answer.read():
                turns.append(len(part))
                body += part
            assert body == b"x" * 2000 + b"y"
            assert max(turns) <= connection._FRAMES_A_TURN

    run_on("uvloop", main())


def test_credit_returns_with_time_and_with_what_is_brought_forward() -> None:
    now_s = [0.0]
    ping = PingFrame(0, b"12345678").serialize()
    cut = Frames(lambda: now_s[0])
    cut.feed(SettingsFrame(0).serialize() + ping * 3000)
    for _ in range(1000):
        assert isinstance(cut.next(), bytes)
    for _ in range(10):
        cut.earn()
    for _ in range(50):
        assert cut.next() == ping
    now_s[0] = 1.0
    for _ in range(20):
        assert cut.next() == ping
    with pytest.raises(ProtocolError, match="nothing forward"):
        cut.next()


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=10))
def test_frames_are_cut_alike_however_their_bytes_arrive(data: bytes, sizes: list[int]) -> None:
    whole_stream = SettingsFrame(0).serialize() + data

    def cut(parts: list[bytes]) -> list[Any]:
        found: list[Any] = []
        cutter = Frames(lambda: 0.0)
        for part in parts:
            cutter.feed(part)
            try:
                while (frame := cutter.next()) is not None:
                    found.append(frame)
            except ProtocolError as error:
                return [*found, str(error)]
        return found

    parts, rest = [], whole_stream
    for size in sizes:
        parts.append(rest[:size])
        rest = rest[size:]
    assert cut([*parts, rest]) == cut([whole_stream])


def test_a_goaway_is_read_and_other_frames_are_passed_on() -> None:
    cut = Frames(lambda: 0.0)
    begin_frame, ping = SettingsFrame(0).serialize(), PingFrame(0, b"12345678").serialize()
    cut.feed(begin_frame + b"\0\0\x0b\x07\0\0\0\0\0\x80\0\0\x05\0\0\0\x0bwhy" + ping)
    assert [cut.next() for _ in range(4)] == [begin_frame, GoAway(5, 11), ping, None]
    assert frames.MAX_FRAME_BYTES == 16384


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200), st.integers(0, 10), st.integers(0, 255), st.integers(0, 3))
def test_random_frames_end_in_an_answer_or_an_error(body: bytes, kind: int, flags: int, stream: int) -> None:
    raw = len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body

    async def behave(peer: Peer) -> None:
        await peer.begin()
        assert await peer.request() is not None
        await peer.flush(raw)

    async def main() -> None:
        async with server(behave) as running, a_client() as client, asyncio.timeout(30):
            try:
                answer = await begin(client, running.target())
                await whole(answer)
            except (BrokenError, ProtocolError):
                return
            assert answer.status >= 200

    asyncio.run(main())
