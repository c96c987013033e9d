"""A model server that breaks in the way that the model's name says: `python -m tests.faults.upstream [PORT]`.

It speaks HTTP by itself, since no framework lets a handler cut its own connection in the middle of a chunk. What stands
before `/v1/` in a path is the caller's: one server plays as many deployments as there are prefixes.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import json
import socket
import struct
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from msgspec import Struct

from tests.faults.wires import CHAT, WIRES, Wire

RETRY_AFTER_S = "7"
HUGE_BYTES = 100 * 1000 * 1000
# Long enough that what was sent has been read before the fault comes.
_SETTLE_S = 0.03
_SLOW_START_S = 0.5
PAUSE_S = 1.0
# A dripping answer takes this long, whatever its length.
DRIP_S = 0.6
_JSON, _EVENTS, _HTML = "application/json", "text/event-stream", "text/html; charset=utf-8"
_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_GARBAGE = b'{"choices": [{"message": {"content": "Hel'
_LARGEST_HEADER = 1 << 20


class Seen(Struct, frozen=True):
    """A request as it reached the upstream. `path` is all of it; `number` that of the call."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    number: int

    @property
    def model(self) -> str:
        """The model asked for."""
        return str(self.body.get("model"))


class _HangupError(Exception):
    """The behaviour is over and the connection with it."""


class Call:
    """One request, and the means to answer it well or badly."""

    def __init__(
        self, seen: Seen, wire: Wire, earlier: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.seen, self.wire, self.earlier = seen, wire, earlier
        self._reader, self._writer = reader, writer

    @property
    def stream(self) -> bool:
        """Whether the caller asked for events."""
        return self.seen.body.get("stream") is True and bool(self.wire.tail)

    async def answer(
        self, status: int = 200, body: bytes | None = None, kind: str = _JSON, headers: tuple[str, ...] = ()
    ) -> None:
        """One whole answer of known length."""
        body = self._named(self.wire.whole if body is None else body)
        head = [f"HTTP/1.1 {status} Said", f"content-type: {kind}", f"content-length: {len(body)}", *headers]
        await self.write("\r\n".join([*head, "", ""]).encode() + body)

    async def begin(self, kind: str | None = None) -> None:
        """The headers of an answer in chunks."""
        kind = kind or (_EVENTS if self.stream else _JSON)
        await self.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())

    async def send(self, *pieces: bytes) -> None:
        """Each of `pieces` in a chunk of its own."""
        for piece in map(self._named, pieces):
            await self.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    async def end(self) -> None:
        """The end of an answer in chunks."""
        await self.write(b"0\r\n\r\n")

    async def write(self, raw: bytes) -> None:
        """`raw` on the wire, whatever it means."""
        if self._writer.is_closing():
            raise _HangupError
        self._writer.write(raw)
        await self._writer.drain()

    async def settle(self) -> None:
        """Let what was sent arrive."""
        await asyncio.sleep(_SETTLE_S)

    async def until_left(self) -> None:
        """Wait for the caller to hang up. Never returns."""
        # Bytes of a further request would mean that nobody waits for this answer.
        await self._reader.read(1)
        raise _HangupError

    def reset(self) -> None:
        """Drop the connection with a TCP reset. Never returns."""
        carrier: socket.socket = self._writer.get_extra_info("socket")
        carrier.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        raise _HangupError

    def events(self) -> tuple[bytes, ...]:
        """A whole healthy stream."""
        wire = self.wire
        options = self.seen.body.get("stream_options")
        counted = wire.counted and isinstance(options, dict) and options.get("include_usage") is True
        *said, done = wire.tail
        return (*wire.head, *wire.content, *said, *((wire.counted,) if counted else ()), done)

    def _named(self, piece: bytes) -> bytes:
        return piece.replace(b"{id}", b"%d" % self.seen.number)


Behaviour = Callable[[Call], Awaitable[None]]
BEHAVIOURS: dict[str, Behaviour] = {}


def _behaviour(function: Behaviour) -> Behaviour:
    BEHAVIOURS[function.__name__.strip("_").replace("_", "-")] = function
    return function


@_behaviour
async def ok(call: Call) -> None:
    """Answers."""
    if not call.stream:
        await call.answer()
        return
    await call.begin()
    await call.send(*call.events())
    await call.end()


@_behaviour
async def rate_limited(call: Call) -> None:
    """429 with Retry-After."""
    await call.answer(429, call.wire.error, headers=(f"retry-after: {RETRY_AFTER_S}",))


@_behaviour
async def server_error(call: Call) -> None:
    """500 with a JSON error."""
    await call.answer(500, call.wire.error)


@_behaviour
async def bad_gateway_page(call: Call) -> None:
    """502 with a web page."""
    await call.answer(502, _PAGE, _HTML)


