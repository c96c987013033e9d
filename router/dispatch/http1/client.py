"""Requests to servers."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping

from router.dispatch.http1.answer import Answer
from router.dispatch.http1.connecting import connected
from router.dispatch.http1.connection import Connection
from router.dispatch.http1.errors import BrokenError
from router.dispatch.http1.names import Names
from router.dispatch.http1.pool import Pool
from router.dispatch.http1.target import Origin, Target

# What the standard calls idempotent: a repetition changes nothing.
REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
# Usually without a body.
BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class Prepared(dict[str, str]):
    """The headers of many requests, whose lines are made once. Not to be changed. Raises ValueError for a header that
    cannot be sent.
    """

    __slots__ = ("lines",)

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self.lines = _lines(headers)


class Client:
    """Sends requests over connections that stay open between them. Use it on one event loop.

    It follows no redirect, keeps no cookie, and decodes no content coding.
    """

    def __init__(self) -> None:
        self.names = Names()
        self._pool = Pool()
        self._open: set[Connection] = set()

    async def send(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        connect_s: float,
        is_alone: bool = False,
    ) -> Answer:
        """The answer to a request, once its head has arrived; read it to its end, or close it.

        `headers` have names in lower case; the host and the length are added. `connect_s` is the time in seconds for a
        new connection. `is_alone`: over a connection of its own, which is closed afterwards. Where a connection that
        was kept turns out to be dead, the request is repeated on a new one only if its method allows repetition.

        Raises ConnectTimeoutError and ConnectError where there is no connection, BrokenError and ProtocolError where
        there is no answer, and ValueError for a header that cannot be sent.
        """
        head = _head(method, target, headers, body, is_alone)
        connection = None if is_alone else self._pool.take(target.origin)
        was_kept = connection is not None
        while True:
            if connection is None:
                new = functools.partial(self.new_connection, target.origin)
                connection = await connected(target.origin, self.names, new, connect_s)
                self._open.add(connection)
            answer = connection.send(head, body, has_body=method != "HEAD", is_last=is_alone)
            try:
                await answer.begun()
            except BrokenError as error:
                answer.close()
                if not was_kept or method not in REPEATABLE or not error.is_unanswered:
                    raise
                connection, was_kept = None, False
            except BaseException:
                answer.close()
                raise
            else:
                return answer

    def new_connection(self, origin: Origin) -> Connection:
        """A connection for requests to the origin, which is not connected yet."""
        return Connection(functools.partial(self._pool.put, origin), functools.partial(self._lost, origin))

    def keep(self, origin: Origin, connection: Connection) -> None:
        """Have an open connection wait for its first request."""
        self._open.add(connection)
        self._pool.put(origin, connection)

    async def aclose(self) -> None:
        """Close every connection, also those of running requests."""
        self._pool.close()
        for connection in list(self._open):
            connection.abort()
        # The transports close themselves in the next pass of the loop.
        await asyncio.sleep(0)

    def _lost(self, origin: Origin, connection: Connection) -> None:
        self._open.discard(connection)
        self._pool.remove(origin, connection)


def _head(method: str, target: Target, headers: Mapping[str, str], body: bytes, is_alone: bool) -> bytes:
    lines = headers.lines if type(headers) is Prepared else _lines(headers)
    length = f"content-length: {len(body)}\r\n" if body or method not in BODILESS else ""
    closing = "connection: close\r\n" if is_alone else ""
    return f"{method} {target.resource} HTTP/1.1\r\n{target.fields}{lines}{length}{closing}\r\n".encode()


def _lines(headers: Mapping[str, str]) -> str:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\r") != len(headers) or lines.count("\n") != len(headers) or "\0" in lines:
        raise ValueError("a header has a line break or a null character")
    return lines
