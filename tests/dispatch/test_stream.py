from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.dispatch import EventStream, Timeouts
from router.dispatch.converted_response import ConvertedStream
from router.dispatch.http1.answer import Answer
from router.dispatch.http1.parser import Head
from router.dispatch.stream import Source
from router.errors import UpstreamError
from router.formats.quantities import Seconds
from router.types import Usage
from router.wire import CONVERSIONS
from router.wire.protocols import CHAT, MESSAGES, RESPONSES, WireProtocol
from tests.gateway.servers import CHUNKS

ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}\n\n'
DONE = b"data: [DONE]\n\n"


def stream_of(
    *chunks: bytes,
    protocol: WireProtocol = CHAT,
    keep_usage: bool = False,
    error: UpstreamError | None = None,
    decode: bool = False,
) -> EventStream:
    left = list(chunks)

    async def read() -> bytes:
        if left:
            return left.pop(0)
        if error is not None:
            raise error
        return b""

    async def close() -> None:
        left.clear()

    return EventStream(Source("small", read, close), protocol, Timeouts(), keep_usage=keep_usage, decode=decode)


def read(stream: EventStream) -> bytes:
    """The whole stream, and the fault in angle brackets where one ended it."""

    async def main() -> bytes:
        chunks: list[bytes] = []
        try:
            await stream.start()
            async for chunk in stream:
                chunks.append(chunk)
        except UpstreamError as failure:
            chunks.append(f"<{failure.fault}>".encode())
        await stream.aclose()
        return b"".join(chunks)

    return asyncio.run(main())


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_the_sizes_of_network_chunks_make_no_difference(size: int, newline: bytes) -> None:
    whole = b"".join(CHUNKS).replace(b"\n", newline)
    assert read(stream_of(*(whole[at : at + size] for at in range(0, len(whole), size)))) == whole


def test_a_stream_is_complete_even_if_done_has_no_blank_line() -> None:
    assert read(stream_of(*CHUNKS[:2], b"data: [DONE]")) == b"".join(CHUNKS)


def test_done_is_added_to_a_finished_stream_whose_upstream_omits_it() -> None:
    assert read(stream_of(*CHUNKS[:2])) == b"".join(CHUNKS)


def test_a_stream_is_complete_even_if_the_connection_breaks_after_done() -> None:
    assert read(stream_of(*CHUNKS, error=UpstreamError("gone"))) == b"".join(CHUNKS)


def test_a_connection_that_breaks_before_done_is_a_failure_even_after_the_finish_reason() -> None:
    stream = stream_of(*CHUNKS[:2], error=UpstreamError("gone", fault="unreachable"))
    assert read(stream).endswith(b"<unreachable>")
    assert stream.problem is not None


@pytest.mark.parametrize(("client_s", "upstream_s", "fails"), [(0.4, 0.0, False), (0.0, 0.4, True)])
def test_an_upstream_has_failed_where_it_and_not_the_client_was_slow(
    client_s: float, upstream_s: float, fails: bool
) -> None:
    left = [CHUNKS[0]]

    async def read() -> bytes:
        if not left:
            await asyncio.sleep(upstream_s or 0.001)
        return left.pop() if left else CHUNKS[0]

    async def close() -> None:
        pass

    async def main() -> EventStream:
        timeouts = Timeouts(total_s=Seconds(0.3))
        stream = EventStream(Source("small", read, close), CHAT, timeouts, keep_usage=False)
        await stream.start()
        await anext(stream)
        await asyncio.sleep(client_s)
        with pytest.raises(UpstreamError, match="in time"):
            await read_on(stream)
        return stream

    async def read_on(stream: EventStream) -> None:
        async for _ in stream:
            await asyncio.sleep(0.01)

    assert (asyncio.run(main()).problem is not None) == fails


def test_a_text_that_looks_like_done_does_not_end_the_stream() -> None:
    event = b'data: {"choices":[{"delta":{"content":"\\ndata: [DONE]"}}]}\n\n'
    assert read(stream_of(event)) == event + b"<cut>"


def test_comments_and_unknown_events_are_passed_on() -> None:
    events = b": waiting\n\nevent: x\nid: 1\ndata: {}\n\n" + b"".join(CHUNKS)
    assert read(stream_of(events)) == events


def test_nothing_is_returned_before_the_first_content() -> None:
    async def main() -> bytes:
        stream = stream_of(ROLE, CHUNKS[0], CHUNKS[1], DONE)
        await stream.start()
        return await anext(stream)

    assert asyncio.run(main()) == ROLE + CHUNKS[0]


