"""The client: a separate process that reads a `Load` from standard input and writes `Samples` to standard output.

A closed loop sends the next request after the last response, on a fixed number of connections. An open loop sends at a
fixed rate, independent of the responses, and measures from the time at which a request was due, so that a slow response
cannot hide the requests that wait behind it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sys
import threading
import time
from pathlib import Path

import msgspec
import uvloop

from bench.gateway.connection import Connection
from bench.gateway.samples import DRAIN_S, Load, Samples

_MAX_IN_FLIGHT = 400
"""The number of requests in flight at which an open loop stops: the gateway does not keep up."""
_AHEAD_NS = 50_000_000


class Session:
    """The requests of one load."""

    def __init__(self, load: Load) -> None:
        self.samples = Samples()
        self._load, self._head = load, _head(load)
        self._bodies = _bodies(load)
        self._loop = asyncio.get_running_loop()
        self._deadline = time.monotonic() + load.limit_s
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._in_flight = 0
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Send all requests and wait for the responses."""
        connections = [await self._connect() for _ in range(min(self._load.connections, self._load.count))]
        start = time.monotonic_ns()
        if self._load.rate is None:
            for connection in connections:
                self._send_next(connection)
        else:
            self._idle = connections
            due = [start + _AHEAD_NS + int(number * 1e9 / self._load.rate) for number in range(self._load.count)]
            threading.Thread(target=self._tick, args=(due,), daemon=True).start()
        try:
            async with asyncio.timeout(self._load.limit_s + DRAIN_S):
                await self._ended.wait()
        except TimeoutError:
            self.samples.overrun = True
        self._ended.set()
        self.samples.seconds = (time.monotonic_ns() - start) / 1e9
        for connection in tuple(self._open):
            connection.close()

    def _tick(self, due: list[int]) -> None:
        """Sleep until the next request is due, in a thread: timers of an event loop are a millisecond coarse."""
        for moment in due:
            time.sleep(max(0.0, (moment - time.monotonic_ns()) / 1e9))
            if self._ended.is_set():
                return
            self._loop.call_soon_threadsafe(self._send_now, moment)

    def _send_now(self, due: int) -> None:
        if self._ended.is_set():
            return
        if self._in_flight >= _MAX_IN_FLIGHT:
            self.samples.overrun = True
            self._ended.set()
        elif self._idle:
            self._send(self._idle.pop(), due)
        else:
            self._in_flight += 1
            self._loop.create_task(self._connect()).add_done_callback(lambda done: self._send_on_new(done, due))

    def _send_on_new(self, connecting: asyncio.Task[Connection], due: int) -> None:
        self._in_flight -= 1
        if error := connecting.exception():
            self._bodies.pop()
            self.samples.sent += 1
            self.samples.fail(f"connecting: {error}")
        else:
            self._send(connecting.result(), due)

    def _send_next(self, connection: Connection) -> None:
        if self._bodies and time.monotonic() < self._deadline:
            self._send(connection, time.monotonic_ns())
        elif not self._in_flight:
            self._ended.set()

    def _send(self, connection: Connection, due: int) -> None:
        body = self._bodies.pop()
        self._in_flight += 1
        self.samples.sent += 1
        self.samples.late_ms.append((time.monotonic_ns() - due) / 1e6)
        connection.send(b"%s%d\r\n\r\n%s" % (self._head, len(body), body), due)

    async def _connect(self) -> Connection:
        make = Connection(self, self._load.stream)
        await self._loop.create_connection(lambda: make, "127.0.0.1", self._load.port)
        self._open.add(make)
        return make

    def answered(self, connection: Connection) -> None:
        """Record the response and send the next request."""
        if self._ended.is_set() or not connection.busy:
            return
        connection.busy = False
        self._in_flight -= 1
        if problem := connection.problem():
            self.samples.fail(problem)
        else:
            connection.record(self.samples)
        if connection.reusable:
            self._continue(connection)
        else:
            connection.close()

    def closed(self, connection: Connection) -> None:
        """Continue on another connection."""
        self._open.discard(connection)
        if self._ended.is_set():
            return
        if connection.busy:
            connection.busy = False
            self._in_flight -= 1
            self.samples.fail(f"the connection broke; {connection.problem()}")
        if connection in self._idle:
            self._idle.remove(connection)
        elif self._load.rate is None:
            self._loop.create_task(self._connect()).add_done_callback(self._replace)
        else:
            self._end_if_done()

    def _replace(self, connecting: asyncio.Task[Connection]) -> None:
        if error := connecting.exception():
            self.samples.fail(f"connecting: {error}")
            self._ended.set()
        else:
            self._send_next(connecting.result())

    def _continue(self, connection: Connection) -> None:
        if self._load.rate is None:
            self._send_next(connection)
        else:
            self._idle.append(connection)
            self._end_if_done()

    def _end_if_done(self) -> None:
        if not self._bodies and not self._in_flight:
            self._ended.set()


def _head(load: Load) -> bytes:
    lines = [f"POST {load.path} HTTP/1.1", f"host: 127.0.0.1:{load.port}", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in load.headers.items()]
    return "\r\n".join([*lines, "content-length: "]).encode()


def _bodies(load: Load) -> list[bytes]:
    """The request bodies, the first one at the end."""
    with Path(load.prompts).open(encoding="utf-8") as lines:
        prompts = [json.loads(line) for line in itertools.islice(lines, load.first, load.first + load.count)]
    if len(prompts) < load.count:
        raise ValueError(f"{load.prompts} has fewer than {load.count} prompts from {load.first} on")
    streaming = {"stream": True} if load.stream else {}
    fixed = {"model": load.model, "temperature": 0.7, "max_tokens": 256, **streaming}
    return [
        msgspec.json.encode({**fixed, "messages": [{"role": "user", "content": prompt}]}) for prompt in prompts[::-1]
    ]


async def _send(load: Load) -> Samples:
    session = Session(load)
    # A garbage collection would delay a measurement.
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(2e-4)
    await session.run()
    return session.samples


def main() -> None:
    """Read a `Load`, write `Samples`."""
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_send(load))))


if __name__ == "__main__":
    main()