@_behaviour
async def hangs_before_headers(call: Call) -> None:
    """Takes the request and says nothing."""
    await call.until_left()


@_behaviour
async def hangs_before_content(call: Call) -> None:
    """Sends its headers, and nothing more."""
    await call.begin()
    await call.until_left()


@_behaviour
async def hangs_after_role(call: Call) -> None:
    """Sends what comes before any content, then nothing more."""
    await call.begin()
    await call.send(*(call.wire.head if call.stream else (call.wire.whole[:20],)))
    await call.until_left()


@_behaviour
async def hangs_mid_stream(call: Call) -> None:
    """Sends some of the answer, then nothing more."""
    await _some(call)
    await call.until_left()


@_behaviour
async def cuts_before_headers(call: Call) -> None:
    """Takes the request and hangs up."""
    del call
    raise _HangupError


@_behaviour
async def cuts_after_headers(call: Call) -> None:
    """Hangs up after its headers."""
    await call.begin()
    await call.settle()
    raise _HangupError


@_behaviour
async def cuts_after_role(call: Call) -> None:
    """Hangs up after what comes before any content."""
    await call.begin()
    await call.send(*(call.wire.head if call.stream else (call.wire.whole[:20],)))
    await call.settle()
    raise _HangupError


@_behaviour
async def cuts_mid_stream(call: Call) -> None:
    """Hangs up between two events, with content sent."""
    await _some(call)
    raise _HangupError


@_behaviour
async def resets_mid_stream(call: Call) -> None:
    """Resets the connection, with content sent."""
    await _some(call)
    call.reset()


@_behaviour
async def cuts_mid_event(call: Call) -> None:
    """Hangs up inside an event, with content sent."""
    await _some(call)
    if call.stream:
        await call.send(call.wire.content[1][:40])
        await call.settle()
    raise _HangupError


@_behaviour
async def cuts_mid_chunk(call: Call) -> None:
    """Hangs up inside a chunk of HTTP, with content sent."""
    await _some(call)
    await call.write(b'400\r\ndata: {"choi')
    await call.settle()
    raise _HangupError


@_behaviour
async def breaks_framing(call: Call) -> None:
    """Sends a chunk whose length is no number, with content sent."""
    await _some(call)
    await call.write(b"what?\r\n")
    await call.settle()
    raise _HangupError


@_behaviour
async def cuts_mid_body(call: Call) -> None:
    """Sends less than the content-length it stated. A stream has no such header: it ends early, as if it were whole."""
    if call.stream:
        await _some(call)
        await call.end()
        return
    whole = call.wire.whole
    await call.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(whole))
    await call.write(whole[:-20])
    await call.settle()
    raise _HangupError


@_behaviour
async def error_after_role(call: Call) -> None:
    """An error event after what comes before any content, then the end."""
    await call.begin()
    if call.stream:
        await call.send(*call.wire.head, call.wire.error_event)
    else:
        await call.send(call.wire.error)
    await call.end()


@_behaviour
async def error_mid_stream(call: Call) -> None:
    """An error event with content sent, then an end as if all were well (vLLM does that)."""
    await _some(call)
    if call.stream:
        await call.send(call.wire.error_event, call.wire.tail[-1])
    await call.end()


@_behaviour
async def error_in_200(call: Call) -> None:
    """Status 200 with a JSON error as its body, whatever was asked for."""
    await call.answer(200, call.wire.error)


@_behaviour
async def empty_events(call: Call) -> None:
    """Harmless events without content before the first, and a usage chunk at the end."""
    if not call.stream:
        await call.answer()
        return
    *said, done = call.events()
    await call.begin()
    await call.send(*call.wire.harmless, *said, *((call.wire.counted,) if call.wire.counted else ()), done)
    await call.end()


@_behaviour
async def no_choices(call: Call) -> None:
    """An answer whose `choices` are empty from the beginning to the end."""
    if not call.stream:
        await call.answer(200, call.wire.whole_empty)
        return
    await call.begin()
    await call.send(*call.wire.stream_empty)
    await call.end()


@_behaviour
async def empty_body(call: Call) -> None:
    """Status 200 and no byte of a body."""
    await call.begin()
    await call.end()


@_behaviour
async def garbage_json(call: Call) -> None:
    """A body, or events, that are not JSON."""
    if not call.stream:
        await call.answer(200, _GARBAGE)
        return
    await call.begin()
    await call.send(b"data: " + _GARBAGE + b"\n\n", b"data: \xff\xfe\x00nonsense\n\n")
    await call.end()


@_behaviour
async def wrong_content_type(call: Call) -> None:
    """A web page with status 200: somebody's login, or a proxy's excuse."""
    await call.answer(200, _PAGE, _HTML)


