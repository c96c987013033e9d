"""Streams on connections: shared, limited, refused, cancelled, slow; on servers that behave as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import h2.errors
import h2.events
import h2.settings
import pytest
from hyperframe.frame import DataFrame, GoAwayFrame

from router.dispatch.http1 import BrokenError, ConnectError, ConnectTimeoutError, ProtocolError
from router.dispatch.http2 import Client, connection, group
from tests.dispatch.http1.servers import run_on
from tests.dispatch.http1.servers import server as http1_server
from tests.dispatch.http2.servers import OK, Behave, Peer, Server, a_client, begin, post, server, whole

Run = Callable[[Behave, Callable[[Client, Server], Awaitable[Any]]], Any]
LARGE = bytes(range(256)) * 4096


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a test on each kind of loop, with a client and a server that behaves in some way."""
    return lambda behave, test: run_on(request.param, _with_server(behave, test))


async def _with_server(behave: Behave, test: Callable[[Client, Server], Awaitable[Any]]) -> Any:
    async with server(behave) as running, a_client() as client, asyncio.timeout(20):
        return await test(client, running)


async def answer_all(peer: Peer) -> None:
    await peer.begin()
    await peer.answer_all()


def go_away(last_stream: int, code: int = 0) -> bytes:
    return GoAwayFrame(0, last_stream_id=last_stream, error_code=code).serialize()


def test_a_request_has_its_fields_and_its_body(run: Run) -> None:
    seen: list[Any] = []

    async def behave(peer: Peer) -> None:
        await peer.begin()
        request = await peer.request()
        assert request is not None
        seen.append(request)
        await peer.answer(request.stream)

    async def test(client: Client, running: Server) -> None:
        headers = {"x-a": " b ", "authorization": "Bearer k", "connection": "close", "host": "other"}
        answer = await client.send("POST", running.target(), headers, b"{}", connect_s=5)
        assert await whole(answer) == b"ok"
        assert (answer.status, answer.headers) == (200, {"content-type": "application/json"})
        assert seen[0].body == b"{}"
        assert seen[0].headers == {
            b":method": b"POST",
            b":scheme": b"http",
            b":authority": f"127.0.0.1:{running.url.port}".encode(),
            b":path": b"/v1/x",
            b"x-a": b"b",
            b"authorization": b"Bearer k",
            b"content-length": b"2",
        }

    run(behave, test)


@pytest.mark.parametrize("value", ["a\r\nx-b: c", "a\nb", "a\0b"])
def test_a_header_that_would_be_two_is_not_sent(run: Run, value: str) -> None:
    async def test(client: Client, running: Server) -> None:
        with pytest.raises(ValueError, match="line break"):
            await client.send("POST", running.target(), {"x-a": value}, b"", connect_s=5)
        assert running.connections == 0

    run(answer_all, test)


def test_many_requests_at_once_share_one_connection(run: Run) -> None:
    async def test(client: Client, running: Server) -> None:
        for _ in range(2):
            assert await asyncio.gather(*(post(client, running.target()) for _ in range(50))) == [(200, b"ok")] * 50
        assert running.connections == 1

    run(answer_all, test)


def test_a_request_alone_has_a_connection_of_its_own(run: Run) -> None:
    async def test(client: Client, running: Server) -> None:
        for is_alone in (False, True, False):
            assert await post(client, running.target(), is_alone=is_alone) == (200, b"ok")
        assert running.connections == 2

    run(answer_all, test)


