"""One connection, which carries many requests at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings
from hpack import HeaderTuple

from router.dispatch.http1.answer import Answer
from router.dispatch.http1.errors import BrokenError, ProtocolError
from router.dispatch.http1.parser import MAX_HEAD_BYTES
from router.dispatch.http2.frames import MAX_FRAME_BYTES, Frames, GoAway
from router.dispatch.http2.stream import Stream, head_of

STREAM_WINDOW_BYTES = 256 * 1024
"""How much of an answer is read before its caller takes it."""
# Taken back at once, so that a caller who is slow stops no other.
_CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
_CONNECTION_DEFAULT_BYTES = 65_535
MAX_STREAMS = 10_000
"""How many requests a connection carries in its life, since h2 remembers each."""
MAX_CANCELLED = 100
"""How many requests of a connection may be cancelled: servers close one that resets many, with all that it carries."""
# So many requests at most are lost with a connection.
_MAX_AT_ONCE = 256
# Between these, the event loop serves others.
_FRAMES_A_TURN = 128
_MAX_WRITE_BYTES = 256 * 1024
_MAX_TABLE_BYTES = 4096


class Connection(asyncio.Protocol):
    """See the module. `on_change` is called when a request has ended, or the connection takes fewer or no more.

    `ready` has a result once the server has stated its settings, else BrokenError or ProtocolError.
    """

    def __init__(self, on_change: Callable[[Connection], None]) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.received_s = loop.time()
        self.is_over = self.wants_http1 = False
        self._loop, self._on_change = loop, on_change
        self._h2 = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=False,
                # `request_fields` and `head_of` do it, the latter for one stream.
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            )
        )
        self._frames = Frames(loop.time)
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Stream] = {}
        self._sending: dict[int, Stream] = {}
        self._limit = self._opened = self._cancelled = self._unreturned_bytes = 0
        self._takes_no_more = self._is_paused_writing = self._has_turn = self._is_flushing = self._sends_soon = False
        self._pong: asyncio.Future[None] | None = None

    @property
    def room(self) -> int:
        """How many requests may be sent now."""
        return max(0, self._limit - len(self._streams)) if self.is_open else 0

    @property
    def is_open(self) -> bool:
        """Whether requests may be sent, now or when others have ended."""
        return not (self.is_over or self._takes_no_more or self._cancelled >= MAX_CANCELLED)

    @property
    def streams(self) -> int:
        """How many requests it carries now."""
        return len(self._streams)

    def send(self, fields: list[HeaderTuple], body: bytes, *, is_last: bool = False) -> Answer:
        """Send a request; the answer is filled as it arrives. Only where there is room. `is_last`: no other follows."""
        number = self._h2.get_next_available_stream_id()
        self._h2.send_headers(number, fields, end_stream=not body)
        stream = self._streams[number] = Stream(self._loop, number, body, self._cancel, self._taken)
        self._opened += 1
        if is_last or self._opened >= MAX_STREAMS:
            self._takes_no_more = True
        if body:
            self._sending[number] = stream
            self._send_part(stream)
        self._flush_soon()
        return stream.answer

    async def check(self) -> None:
        """Return once the server has answered that it is there. Raises BrokenError where the connection has ended."""
        if self._pong is None:
            self._pong = self._loop.create_future()
            self._h2.ping(b"pulvinar")
            self._flush_soon()
        await asyncio.shield(self._pong)

    def retire(self) -> None:
        """Take no more requests, and end with the last of those that run."""
        self._takes_no_more = True
        self._close_if_unused()
        self._on_change(self)

    def abort(self, failure: Exception | None = None) -> None:
        """End the connection at once, with everything that it carries."""
        if self.is_over:
            return
        with contextlib.suppress(H2Error):
            self._h2.close_connection()
        self._flush()
        self._end(failure or BrokenError("the connection was closed"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's callback."""
        self._transport = cast("asyncio.Transport", transport)
        self._h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
                SettingCodes.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD_BYTES,
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW_BYTES - _CONNECTION_DEFAULT_BYTES)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """asyncio's callback."""
        self.received_s = self._loop.time()
        self._frames.feed(data)
        if not self._has_turn:
            self._read()

    def eof_received(self) -> None:
        """asyncio's callback. The transport then closes itself."""
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's callback."""
        # What has arrived before may still wait for its turn.
        while self._has_turn:
            self._read()
        words = "the connection ended before its answer" if exc is None else f"the connection broke: {exc}"
        self._end(BrokenError(words))

    def pause_writing(self) -> None:
        """asyncio's callback: the server is slow to read."""
        self._is_paused_writing = True

    def resume_writing(self) -> None:
        """asyncio's callback."""
        self._is_paused_writing = False
        self._send_more()

    def _read(self) -> None:
        """Handle what has arrived, up to the end of this turn."""
        self._has_turn = False
        try:
            for _ in range(_FRAMES_A_TURN):
                frame = None if self.is_over else self._frames.next()
                if frame is None:
                    break
                if isinstance(frame, GoAway):
                    self._goes_away(frame)
                else:
                    self._handle(self._h2.receive_data(frame))
            else:
                self._next_turn()
        except ProtocolError as error:
            self.abort(error)
        except (H2Error, ValueError, LookupError) as error:
            # h2 has prepared what tells the server.
            self._flush()
            self.abort(ProtocolError(f"the server broke the protocol: {error}"))
        else:
            self._close_if_unused()
            self._flush()

    def _next_turn(self) -> None:
        if self._transport is not None and not self.is_over:
            self._has_turn = True
            if not self._transport.is_closing():
                self._transport.pause_reading()
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        if not self._has_turn:
            return
        self._read()
        if not self._has_turn and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _handle(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, DataReceived):
                self._data(event)
            elif isinstance(event, ResponseReceived):
                self._response(event)
            elif isinstance(event, StreamEnded):
                self._ended(event.stream_id)
            elif isinstance(event, StreamReset):
                self._reset(event)
            elif isinstance(event, WindowUpdated):
                self._send_more()
            elif isinstance(event, RemoteSettingsChanged):
                self._settings()
            elif isinstance(event, PingAckReceived) and self._pong is not None:
                pong, self._pong = self._pong, None
                pong.set_result(None)

    def _data(self, event: DataReceived) -> None:
        length, data = event.flow_controlled_length, event.data
        self._unreturned_bytes += length
        # h2 returns by itself what arrives for streams that were reset, once it is a half: both must fit.
        if self._unreturned_bytes >= _CONNECTION_WINDOW_BYTES // 4:
            self._h2.increment_flow_control_window(self._unreturned_bytes)
            self._unreturned_bytes = 0
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        stream.untaken_bytes += length
        if data:
            self._frames.earn()
            stream.chunks.append(bytes(data))
            if event.stream_ended is None:
                stream.answer.update(stream)
        elif length:
            # Nobody takes a padding.
            self._taken(stream)

    def _response(self, event: ResponseReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        try:
            stream.head = head_of(event.headers)
        except ProtocolError as error:
            self._drop(stream, error)
            return
        self._frames.earn()
        if event.stream_ended is None:
            stream.answer.update(stream)

    def _ended(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        if stream.unsent:  # The server has answered before it has read the request.
            self._forget(stream, ErrorCodes.NO_ERROR)
        stream.is_complete = True
        stream.answer.update(stream)
        self._on_change(self)

    def _reset(self, event: StreamReset) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        if event.error_code == ErrorCodes.HTTP_1_1_REQUIRED:
            self.wants_http1 = self._takes_no_more = True
        is_refused = event.error_code == ErrorCodes.REFUSED_STREAM
        if is_refused:
            # It accepts fewer streams than its settings state, or none.
            self._limit = len(self._streams) - 1
            self._takes_no_more = self._takes_no_more or self._limit < 1
        name = getattr(event.error_code, "name", event.error_code)
        self._lose(stream, f"the server reset the stream ({name})", is_unprocessed=is_refused)

    def _settings(self) -> None:
        self._limit = min(self._h2.remote_settings.max_concurrent_streams, _MAX_AT_ONCE)
        # h2 would use as large a table as the server allows, and search it line by line.
        self._h2.encoder.header_table_size = min(self._h2.remote_settings.header_table_size, _MAX_TABLE_BYTES)
        if not self.ready.done():
            self.ready.set_result(None)
        self._send_more()
        self._on_change(self)

    def _goes_away(self, away: GoAway) -> None:
        self._takes_no_more = True
        for stream in [each for each in self._streams.values() if each.id > away.last_stream]:
            self._lose(stream, "the server ends the connection", is_unprocessed=True)
        self._on_change(self)

    def _lose(self, stream: Stream, problem: str, *, is_unprocessed: bool = False) -> None:
        """The exchange ends without a whole answer."""
        is_unanswered = stream.head is None
        self._drop(stream, BrokenError(problem, is_unanswered=is_unanswered, is_unprocessed=is_unprocessed))

    def _drop(self, stream: Stream, failure: Exception) -> None:
        self._streams.pop(stream.id, None)
        self._forget(stream, ErrorCodes.CANCEL)
        stream.answer.fail(failure)
        self._on_change(self)

    def _forget(self, stream: Stream, code: ErrorCodes) -> None:
        """End the stream on this side, where it has not ended."""
        stream.unsent = memoryview(b"")
        self._sending.pop(stream.id, None)
        with contextlib.suppress(H2Error):
            self._h2.reset_stream(stream.id, code)

    def _cancel(self, stream: Stream) -> None:
        """Nobody waits for the answer any more."""
        if self._streams.get(stream.id) is not stream:
            return
        self._cancelled += 1
        self._drop(stream, BrokenError("the call was cancelled"))
        self._close_if_unused()
        self._flush_soon()

    def _taken(self, stream: Stream) -> None:
        """The caller has read what had arrived."""
        if stream.untaken_bytes >= STREAM_WINDOW_BYTES // 4 and stream.id in self._streams:
            with contextlib.suppress(H2Error):
                self._h2.increment_flow_control_window(stream.untaken_bytes, stream.id)
            stream.untaken_bytes = 0
            self._flush_soon()

    def _send_more(self) -> None:
        self._sends_soon = False
        for stream in list(self._sending.values()):
            self._send_part(stream)
        self._flush_soon()

    def _send_part(self, stream: Stream) -> None:
        """Send what the server's windows, and one turn, allow of a body."""
        left, most = _MAX_WRITE_BYTES, min(self._h2.max_outbound_frame_size, 4 * MAX_FRAME_BYTES)
        while left > 0 and not self._is_paused_writing:
            size = min(len(stream.unsent), most, self._h2.local_flow_control_window(stream.id))
            if size <= 0:
                return
            is_last = size == len(stream.unsent)
            self._h2.send_data(stream.id, bytes(stream.unsent[:size]), end_stream=is_last)
            self._frames.earn()
            stream.unsent = stream.unsent[size:]
            left -= size
            if is_last:
                self._sending.pop(stream.id, None)
                return
        if not (self._is_paused_writing or self._sends_soon):
            self._sends_soon = True
            self._loop.call_soon(self._send_more)

    def _flush_soon(self) -> None:
        """Write what is to be sent at the end of this pass of the loop, with that of other calls."""
        if not self._is_flushing and not self.is_over:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        transport = self._transport
        if self.is_over or transport is None or transport.is_closing():
            return
        if data := self._h2.data_to_send():
            transport.write(data)

    def _close_if_unused(self) -> None:
        if not self._streams and self.ready.done() and not self.is_open:
            self.abort()

    def _end(self, failure: Exception) -> None:
        """The connection is over, for every request on it."""
        if self.is_over:
            return
        self.is_over = True
        streams, self._streams, self._sending = list(self._streams.values()), {}, {}
        for stream in streams:
            stream.unsent = memoryview(b"")
            is_broken = isinstance(failure, BrokenError)
            stream.answer.fail(BrokenError(str(failure), is_unanswered=stream.head is None) if is_broken else failure)
        for waiter in (self.ready, self._pong):
            if waiter is not None and not waiter.done():
                waiter.set_exception(failure)
                # Whoever waited may be gone.
                waiter.exception()
        if self._transport is not None:
            self._transport.abort()
        self._on_change(self)
