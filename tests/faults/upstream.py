"""A model server whose fault is selected by the model's name: `python -m tests.faults.upstream [PORT]`.

It implements HTTP itself, since no framework lets a handler close its connection in the middle of a chunk. Every prefix
of a path before `/v1/` is a deployment, so one server serves any number of deployments.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gzip
import itertools
import json
import socket
import struct
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from msgspec import Struct

from tests.faults.answers import ANSWERS
from tests.faults.wires import CHAT, WIRES, Wire

RETRY_AFTER_S = "7"
HUGE_BYTES = 100 * 1000 * 1000
# Long enough that the sent data has been read before the fault.
_SETTLE_S = 0.03
_SLOW_START_S = 0.5
PAUSE_S = 1.0
# Duration of a slow response, independent of its length.
DRIP_S = 0.6
_JSON, _EVENTS, _HTML = "application/json", "text/event-stream", "text/html; charset=utf-8"
_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_GARBAGE = b'{"choices": [{"message": {"content": "Hel'
_LARGEST_HEADER = 1 << 20


class Seen(Struct, frozen=True):
    """A request as it reached the upstream. `path` has the prefix; `number` is that of the call."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    number: int

    @property
    def model(self) -> str:
        """The requested model."""
        return str(self.body.get("model"))


class _DisconnectError(Exception):
    """Ends the behaviour and closes the connection."""


class Call:
    """One request, and the ways to respond to it."""

    def __init__(
        self, seen: Seen, wire: Wire, earlier: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.seen, self.wire, self.earlier = seen, wire, earlier
        self._reader, self._writer = reader, writer

    @property
    def stream(self) -> bool:
        """Whether the caller requested a stream."""
        return self.seen.body.get("stream") is True and bool(self.wire.tail)

    async def respond(
        self, status: int = 200, body: bytes | None = None, kind: str = _JSON, headers: tuple[str, ...] = ()
    ) -> None:
        """Send a complete response with a content-length."""
        body = self.numbered(self.wire.whole if body is None else body)
        head = [f"HTTP/1.1 {status} Status", f"content-type: {kind}", f"content-length: {len(body)}", *headers]
        await self.write("\r\n".join([*head, "", ""]).encode() + body)

    async def begin(self, kind: str | None = None) -> None:
        """Send the headers of a chunked response."""
        kind = kind or (_EVENTS if self.stream else _JSON)
        await self.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())

    async def send(self, *chunks: bytes) -> None:
        """Send every item of `chunks` as one chunk."""
        for chunk in map(self.numbered, chunks):
            await self.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    async def end(self) -> None:
        """End a chunked response."""
        await self.write(b"0\r\n\r\n")

    async def write(self, raw: bytes) -> None:
        """Send `raw` unchanged."""
        if self._writer.is_closing():
            raise _DisconnectError
        self._writer.write(raw)
        await self._writer.drain()

    async def settle(self) -> None:
        """Wait until the sent data has arrived."""
        await asyncio.sleep(_SETTLE_S)

    async def until_disconnect(self) -> None:
        """Wait until the caller disconnects. Never returns."""
        # Bytes of another request would mean that the caller no longer waits for this response.
        await self._reader.read(1)
        raise _DisconnectError

    def reset(self) -> None:
        """Drop the connection with a TCP reset. Never returns."""
        connection_socket: socket.socket = self._writer.get_extra_info("socket")
        connection_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        raise _DisconnectError

    def events(self) -> tuple[bytes, ...]:
        """The events of a complete healthy stream."""
        wire = self.wire
        options = self.seen.body.get("stream_options")
        counted = wire.counted and isinstance(options, dict) and options.get("include_usage") is True
        *last_events, done = wire.tail
        return (*wire.head, *wire.content, *last_events, *((wire.counted,) if counted else ()), done)

    def numbered(self, chunk: bytes) -> bytes:
        """The chunk with the number of the call."""
        return chunk.replace(b"{id}", b"%d" % self.seen.number)


