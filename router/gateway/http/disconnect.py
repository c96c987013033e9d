"""Cancelling a request when its client disconnects."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from router.gateway.http.client.sending import ClientConnection

CLIENT_CLOSED_REQUEST = 499
"""The status in records and logs of a request whose client left before its response was complete."""


class CancelOnDisconnect:
    """A block that ends with ClientDisconnect as soon as the client disconnects. Enter it after reading the body.

    Call `stop` before the response is complete: the server sends "http.disconnect" then, too. The block goes on for
    `grace_s` seconds after the client has left, which may be set inside it. Where the `connection` is known, it says
    so itself; else a task waits for the server's message.
    """

    grace_s = 0.0

    def __init__(self, receive: Receive, connection: ClientConnection | None) -> None:
        self._receive, self._connection = receive, connection
        self._watch: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.has_left = False

    async def __aenter__(self) -> CancelOnDisconnect:
        self._task = asyncio.current_task()
        if self._connection is None:
            self._watch = asyncio.ensure_future(self._wait())
        else:
            self._connection.on_departure(self._leave)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self.has_left and isinstance(error, asyncio.CancelledError):
            assert self._task is not None
            self._task.uncancel()
            raise ClientDisconnect from None

    def stop(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.cancel()
        elif self._connection is not None:
            self._connection.end_departure()
        if self._timer is not None:
            self._timer.cancel()

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self.has_left = True
        if self._task is None:
            return
        if self.grace_s:
            self._timer = asyncio.get_running_loop().call_later(self.grace_s, self._task.cancel)
        else:
            self._task.cancel()
