"""The client that asks: a process of its own, told by a `Load` on standard input, answering with `Samples`.

A closed loop asks again as soon as it is answered, on a fixed number of connections. An open loop asks at a fixed rate
whatever the answers do, and counts from the moment a request was due, so that a slow answer cannot hide the ones
waiting behind it.
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

_MOST_UNDER_WAY = 400
"""Where an open loop gives up: the gateway does not keep up."""
_AHEAD_NS = 50_000_000


class Session:
    """All requests of one load."""

    def __init__(self, load: Load) -> None:
        self.samples = Samples()
        self._load, self._head = load, _head(load)
        self._bodies = _bodies(load)
        self._loop = asyncio.get_running_loop()
        self._deadline = time.monotonic() + load.limit_s
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._under_way = 0
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Ask everything, and wait for the answers."""
        connections = [await self._connect() for _ in range(min(self._load.connections, self._load.count))]
        start = time.monotonic_ns()
        if self._load.rate is None:
            for connection in connections:
                self._ask_next(connection)
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
        """Sleep until each request is due, in a thread: timers of an event loop are a millisecond coarse."""
        for moment in due:
            time.sleep(max(0.0, (moment - time.monotonic_ns()) / 1e9))
            if self._ended.is_set():
                return
            self._loop.call_soon_threadsafe(self._ask_now, moment)

    def _ask_now(self, due: int) -> None:
        if self._ended.is_set():
            return
        if self._under_way >= _MOST_UNDER_WAY:
            self.samples.overrun = True
            self._ended.set()
        elif self._idle:
            self._ask(self._idle.pop(), due)
        else:
            self._under_way += 1
            self._loop.create_task(self._connect()).add_done_callback(lambda done: self._ask_on_new(done, due))

    def _ask_on_new(self, connecting: asyncio.Task[Connection], due: int) -> None:
        self._under_way -= 1
        if error := connecting.exception():
            self._bodies.pop()
            self.samples.asked += 1
            self.samples.fail(f"connecting: {error}")
        else:
            self._ask(connecting.result(), due)

    def _ask_next(self, connection: Connection) -> None:
        if self._bodies and time.monotonic() < self._deadline:
            self._ask(connection, time.monotonic_ns())
        elif not self._under_way:
            self._ended.set()

    def _ask(self, connection: Connection, due: int) -> None:
        body = self._bodies.pop()
        self._under_way += 1
        self.samples.asked += 1
        self.samples.late_ms.append((time.monotonic_ns() - due) / 1e6)
        connection.ask(b"%s%d\r\n\r\n%s" % (self._head, len(body), body), due)

    async def _connect(self) -> Connection:
        make = Connection(self, self._load.stream)
        await self._loop.create_connection(lambda: make, "127.0.0.1", self._load.port)
        self._open.add(make)
        return make

    def answered(self, connection: Connection) -> None:
        """Note the answer, and ask on."""
        if self._ended.is_set() or not connection.busy:
            return
        connection.busy = False
        self._under_way -= 1
        if why := connection.wrong():
            self.samples.fail(why)
        else:
            connection.note(self.samples)
        if connection.reusable:
            self._go_on(connection)
        else:
            connection.close()

    def lost(self, connection: Connection) -> None:
        """Ask on over another connection."""
        self._open.discard(connection)
        if self._ended.is_set():
            return
        if connection.busy:
            connection.busy = False
            self._under_way -= 1
            self.samples.fail(f"the connection broke; {connection.wrong()}")
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
            self._ask_next(connecting.result())

    def _go_on(self, connection: Connection) -> None:
        if self._load.rate is None:
            self._ask_next(connection)
        else:
            self._idle.append(connection)
            self._end_if_done()

    def _end_if_done(self) -> None:
        if not self._bodies and not self._under_way:
            self._ended.set()


def _head(load: Load) -> bytes:
    lines = [f"POST {load.path} HTTP/1.1", f"host: 127.0.0.1:{load.port}", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in load.headers.items()]
    return "\r\n".join([*lines, "content-length: "]).encode()


def _bodies(load: Load) -> list[bytes]:
    """The requests' bodies, the first at the end."""
    with Path(load.prompts).open(encoding="utf-8") as lines:
        prompts = [json.loads(line) for line in itertools.islice(lines, load.first, load.first + load.count)]
    if len(prompts) < load.count:
        raise ValueError(f"{load.prompts} holds no {load.count} prompts from {load.first} on")
    more = {"stream": True} if load.stream else {}
    fixed = {"model": load.model, "temperature": 0.7, "max_tokens": 256, **more}
    return [msgspec.json.encode({**fixed, "messages": [{"role": "user", "content": each}]}) for each in prompts[::-1]]


async def _ask(load: Load) -> Samples:
    session = Session(load)
    # A collection would show as a late answer.
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(2e-4)
    await session.run()
    return session.samples


def main() -> None:
    """Read a `Load`, write `Samples`."""
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_ask(load))))


if __name__ == "__main__":
    main()