Behaviour = Callable[[Call], Awaitable[None]]
BEHAVIOURS: dict[str, Behaviour] = {}


def _behaviour(function: Behaviour) -> Behaviour:
    BEHAVIOURS[function.__name__.strip("_").replace("_", "-")] = function
    return function


def _answers(status: int, body: bytes) -> Behaviour:
    return lambda call: call.respond(status, body)


BEHAVIOURS.update({name: _answers(status, json.dumps(body).encode()) for name, (status, body) in ANSWERS.items()})


@_behaviour
async def ok(call: Call) -> None:
    """Responds."""
    if not call.stream:
        await call.respond()
        return
    await call.begin()
    await call.send(*call.events())
    await call.end()


@_behaviour
async def rate_limited(call: Call) -> None:
    """429 with Retry-After."""
    await call.respond(429, call.wire.error, headers=(f"retry-after: {RETRY_AFTER_S}",))


@_behaviour
async def server_error(call: Call) -> None:
    """500 with a JSON error."""
    await call.respond(500, call.wire.error)


@_behaviour
async def bad_gateway_page(call: Call) -> None:
    """502 with a web page."""
    await call.respond(502, _PAGE, _HTML)


@_behaviour
async def hangs_before_headers(call: Call) -> None:
    """Reads the request and sends nothing."""
    await call.until_disconnect()


@_behaviour
async def hangs_before_content(call: Call) -> None:
    """Sends the headers, then nothing."""
    await call.begin()
    await call.until_disconnect()


@_behaviour
async def hangs_after_role(call: Call) -> None:
    """Sends the events before any content, then nothing."""
    await call.begin()
    await call.send(*(call.wire.head if call.stream else (call.wire.whole[:20],)))
    await call.until_disconnect()


@_behaviour
async def hangs_mid_stream(call: Call) -> None:
    """Sends a part of the response, then nothing."""
    await _first_part(call)
    await call.until_disconnect()


@_behaviour
async def cuts_before_headers(call: Call) -> None:
    """Reads the request and disconnects."""
    del call
    raise _DisconnectError


@_behaviour
async def cuts_after_headers(call: Call) -> None:
    """Disconnects after the headers."""
    await call.begin()
    await call.settle()
    raise _DisconnectError


@_behaviour
async def cuts_after_role(call: Call) -> None:
    """Disconnects after the events before any content."""
    await call.begin()
    await call.send(*(call.wire.head if call.stream else (call.wire.whole[:20],)))
    await call.settle()
    raise _DisconnectError


@_behaviour
async def cuts_mid_stream(call: Call) -> None:
    """Disconnects between two events, after content."""
    await _first_part(call)
    raise _DisconnectError


@_behaviour
async def resets_mid_stream(call: Call) -> None:
    """Resets the connection after content."""
    await _first_part(call)
    call.reset()


@_behaviour
async def cuts_mid_event(call: Call) -> None:
    """Disconnects inside an event, after content."""
    await _first_part(call)
    if call.stream:
        await call.send(call.wire.content[1][:40])
        await call.settle()
    raise _DisconnectError


@_behaviour
async def cuts_mid_chunk(call: Call) -> None:
    """Disconnects inside an HTTP chunk, after content."""
    await _first_part(call)
    await call.write(b'400\r\ndata: {"choi')
    await call.settle()
    raise _DisconnectError


@_behaviour
async def breaks_framing(call: Call) -> None:
    """Sends a chunk whose length is not a number, after content."""
    await _first_part(call)
    await call.write(b"what?\r\n")
    await call.settle()
    raise _DisconnectError


@_behaviour
async def cuts_mid_body(call: Call) -> None:
    """Sends less than its content-length. A stream has no such header: it ends early, as if it were complete."""
    if call.stream:
        await _first_part(call)
        await call.end()
        return
    whole = call.wire.whole
    await call.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(whole))
    await call.write(whole[:-20])
    await call.settle()
    raise _DisconnectError