@pytest.mark.parametrize(
    ("chunks", "fault"),
    [
        ((), "empty"),
        ((ROLE,), "empty"),
        ((USAGE, DONE), "empty"),
        ((ROLE, b'data: {"error":{"message":"no"}}\n\n', DONE), "error_event"),
        ((ROLE, b'data: {"error":"no"}\n\n'), "error_event"),
    ],
)
def test_a_failure_before_the_first_content_is_a_failure_of_the_whole_call(
    chunks: tuple[bytes, ...], fault: str
) -> None:
    assert read(stream_of(*chunks)) == f"<{fault}>".encode()


def test_an_answer_without_text_is_complete() -> None:
    finish = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    assert read(stream_of(ROLE, finish, DONE)) == ROLE + finish + DONE


def test_an_error_in_the_middle_ends_the_stream_with_the_upstreams_message() -> None:
    async def main() -> str:
        stream = stream_of(CHUNKS[0], b'data: {"error":{"message":"out of memory","code":503}}\n\n', DONE)
        await stream.start()
        assert await anext(stream) == CHUNKS[0]
        with pytest.raises(UpstreamError, match="out of memory") as caught:
            await anext(stream)
        return f"{caught.value.status} {caught.value.fault}"

    assert asyncio.run(main()) == "503 error_event"


def test_usage_that_the_client_did_not_request_is_left_out_but_recorded() -> None:
    stream = stream_of(*CHUNKS[:2], USAGE, DONE)
    assert read(stream) == b"".join(CHUNKS)
    assert stream.usage == Usage(7, 2)


def test_usage_that_the_client_requested_comes_before_done() -> None:
    assert read(stream_of(*CHUNKS[:2], USAGE + DONE, keep_usage=True)) == b"".join(CHUNKS[:2]) + USAGE + DONE


@pytest.mark.parametrize("keep_usage", [False, True])
def test_events_that_arrive_together_are_read_and_counted_as_those_that_arrive_alone(keep_usage: bool) -> None:
    text = b'data: {"choices":[{"index":0,"delta":{"content":"two words"},"finish_reason":null}]}\n\n'
    end = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    events = (ROLE, text, text, b": comment\n\n", text, end, text, USAGE, DONE)
    alone, together = (stream_of(*chunks, keep_usage=keep_usage) for chunks in (events, (b"".join(events),)))
    assert read(alone) == read(together)
    assert alone.usage == together.usage == Usage(7, 2)
    for name in ("tokens", "sure_tokens", "since_report"):
        assert getattr(alone.delivered, name) == getattr(together.delivered, name)
    assert together.delivered.tokens == 9


MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
MESSAGE = (
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}\n\n'
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}\n\n'
)


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("behind", [CHUNKS[0], USAGE, DONE, b": comment\n\n", b"data: {\n\n", b"data: {"])
@pytest.mark.parametrize(
    ("protocol", "events", "closing"),
    [
        (CHAT, b"".join(CHUNKS[:2]), DONE),
        (CHAT, b"".join(CHUNKS[:2]), b"data:[DONE]\n\n"),
        (MESSAGES, MESSAGE, MESSAGE_STOP),
    ],
    ids=["chat", "chat-in-another-form", "messages"],
)
def test_what_follows_the_closing_event_is_left_out_however_it_arrives(
    protocol: WireProtocol, events: bytes, closing: bytes, behind: bytes, decode: bool
) -> None:
    for reads in ((events + closing + behind,), (events, closing + behind), (events, closing, behind)):
        stream = stream_of(*reads, protocol=protocol, decode=decode, keep_usage=True)
        assert read(stream) == events + closing
        assert stream.complete


def test_an_endless_event_is_rejected() -> None:
    assert read(stream_of(CHUNKS[0], *([b"x" * 2**20] * 17))) == CHUNKS[0] + b"<garbage>"