def test_large_bodies_pass_in_both_directions(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        await peer.begin()
        while (request := await peer.request()) is not None:
            peer.h2.send_headers(request.stream, OK)
            left = memoryview(request.body)
            while left:
                while not (room := min(peer.h2.local_flow_control_window(request.stream), 16384)):
                    assert await peer.until(h2.events.WindowUpdated)
                peer.h2.send_data(request.stream, bytes(left[:room]), end_stream=room >= len(left))
                left = left[room:]
                await peer.flush()

    async def test(client: Client, running: Server) -> None:
        assert await post(client, running.target(), LARGE) == (200, LARGE)
        assert await post(client, running.target(), LARGE) == (200, LARGE)

    run(behave, test)


def test_requests_beyond_the_servers_limit_open_further_connections(run: Run) -> None:
    have_all, count = asyncio.Event(), [0]

    async def behave(peer: Peer) -> None:
        await peer.begin(MAX_CONCURRENT_STREAMS=2)
        while (request := await peer.request()) is not None:
            count[0] += 1
            if count[0] % 2 == 0:
                if count[0] == 6:
                    have_all.set()
                await have_all.wait()
                await peer.answer(request.stream - 2)
                await peer.answer(request.stream)

    async def test(client: Client, running: Server) -> None:
        answers = await asyncio.gather(*(post(client, running.target()) for _ in range(6)))
        assert answers == [(200, b"ok")] * 6
        assert running.connections == 3

    run(behave, test)


def test_where_no_more_connections_may_be_opened_requests_wait(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "MAX_CONNECTIONS", 1)

    async def behave(peer: Peer) -> None:
        await peer.begin(MAX_CONCURRENT_STREAMS=1)
        await peer.answer_all()

    async def test(client: Client, running: Server) -> None:
        given_up = [asyncio.ensure_future(post(client, running.target())) for _ in range(3)]
        others = [asyncio.ensure_future(post(client, running.target())) for _ in range(3)]
        await asyncio.sleep(0)
        for each in given_up:
            each.cancel()
        assert await asyncio.gather(*others) == [(200, b"ok")] * 3
        assert running.connections == 1

    run(behave, test)


def test_all_requests_for_which_a_server_makes_room_are_sent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "MAX_CONNECTIONS", 1)

    async def behave(peer: Peer) -> None:
        await peer.begin(MAX_CONCURRENT_STREAMS=1)
        requests = [await peer.request()]
        peer.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 3})
        await peer.flush()
        requests += [await peer.request(), await peer.request()]
        for request in requests:
            assert request is not None
            await peer.answer(request.stream)
        await peer.request()

    async def test(client: Client, running: Server) -> None:
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*(post(client, running.target()) for _ in range(3)))
        assert answers == [(200, b"ok")] * 3

    run(behave, test)