@_behaviour
async def error_after_role(call: Call) -> None:
    """Sends an error event after the events before any content, then the end."""
    await call.begin()
    if call.stream:
        await call.send(*call.wire.head, call.wire.error_event)
    else:
        await call.send(call.wire.error)
    await call.end()


@_behaviour
async def error_mid_stream(call: Call) -> None:
    """Sends an error event after content, then a regular end (as vLLM does)."""
    await _first_part(call)
    if call.stream:
        await call.send(call.wire.error_event, call.wire.tail[-1])
    await call.end()


@_behaviour
async def error_in_200(call: Call) -> None:
    """Status 200 with a JSON error as its body, also for a stream."""
    await call.respond(200, call.wire.error)


@_behaviour
async def empty_events(call: Call) -> None:
    """Sends events without content first, and a usage chunk at the end."""
    if not call.stream:
        await call.respond()
        return
    *events, done = call.events()
    await call.begin()
    await call.send(*call.wire.harmless, *events, *((call.wire.counted,) if call.wire.counted else ()), done)
    await call.end()


@_behaviour
async def no_choices(call: Call) -> None:
    """A response with empty `choices` from beginning to end."""
    if not call.stream:
        await call.respond(200, call.wire.whole_empty)
        return
    await call.begin()
    await call.send(*call.wire.stream_empty)
    await call.end()


@_behaviour
async def empty_body(call: Call) -> None:
    """Status 200 with an empty body."""
    await call.begin()
    await call.end()


@_behaviour
async def garbage_json(call: Call) -> None:
    """A body, or events, that are not JSON."""
    if not call.stream:
        await call.respond(200, _GARBAGE)
        return
    await call.begin()
    await call.send(b"data: " + _GARBAGE + b"\n\n", b"data: \xff\xfe\x00nonsense\n\n")
    await call.end()


@_behaviour
async def wrong_content_type(call: Call) -> None:
    """A web page with status 200, such as a login page or the error page of a proxy."""
    await call.respond(200, _PAGE, _HTML)


@_behaviour
async def huge_body(call: Call) -> None:
    """100 MB in one JSON text or one event."""
    await call.begin()
    cut = call.wire.content[0].index(b"Hello") if call.stream else call.wire.whole.index(b"Hello")
    await call.send((call.wire.content[0] if call.stream else call.wire.whole)[:cut])
    chunk = b"%x\r\n%b\r\n" % (1 << 16, b"a" * (1 << 16))
    for _ in range(HUGE_BYTES >> 16):
        await call.write(chunk)
    await call.end()


@_behaviour
async def slow_drip(call: Call) -> None:
    """Responds byte by byte, without long pauses."""
    content = b"".join(call.events()) if call.stream else call.wire.whole
    await call.begin()
    clock = asyncio.get_running_loop().time
    start = clock()
    for number, byte in enumerate(content.replace(b"{id}", b"%d" % call.seen.number)):
        # Timed by the clock, so that a busy machine does not prolong it.
        await asyncio.sleep(max(start + DRIP_S * number / len(content) - clock(), 0))
        await call.send(bytes((byte,)))
    await call.end()


@_behaviour
async def closes_after_each(call: Call) -> None:
    """Responds and disconnects without a `connection: close` header."""
    await ok(call)
    raise _DisconnectError


@_behaviour
async def drops_reused(call: Call) -> None:
    """Responds to the first request of a connection and disconnects at the second, as after an idle timeout."""
    if call.earlier:
        raise _DisconnectError
    await ok(call)


@_behaviour
async def swaps_stream_and_whole(call: Call) -> None:
    """One JSON text for a stream, and a stream for a whole response."""
    if call.stream:
        await call.respond()
        return
    await call.begin(_EVENTS)
    await call.send(*call.wire.head, *call.wire.content, *call.wire.tail)
    await call.end()


