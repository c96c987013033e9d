"""Connections that wait for their next request."""

from __future__ import annotations

import asyncio

from router.dispatch.http1.connection import Connection
from router.dispatch.http1.target import Origin

# Servers run by uvicorn, such as vLLM, close a connection after 5 idle seconds; no call may use it then.
IDLE_S = 4.0
"""How long a connection waits."""
MAX_IDLE = 1024
"""How many connections to one server wait at most."""


class Pool:
    """Keeps connections by their origin, and closes those that wait for too long. Use it on one event loop."""

    def __init__(self) -> None:
        self._idle: dict[Origin, list[Connection]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def take(self, origin: Origin) -> Connection | None:
        """The connection that was used last; None where none waits."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.is_usable:
                if connection.loop.time() - connection.idle_since_s < IDLE_S:
                    return connection
                connection.abort()
        return None

    def put(self, origin: Origin, connection: Connection) -> None:
        """Have a connection wait, whose answer is complete."""
        loop = connection.loop
        connection.idle_since_s = loop.time()
        idle = self._idle.setdefault(origin, [])
        if len(idle) >= MAX_IDLE:
            connection.abort()
            return
        idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(IDLE_S, self._close_old)

    def remove(self, origin: Origin, connection: Connection) -> None:
        """Forget a connection that has ended."""
        idle = self._idle.get(origin)
        if idle and connection in idle:
            idle.remove(connection)

    def close(self) -> None:
        """Close every connection that waits."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.abort()

    def _close_old(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        oldest_s = now_s
        for origin, idle in list(self._idle.items()):
            kept = [each for each in idle if now_s - each.idle_since_s < IDLE_S]
            # The oldest come first: a connection that is used goes to the end.
            for connection in idle[: len(idle) - len(kept)]:
                connection.abort()
            if kept:
                self._idle[origin] = kept
                oldest_s = min(oldest_s, kept[0].idle_since_s)
            else:
                del self._idle[origin]
        waits = bool(self._idle)
        self._sweep = loop.call_at(oldest_s + IDLE_S, self._close_old) if waits else None