def test_a_refused_request_is_sent_again_on_another_connection(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        await peer.begin()
        while (request := await peer.request()) is not None:
            if peer.number == 0:
                peer.h2.reset_stream(request.stream, h2.errors.ErrorCodes.REFUSED_STREAM)
                await peer.flush()
            else:
                await peer.answer(request.stream)

    async def test(client: Client, running: Server) -> None:
        assert await post(client, running.target()) == (200, b"ok")
        assert await post(client, running.target()) == (200, b"ok")
        assert running.connections == 2

    run(behave, test)


def test_a_request_that_is_refused_time_and_again_fails(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        await peer.begin()
        while (request := await peer.request()) is not None:
            peer.h2.reset_stream(request.stream, h2.errors.ErrorCodes.REFUSED_STREAM)
            await peer.flush()

    async def test(client: Client, running: Server) -> None:
        with pytest.raises(BrokenError, match="REFUSED_STREAM"):
            await post(client, running.target())
        assert running.connections == 3

    run(behave, test)


@pytest.mark.parametrize("code", ["INTERNAL_ERROR", "CANCEL", "ENHANCE_YOUR_CALM", "NO_ERROR"])
def test_a_post_that_the_server_resets_is_not_sent_again(run: Run, code: str) -> None:
    seen: list[int] = []

    async def behave(peer: Peer) -> None:
        await peer.begin()
        while (request := await peer.request()) is not None:
            seen.append(request.stream)
            peer.h2.reset_stream(request.stream, h2.errors.ErrorCodes[code])
            await peer.flush()

    async def test(client: Client, running: Server) -> None:
        with pytest.raises(BrokenError, match=code):
            await post(client, running.target())
        assert len(seen) == 1

    run(behave, test)


def test_a_connection_that_ends_ends_its_requests_and_no_post_is_sent_again(run: Run) -> None:
    seen: list[int] = []

    async def behave(peer: Peer) -> None:
        await peer.begin()
        first, second = await peer.request(), await peer.request()
        assert first is not None
        assert second is not None
        seen.extend((first.stream, second.stream))
        peer.h2.send_headers(first.stream, OK)
        peer.h2.send_data(first.stream, b"half")
        await peer.flush()

    async def test(client: Client, running: Server) -> None:
        async def half() -> bytes:
            answer = await begin(client, running.target())
            part = await answer.read()
            with pytest.raises(BrokenError):
                await answer.read()
            return part

        outcomes = await asyncio.gather(half(), post(client, running.target()), return_exceptions=True)
        assert outcomes[0] == b"half"
        assert isinstance(outcomes[1], BrokenError)
        assert outcomes[1].is_unanswered
        assert len(seen) == 2
        assert running.connections == 1

    run(behave, test)


def test_after_goaway_running_streams_end_well_and_later_ones_go_elsewhere(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        await peer.begin()
        if peer.number:
            await peer.answer_all()
            return
        first, second = await peer.request(), await peer.request()
        assert first is not None
        assert second is not None
        peer.h2.send_headers(first.stream, OK)
        peer.h2.send_data(first.stream, b"before ")
        await peer.flush(go_away(first.stream))
        peer.h2.send_data(first.stream, b"and after", end_stream=True)
        await peer.flush()
        # With its last stream, the client closes the connection.
        assert await peer.until(h2.events.RequestReceived) is None

    async def test(client: Client, running: Server) -> None:
        first, second = await asyncio.gather(post(client, running.target()), post(client, running.target()))
        assert first == (200, b"before and after")
        assert second == (200, b"ok")
        assert running.connections == 2

    run(behave, test)


def test_a_server_that_requires_http_1_1_gets_it_from_then_on(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        if peer.number:
            assert (await peer.reader.readuntil(b"\r\n\r\n")).startswith(b"POST /v1/x HTTP/1.1\r\n")
            await peer.reader.readexactly(2)
            peer.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nold")
            return
        await peer.begin()
        request = await peer.request()
        assert request is not None
        peer.h2.reset_stream(request.stream, h2.errors.ErrorCodes.HTTP_1_1_REQUIRED)
        await peer.flush()
        await peer.until(h2.events.RequestReceived)

    async def test(client: Client, running: Server) -> None:
        with pytest.raises(BrokenError, match="HTTP_1_1_REQUIRED"):
            await post(client, running.target())
        assert await post(client, running.target()) == (200, b"old")

    run(behave, test)


def test_a_caller_that_leaves_resets_its_stream_only(run: Run) -> None:
    resets: list[int] = []

    async def behave(peer: Peer) -> None:
        await peer.begin()
        first, second = await peer.request(), await peer.request()
        assert first is not None
        assert second is not None
        for each in (first, second):
            peer.h2.send_headers(each.stream, OK)
            peer.h2.send_data(each.stream, b"a")
        await peer.flush()
        reset = await peer.until(h2.events.StreamReset)
        resets.append(reset.error_code)
        other = second if reset.stream_id == first.stream else first
        # What is on its way to a cancelled stream changes nothing.
        await peer.flush(DataFrame(reset.stream_id, b"late").serialize())
        peer.h2.send_data(other.stream, b"b", end_stream=True)
        await peer.flush()
        await peer.answer_all()

    async def test(client: Client, running: Server) -> None:
        first, second = await asyncio.gather(begin(client, running.target()), begin(client, running.target()))
        assert await first.read() == b"a"
        first.close()
        assert await whole(second) == b"ab"
        assert await post(client, running.target()) == (200, b"ok")
        assert resets == [h2.errors.ErrorCodes.CANCEL]
        assert running.connections == 1

    run(behave, test)


def test_a_call_that_is_cancelled_before_its_answer_resets_its_stream(run: Run) -> None:
    has_request, has_reset = asyncio.Event(), asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.begin()
        assert await peer.request() is not None
        has_request.set()
        assert await peer.until(h2.events.StreamReset) is not None
        has_reset.set()

    async def test(client: Client, running: Server) -> None:
        call = asyncio.ensure_future(post(client, running.target()))
        await has_request.wait()
        call.cancel()
        await has_reset.wait()

    run(behave, test)


def test_a_connection_on_which_many_were_given_up_takes_no_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_CANCELLED", 3)

    async def behave(peer: Peer) -> None:
        await peer.begin()
        while (request := await peer.request()) is not None:
            peer.h2.send_headers(request.stream, OK)
            await peer.flush()

    async def test(client: Client, running: Server) -> None:
        for _ in range(7):
            (await begin(client, running.target())).close()
        assert running.connections == 3

    run(behave, test)


def test_a_connection_that_has_carried_many_is_replaced(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_STREAMS", 4)

    async def test(client: Client, running: Server) -> None:
        for _ in range(9):
            assert await post(client, running.target()) == (200, b"ok")
        assert running.connections == 3

    run(answer_all, test)


def test_a_slow_caller_stops_its_own_stream_and_no_other(run: Run) -> None:
    sent = [0]
    is_full = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.begin()
        slow = await peer.request()
        assert slow is not None
        peer.h2.send_headers(slow.stream, OK)
        while room := min(peer.h2.local_flow_control_window(slow.stream), 16384):
            peer.h2.send_data(slow.stream, bytes(room))
            sent[0] += room
            await peer.flush()
        is_full.set()
        for _ in range(20):
            request = await peer.request()
            assert request is not None
            await peer.answer(request.stream, LARGE[: 200 * 1024])
        while not peer.h2.local_flow_control_window(slow.stream):
            assert await peer.until(h2.events.WindowUpdated)
        peer.h2.send_data(slow.stream, b"end", end_stream=True)
        await peer.flush()
        await peer.request()

    async def test(client: Client, running: Server) -> None:
        slow = await begin(client, running.target())
        await is_full.wait()
        for _ in range(20):
            assert await post(client, running.target()) == (200, LARGE[: 200 * 1024])
        assert sent[0] == slow.buffered_bytes == connection.STREAM_WINDOW_BYTES
        assert len(await whole(slow)) == sent[0] + 3
        assert running.connections == 1

    run(behave, test)


def test_a_server_that_stops_reading_stops_one_request_and_no_other(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        peer.takes = False
        await peer.begin(INITIAL_WINDOW_SIZE=1000)
        first = await peer.until(h2.events.RequestReceived)
        second = await peer.request()
        assert second is not None
        await peer.answer(second.stream)
        # The window of the first opens in small steps.
        seen = 1000
        while seen < 5000:
            peer.h2.increment_flow_control_window(700, first.stream_id)
            await peer.flush()
            seen += (await peer.until(h2.events.DataReceived)).flow_controlled_length
        await peer.answer(first.stream_id)
        await peer.request()

    async def test(client: Client, running: Server) -> None:
        first = asyncio.ensure_future(post(client, running.target(), bytes(5000)))
        while not running.connections:
            await asyncio.sleep(0)
        assert await post(client, running.target(), b"small") == (200, b"ok")
        assert await first == (200, b"ok")
        assert running.connections == 1

    run(behave, test)


def test_an_answer_before_the_whole_request_ends_the_request(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        peer.takes = False
        await peer.begin(INITIAL_WINDOW_SIZE=1000)
        request = await peer.until(h2.events.RequestReceived)
        await peer.answer(request.stream_id, b"too large", ((b":status", b"413"),))
        assert await peer.until(h2.events.StreamReset) is not None
        await peer.answer_all()

    async def test(client: Client, running: Server) -> None:
        assert await post(client, running.target(), bytes(5000)) == (413, b"too large")
        assert await post(client, running.target()) == (200, b"ok")
        assert running.connections == 1

    run(behave, test)


def test_interim_heads_and_trailers_are_passed_over(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        await peer.begin()
        request = await peer.request()
        assert request is not None
        peer.h2.send_headers(request.stream, [(b":status", b"103"), (b"link", b"x")])
        peer.h2.send_headers(request.stream, [(b":status", b"100")])
        peer.h2.send_headers(
            request.stream, [*OK, (b"x-a", b"1"), (b"x-a", b"2"), (b"x-b", b"\xc3\xa9"), (b"x-c", b"\1")]
        )
        peer.h2.send_data(request.stream, b"body")
        peer.h2.send_headers(request.stream, [(b"x-checksum", b"1")], end_stream=True)
        await peer.flush()
        await peer.request()

    async def test(client: Client, running: Server) -> None:
        answer = await begin(client, running.target())
        assert await whole(answer) == b"body"
        # The first of two, without one that has control characters.
        assert answer.headers == {"content-type": "application/json", "x-a": "1", "x-b": "é"}

    run(behave, test)


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_an_answer_without_body_is_whole(run: Run, status: bytes) -> None:
    async def behave(peer: Peer) -> None:
        await peer.begin()
        while (request := await peer.request()) is not None:
            peer.h2.send_headers(request.stream, [(b":status", status)], end_stream=True)
            await peer.flush()

    async def test(client: Client, running: Server) -> None:
        assert await post(client, running.target()) == (int(status), b"")

    run(behave, test)


@pytest.mark.parametrize(
    "head",
    [
        [(b":status", b"20"), (b"content-type", b"a")],
        [(b":status", b"999")],
        [(b":status", b"200"), (b":path", b"/")],
        [(b":status", b"200"), (b"x-a", b"a\0b")],
        [(b":status", b"200"), (b"x-a\r\nset-cookie: evil=1\r\nx-b", b"1")],
        [(b":status", b"200"), (b"", b"1")],
        [(b":status", b"200"), *((b"x-%d" % number, b"") for number in range(200))],
    ],
    ids=["short-status", "no-status", "field-of-a-request", "null", "lines-in-a-name", "empty-name", "too-many"],
)
def test_a_head_that_is_none_fails_its_request_and_no_other(run: Run, head: Any) -> None:
    async def behave(peer: Peer) -> None:
        await peer.begin()
        request = await peer.request()
        assert request is not None
        peer.h2.send_headers(request.stream, head)
        await peer.flush()
        assert await peer.until(h2.events.StreamReset) is not None
        await peer.answer_all()

    async def test(client: Client, running: Server) -> None:
        with pytest.raises(ProtocolError):
            await post(client, running.target())
        assert await post(client, running.target()) == (200, b"ok")
        assert running.connections == 1

    run(behave, test)


def test_an_idle_connection_is_closed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "IDLE_S", 0.02)
    is_closed = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await answer_all(peer)
        is_closed.set()

    async def test(client: Client, running: Server) -> None:
        assert await post(client, running.target()) == (200, b"ok")
        await is_closed.wait()
        assert await post(client, running.target()) == (200, b"ok")
        assert running.connections == 2

    run(behave, test)


@pytest.mark.parametrize("is_dead", [False, True], ids=["alive", "dead"])
def test_a_quiet_connection_is_asked_before_its_next_request(
    run: Run, monkeypatch: pytest.MonkeyPatch, is_dead: bool
) -> None:
    monkeypatch.setattr(group, "_ANSWER_S", 0.05)

    async def behave(peer: Peer) -> None:
        await peer.begin()
        request = await peer.request()
        assert request is not None
        await peer.answer(request.stream)
        if is_dead and peer.number == 0:
            # It reads nothing any more.
            await is_over.wait()
        else:
            await peer.answer_all()

    async def test(client: Client, running: Server) -> None:
        assert await post(client, running.target()) == (200, b"ok")
        monkeypatch.setattr(group, "QUIET_S", 0.0)
        if is_dead:
            monkeypatch.setattr(group, "QUIET_S", 0.04)
            await asyncio.sleep(0.06)
        else:
            monkeypatch.setattr(group, "QUIET_S", 0.01)
            await asyncio.sleep(0.02)
        assert await post(client, running.target()) == (200, b"ok")
        assert running.connections == (2 if is_dead else 1)
        is_over.set()

    is_over = asyncio.Event()
    run(behave, test)


def test_a_request_that_runs_on_a_silent_connection_is_not_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "_ANSWER_S", 0.05)
    is_answered = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.begin()
        request = await peer.request()
        assert request is not None
        if peer.number == 0:
            peer.h2.send_headers(request.stream, OK)
            peer.h2.send_data(request.stream, b"slow ")
            await peer.flush()
            # It is too busy to read.
            await is_answered.wait()
        await peer.answer(request.stream) if peer.number else peer.h2.send_data(request.stream, b"end", end_stream=True)
        await peer.flush()
        assert await peer.request() is None

    async def test(client: Client, running: Server) -> None:
        slow = await begin(client, running.target())
        assert await slow.read() == b"slow "
        monkeypatch.setattr(group, "QUIET_S", -1.0)
        other = asyncio.ensure_future(post(client, running.target()))
        while running.connections < 2:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(group, "QUIET_S", 4.0)
        assert await other == (200, b"ok")
        is_answered.set()
        assert await whole(slow) == b"end"

    run(behave, test)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_server_of_http_1_1_gets_no_request_where_http_2_is_presumed(loop: str) -> None:
    async def behave(peer: Any) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        # What follows are settings, and no request.
        assert b"/v1/x" not in await peer.reader.read()

    async def main() -> None:
        async with http1_server(behave) as running, a_client() as client, asyncio.timeout(20):
            with pytest.raises(ConnectError, match="does not speak HTTP/2"):
                await post(client, running.target(is_http2=True))

    run_on(loop, main())


def test_a_server_without_settings_is_no_connection(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        await peer.reader.read()

    async def test(client: Client, running: Server) -> None:
        with pytest.raises(ConnectTimeoutError):
            await client.send("POST", running.target(), {}, b"{}", connect_s=0.05)

    run(behave, test)


def test_closing_the_client_ends_running_calls(run: Run) -> None:
    has_request = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.begin()
        await peer.request()
        has_request.set()
        assert await peer.until(h2.events.RequestReceived) is None

    async def test(client: Client, running: Server) -> None:
        call = asyncio.ensure_future(post(client, running.target()))
        await has_request.wait()
        await client.aclose()
        with pytest.raises(BrokenError):
            await call

    run(behave, test)


def test_frames_of_unknown_kinds_are_ignored(run: Run) -> None:
    async def behave(peer: Peer) -> None:
        await peer.begin()
        request = await peer.request()
        assert request is not None
        await peer.flush(b"\0\0\3\xbb\0\0\0\0\0abc")
        await peer.answer(request.stream)
        await peer.request()

    async def test(client: Client, running: Server) -> None:
        assert await post(client, running.target()) == (200, b"ok")

    run(behave, test)