@_behaviour
async def plain_text_events(call: Call) -> None:
    """Events whose content type is text/plain."""
    if not call.stream:
        await call.respond(kind="text/plain")
        return
    await call.begin("text/plain")
    await call.send(*call.events())
    await call.end()


@_behaviour
async def mixed_line_ends(call: Call) -> None:
    """A byte order mark, then events whose lines end with CRLF and LF in turn, in chunks of seven bytes."""
    if not call.stream:
        await call.respond()
        return
    ends = itertools.cycle((b"\r\n", b"\n"))
    content = call.numbered(b"".join(event.replace(b"\n", next(ends)) for event in call.events()))
    content = b"\xef\xbb\xbf" + content
    await call.begin()
    await call.send(*(content[start : start + 7] for start in range(0, len(content), 7)))
    await call.end()


@_behaviour
async def compresses(call: Call) -> None:
    """A response in gzip, which the caller did not accept."""
    body = b"".join(call.events()) if call.stream else call.wire.whole
    body = gzip.compress(call.numbered(body))
    await call.respond(200, body, _EVENTS if call.stream else _JSON, ("content-encoding: gzip",))


@_behaviour
async def unknown_coding(call: Call) -> None:
    """A body in a content coding that nobody knows."""
    await call.respond(200, b"\x01\x02\x03", _EVENTS if call.stream else _JSON, ("content-encoding: exotic",))


@_behaviour
async def unfinished_choice(call: Call) -> None:
    """One of two choices finishes, and the stream ends as if it were complete. A whole response is cut."""
    await _first_part(call)
    if not call.stream:
        raise _DisconnectError
    begun = call.wire.content[0].replace(b"Hello", b"").replace(b'"index":0', b'"index":1')
    await call.send(begun, *call.wire.tail)
    await call.end()


@_behaviour
async def empty_finish_reasons(call: Call) -> None:
    """A stream whose finish reasons are all empty ends early. A whole response is cut."""
    if not call.stream:
        await _first_part(call)
        raise _DisconnectError
    events = (*call.wire.head, *call.wire.content)
    await call.begin()
    await call.send(*(event.replace(b'"finish_reason":null', b'"finish_reason":""') for event in events))
    await call.end()


@_behaviour
async def gives_up(call: Call) -> None:
    """The finish reason is that of a server that ran out of resources; the response ends as if it were complete."""
    reason = b"insufficient_system_resource"
    if not call.stream:
        body = json.dumps(json.loads(call.wire.whole), separators=(",", ":")).encode()
        await call.respond(200, body.replace(b'"finish_reason":"stop"', b'"finish_reason":"%b"' % reason))
        return
    await _first_part(call)
    await call.send(*(event.replace(b'"stop"', b'"%b"' % reason) for event in call.wire.tail))
    await call.end()


@_behaviour
async def endless(call: Call) -> None:
    """Content without end, one chunk every 20 ms."""
    await call.begin()
    if call.stream:
        await call.send(*call.wire.head)
    while True:
        await call.send(call.wire.content[0] if call.stream else b" ")
        await asyncio.sleep(0.02)