@_behaviour
async def huge_body(call: Call) -> None:
    """100 MB without an end in sight: one JSON text, or one event."""
    await call.begin()
    cut = call.wire.content[0].index(b"Hello") if call.stream else call.wire.whole.index(b"Hello")
    await call.send((call.wire.content[0] if call.stream else call.wire.whole)[:cut])
    piece = b"%x\r\n%b\r\n" % (1 << 16, b"a" * (1 << 16))
    for _ in range(HUGE_BYTES >> 16):
        await call.write(piece)
    await call.end()


@_behaviour
async def slow_drip(call: Call) -> None:
    """Answers byte by byte, without long pauses."""
    content = b"".join(call.events()) if call.stream else call.wire.whole
    await call.begin()
    clock = asyncio.get_running_loop().time
    start = clock()
    for number, byte in enumerate(content.replace(b"{id}", b"%d" % call.seen.number)):
        # By the clock, so that a busy machine does not stretch it.
        await asyncio.sleep(max(start + DRIP_S * number / len(content) - clock(), 0))
        await call.send(bytes((byte,)))
    await call.end()


@_behaviour
async def closes_after_each(call: Call) -> None:
    """Answers, and hangs up without having said that it would."""
    await ok(call)
    raise _HangupError


@_behaviour
async def drops_reused(call: Call) -> None:
    """Answers the first request of a connection and hangs up on the second, as a server that is idle for too long."""
    if call.earlier:
        raise _HangupError
    await ok(call)


@_behaviour
async def endless(call: Call) -> None:
    """Content without end, a little every 20 ms."""
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
async def slow_start(call: Call) -> None:
    """Thinks for a while, then answers at once."""
    await asyncio.sleep(_SLOW_START_S)
    await ok(call)


@_behaviour
async def pauses(call: Call) -> None:
    """Answers with a pause in the middle."""
    first, second, *rest = call.events()
    await call.begin()
    await call.send(first, second)
    await asyncio.sleep(PAUSE_S)
    await call.send(*rest)
    await call.end()


async def _some(call: Call) -> None:
    await call.begin()
    if call.stream:
        await call.send(*call.wire.head, call.wire.content[0])
    else:
        await call.send(call.wire.whole[: len(call.wire.whole) // 2])
    await call.settle()


class Upstream:
    """The server. `seen` are the requests in order."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self.keep_seen = True
        self._open: collections.Counter[str] = collections.Counter()
        self._numbers = itertools.count(1)

    @property
    def open_calls(self) -> int:
        """How many calls are being answered."""
        return self._open.total()

    def open_at(self, prefix: str) -> int:
        """How many calls whose path begins with `/prefix/` are being answered."""
        return self._open[prefix]

    def seen_at(self, prefix: str) -> list[Seen]:
        """Those requests whose path begins with `/prefix/`."""
        return [seen for seen in self.seen if seen.path.startswith(f"/{prefix}/")]

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until either side hangs up."""
        with contextlib.suppress(_HangupError, ConnectionError, asyncio.IncompleteReadError):
            for earlier in itertools.count():
                request = await _read(reader, writer)
                await self._answer(request, earlier, reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _answer(
        self,
        request: tuple[str, str, dict[str, str], bytes],
        earlier: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        method, path, headers, raw = request
        _, _, endpoint = path.partition("/v1/")
        if method == "GET":
            listed = [{"id": name, "object": "model", "created": 0, "owned_by": "faults"} for name in BEHAVIOURS]
            body = json.dumps({"object": "list", "data": listed, "open_calls": self.open_calls}).encode()
            seen = Seen(path, headers, {}, 0)
            await Call(seen, CHAT, earlier, reader, writer).answer(200, body)
            return
        seen = Seen(path, headers, json.loads(raw), next(self._numbers))
        call = Call(seen, WIRES.get(endpoint, CHAT), earlier, reader, writer)
        if endpoint not in WIRES or seen.model not in BEHAVIOURS:
            await call.answer(404, json.dumps({"error": {"message": f"no {seen.model} at {path}"}}).encode())
            return
        if self.keep_seen:
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
        pieces = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            pieces.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return method, target.partition("?")[0], headers, b"".join(pieces)
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
    """The server in a thread of its own, on a free loopback port."""
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
    """A loopback port that refuses connections, and that nobody else gets meanwhile."""
    # Bound but not listening.
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def main(arguments: list[str]) -> None:
    """Serve until killed; the first line printed is the URL."""
    upstream = Upstream()
    upstream.keep_seen = False
    port = int(arguments[0]) if arguments else 0
    asyncio.run(_run(upstream, port, lambda: print(upstream.url, flush=True), asyncio.Event()))


if __name__ == "__main__":
    main(sys.argv[1:])