def test_an_anthropic_stream_ends_with_its_message_stop() -> None:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 3, "cache_read_input_tokens": 4}}}
    events = [
        start,
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    chunks = [b"event: x\ndata: " + msgspec.json.encode(event) + b"\n\n" for event in events]
    stream = stream_of(*chunks, protocol=MESSAGES)
    assert read(stream) == b"".join(chunks)
    assert stream.usage == Usage(7, 5, 4)
    assert read(stream_of(*chunks[:-1], protocol=MESSAGES)).endswith(b"<cut>")


def test_a_response_that_fails_before_its_first_content_is_a_failure_of_the_whole_call() -> None:
    failed = {"type": "response.failed", "response": {"error": {"message": "no", "code": "server_error"}}}
    event = b"event: response.failed\ndata: " + msgspec.json.encode(failed) + b"\n\n"
    assert read(stream_of(event, protocol=RESPONSES)) == b"<error_event>"
    delta = b'event: x\ndata: {"type":"response.output_text.delta","delta":"hi"}\n\n'
    assert read(stream_of(delta, event, protocol=RESPONSES)) == delta + event


def chunk(text: str, index: int = 0, finish: str | None = None) -> bytes:
    choice = {"index": index, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + msgspec.json.encode({"id": "c1", "created": 1, "model": "m", "choices": [choice]}) + b"\n\n"


LINE_ENDS = (b"\n", b"\r", b"\r\n")


@st.composite
def reads(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A complete stream with LF, and the same with any line ends, as it may be read in pieces."""
    texts = draw(st.lists(st.text(alphabet="aé\U0001f600", min_size=1, max_size=3), min_size=1, max_size=5))
    others = draw(st.lists(st.sampled_from((b": comment\n\n", b"id: 1\nevent: x\n\n", b"retry: 5\n\n")), max_size=2))
    plain = b"".join([*map(chunk, texts), *others, chunk("", finish="stop"), USAGE, DONE])
    written = bytearray()
    for line in plain.split(b"\n")[:-1]:
        end = draw(st.sampled_from(LINE_ENDS))
        # CR and LF are one line end, not two.
        written += line + (b"\r\n" if not line and written.endswith(b"\r") and end == b"\n" else end)
    sizes = draw(st.lists(st.integers(1, 90), min_size=1, max_size=60))
    pieces, start = [], 0
    for size in sizes:
        pieces.append(bytes(written[start : start + size]))
        start += size
    return plain, [piece for piece in [*pieces, bytes(written[start:])] if piece]


@given(reads())
def test_nothing_is_lost_between_the_input_and_the_output_of_a_relay(case: tuple[bytes, list[bytes]]) -> None:
    _, pieces = case
    written = b"".join(pieces)
    # The second half of a last CRLF may come after the stream is complete.
    assert read(stream_of(*pieces, keep_usage=True)).rstrip(b"\r\n") == written.rstrip(b"\r\n")


@given(reads())
def test_line_ends_and_sizes_of_reads_make_no_difference_to_a_conversion(case: tuple[bytes, list[bytes]]) -> None:
    plain, pieces = case

    async def converted_of(*chunks: bytes) -> bytes:
        stream = stream_of(*chunks, decode=True)
        await stream.start()
        body = {"model": "auto", "max_tokens": 9, "messages": []}
        return b"".join([part async for part in ConvertedStream(stream, CONVERSIONS["messages"].events(body))])

    async def main() -> tuple[bytes, bytes]:
        return await converted_of(plain), await converted_of(*pieces)

    expected, found = asyncio.run(main())
    assert found == expected
    assert b"message_stop" in found


@pytest.mark.parametrize(
    "chunks",
    [
        (chunk("a"), DONE),
        (chunk("a", finish=""), chunk("b", finish="")),
        (chunk("a"), chunk("b", 1), chunk("", finish="stop"), DONE),
        (chunk("a"), chunk("", finish="stop")[:-30]),
        (chunk("a"), b'data: {"choices":[{"index":0,"delta":{"content":"\xc3'),
    ],
    ids=["no reason", "empty reasons", "a choice is unfinished", "inside an event", "inside a character"],
)
def test_a_cut_stream_does_not_end_cleanly(chunks: tuple[bytes, ...]) -> None:
    received = read(stream_of(*chunks))
    assert received.endswith(b"<cut>")
    assert b"[DONE]" not in received


def test_a_stream_is_complete_when_every_choice_is_finished() -> None:
    chunks = (chunk("a"), chunk("b", 1), chunk("", finish="stop"), chunk("", 1, finish="length"))
    assert read(stream_of(*chunks)) == b"".join(chunks) + DONE


def test_a_finish_reason_of_a_server_that_gave_up_is_a_failure() -> None:
    end = chunk("", finish="insufficient_system_resource")
    assert read(stream_of(chunk("a"), end, DONE)) == chunk("a") + b"<error_event>"
    assert read(stream_of(end, DONE)) == b"<error_event>"


def test_an_event_that_cannot_be_read_is_passed_on_but_not_decoded() -> None:
    chunks = (chunk("a"), b'data: {"choices":[{"delta":{"content":"caf\xe9"}}]}\n\n', chunk("", finish="stop"), DONE)
    assert read(stream_of(*chunks)) == b"".join(chunks)
    assert read(stream_of(*chunks, decode=True)) == chunk("a") + b"<garbage>"


def test_a_message_without_a_stop_reason_is_cut_whatever_its_last_event_is() -> None:
    delta = b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}\n\n'
    stop = b'data: {"type":"message_stop"}\n\n'
    assert read(stream_of(delta, stop, protocol=MESSAGES)) == delta + b"<cut>"


class Relayed:
    """A stream whose upstream sends when the test says so."""

    def __init__(self, timeouts: Timeouts | None = None) -> None:
        self.answer = Answer(asyncio.get_running_loop(), lambda: None, lambda: None)
        self.passed: list[bytes] = []
        source = Source("small", self.answer.read, self._close, offer_to=self.answer.offer_to)
        self.stream = EventStream(source, CHAT, timeouts or Timeouts(), keep_usage=False)

    async def _close(self) -> None:
        self.answer.close()

    async def send(self, *chunks: bytes, is_last: bool = False) -> None:
        self.answer.update(SimpleNamespace(head=Head(200, {}, None), chunks=list(chunks), is_complete=is_last))
        # Whoever was woken runs first.
        await asyncio.sleep(0)

    async def begin(self) -> asyncio.Task[bytes]:
        """Read the beginning, and wait for what follows."""
        await self.send(CHUNKS[0], TEXT)
        await self.stream.start()
        assert await anext(self.stream) == CHUNKS[0] + TEXT
        self.stream.offer_to(self.take)
        reading = asyncio.ensure_future(anext(self.stream, b""))
        await asyncio.sleep(0)
        return reading

    def take(self, piece: bytes) -> bool:
        self.passed.append(piece)
        return True


TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"more"},"finish_reason":null}]}\n\n'


def test_events_that_only_continue_the_text_are_passed_on_while_the_reader_waits() -> None:
    async def main() -> None:
        relayed = Relayed()
        reading = await relayed.begin()
        await relayed.send(TEXT)
        await relayed.send(TEXT, TEXT)
        assert relayed.passed == [TEXT, TEXT + TEXT]
        assert not reading.done()
        assert relayed.stream.delivered.tokens == 5
        await relayed.send(CHUNKS[1] + USAGE + DONE, is_last=True)
        assert await reading == CHUNKS[1] + DONE
        assert relayed.stream.complete
        assert relayed.stream.usage == Usage(7, 2)
        await relayed.stream.aclose()

    asyncio.run(main())


@pytest.mark.parametrize(
    "piece", [USAGE + TEXT, TEXT + CHUNKS[1], TEXT[:9], TEXT + TEXT[:9], b'data: {"error":{"message":"no"}}\n\n']
)
def test_what_matters_and_what_is_not_whole_is_for_the_reader(piece: bytes) -> None:
    async def main() -> None:
        relayed = Relayed()
        reading = await relayed.begin()
        await relayed.send(piece)
        # The reader has it, and its rest is not overtaken.
        await relayed.send(TEXT)
        assert relayed.passed == []
        reading.cancel()
        await relayed.stream.aclose()

    asyncio.run(main())


def test_what_a_client_cannot_take_now_is_read_in_order() -> None:
    async def main() -> None:
        relayed = Relayed()
        reading = await relayed.begin()
        relayed.stream.offer_to(lambda _: False)
        relayed.answer.update(SimpleNamespace(head=None, chunks=[TEXT], is_complete=False))
        relayed.stream.offer_to(relayed.take)
        # The reader is woken, and has not read yet.
        relayed.answer.update(SimpleNamespace(head=Head(200, {}, None), chunks=[CHUNKS[0]], is_complete=False))
        assert await reading == TEXT + CHUNKS[0]
        assert relayed.passed == []
        assert relayed.stream.delivered.tokens == 4
        await relayed.stream.aclose()

    asyncio.run(main())


def test_a_pause_counts_from_what_was_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        relayed = Relayed(Timeouts(idle_s=Seconds(0.02)))
        reading = await relayed.begin()
        now_s = time.monotonic()

        def after(seconds: float) -> SimpleNamespace:
            return SimpleNamespace(monotonic=lambda: now_s + seconds)

        with monkeypatch.context() as later:
            later.setattr("router.dispatch.stream.time", after(100))
            await relayed.send(TEXT)
        assert not (await asyncio.wait((reading,), timeout=0.1))[0]
        await relayed.send(CHUNKS[1])
        assert await reading == CHUNKS[1]
        with monkeypatch.context() as later:
            later.setattr("router.dispatch.stream.time", after(101))
            with pytest.raises(UpstreamError, match="in time"):
                await anext(relayed.stream)
        await relayed.stream.aclose()

    asyncio.run(main())