@_behaviour
async def long_stream(call: Call) -> None:
    """More than 100 MB of healthy events."""
    whole, *_ = call.wire.content
    event = whole.replace(b"Hello", b"a" * (1 << 14))
    await call.begin()
    await call.send(*call.wire.head)
    for _ in range(HUGE_BYTES // (1 << 14) + 1):
        await call.send(event)
    await call.send(*call.wire.tail)
    await call.end()


@_behaviour
async def long_body(call: Call) -> None:
    """A healthy answer of 30 MB in one JSON text."""
    start, end = call.wire.whole.split(b"Hello", 1)
    await call.begin()
    await call.send(start)
    for _ in range(30):
        await call.send(b"a" * 1_000_000)
    await call.send(end)
    await call.end()


@_behaviour
async def slow_start(call: Call) -> None:
    """Responds completely after a delay."""
    await asyncio.sleep(_SLOW_START_S)
    await ok(call)


@_behaviour
async def pauses(call: Call) -> None:
    """Responds with a pause in the middle."""
    first, second, *rest = call.events()
    await call.begin()
    await call.send(first, second)
    await asyncio.sleep(PAUSE_S)
    await call.send(*rest)
    await call.end()


async def _first_part(call: Call) -> None:
    await call.begin()
    if call.stream:
        await call.send(*call.wire.head, call.wire.content[0])
    else:
        await call.send(call.wire.whole[: len(call.wire.whole) // 2])
    await call.settle()


class Upstream:
    """The server. `seen` are its requests in order, recorded while `record_requests`."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self.record_requests = True
        self._open: collections.Counter[str] = collections.Counter()
        self._numbers = itertools.count(1)

    @property
    def open_calls(self) -> int:
        """The number of running calls."""
        return self._open.total()

    def open_at(self, prefix: str) -> int:
        """The number of running calls whose path begins with `/prefix/`."""
        return self._open[prefix]

    def seen_at(self, prefix: str) -> list[Seen]:
        """The requests whose path begins with `/prefix/`."""
        return [seen for seen in self.seen if seen.path.startswith(f"/{prefix}/")]

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle the requests of one connection until either side disconnects."""
        try:
            with contextlib.suppress(_DisconnectError, ConnectionError, asyncio.IncompleteReadError):
                for earlier in itertools.count():
                    request = await _read(reader, writer)
                    await self._handle(request, earlier, reader, writer)
        finally:
            # Also where the server ends meanwhile.
            writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _handle(
        self,
        request: tuple[str, str, dict[str, str], bytes],
        earlier: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        method, path, headers, raw = request
        _, _, endpoint = path.partition("/v1/")
        if method == "GET":
            models = [{"id": name, "object": "model", "created": 0, "owned_by": "faults"} for name in BEHAVIOURS]
            body = json.dumps({"object": "list", "data": models, "open_calls": self.open_calls}).encode()
            seen = Seen(path, headers, {}, 0)
            await Call(seen, CHAT, earlier, reader, writer).respond(200, body)
            return
        seen = Seen(path, headers, json.loads(raw), next(self._numbers))
        call = Call(seen, WIRES.get(endpoint, CHAT), earlier, reader, writer)
        if endpoint not in WIRES or seen.model not in BEHAVIOURS:
            await call.respond(404, json.dumps({"error": {"message": f"no {seen.model} at {path}"}}).encode())
            return
        if self.record_requests:
            self.seen.append(seen)
        deployment = path.split("/")[1]
        self._open[deployment] += 1
        try:
            await BEHAVIOURS[seen.model](call)
        finally:
            self._open[deployment] -= 1


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        chunks = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            chunks.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return method, target.partition("?")[0], headers, b"".join(chunks)
    raw = await reader.readexactly(int(headers.get("content-length", 0)))
    return method, target.partition("?")[0], headers, raw


async def _run(upstream: Upstream, port: int, started: Callable[[], None], stop: asyncio.Event) -> None:
    server = await asyncio.start_server(
        upstream.serve_connection, "127.0.0.1", port, limit=_LARGEST_HEADER, backlog=1024
    )
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    started()
    await stop.wait()
    server.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


@contextlib.contextmanager
def fault_upstream() -> Iterator[Upstream]:
    """The server in a separate thread, on a free loopback port."""
    upstream, ready, stop = Upstream(), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(_run(upstream, 0, ready.set, stop))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield upstream
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A loopback port that refuses connections and is reserved meanwhile."""
    # Bound but not listening.
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def main(arguments: list[str]) -> None:
    """Serve until killed; the first printed line is the URL."""
    upstream = Upstream()
    upstream.record_requests = False
    port = int(arguments[0]) if arguments else 0
    asyncio.run(_run(upstream, port, lambda: print(upstream.url, flush=True), asyncio.Event()))


if __name__ == "__main__":
    main(sys.argv[1:])
