"""Cancelling a request when its client disconnects, or its time is over."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from router.gateway.http.client.sending import GRACE_S, ClientConnection, too_late

CLIENT_CLOSED_REQUEST = 499
"""The status in records and logs of a request whose client left before its response was complete."""


class CancelOnDisconnect:
    """A block that ends with ClientDisconnect as soon as the client disconnects. Enter it after reading the body.

    Call `stop` before the response is complete: the server sends "http.disconnect" then, too. The block goes on for
    `grace_s` seconds after the client has left, which may be set inside it. Where the `connection` is known, it says
    so itself; else a task waits for the server's message. With `ends_s`, in seconds of the event loop's clock, the
    block also ends then, with UpstreamError, whatever it waits for: see `ends_at`.
    """

    grace_s = 0.0

    def __init__(self, receive: Receive, connection: ClientConnection | None, ends_s: float | None = None) -> None:
        self._receive, self._connection, self._ends_s = receive, connection, ends_s
        self._watch: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._end: asyncio.TimerHandle | None = None
        self._cancels = 0
        self._is_late = False
        self.has_left = False

    async def __aenter__(self) -> CancelOnDisconnect:
        self._task = asyncio.current_task()
        if self._connection is None:
            self._watch = asyncio.ensure_future(self._wait())
        else:
            self._connection.on_departure(self._leave)
        if self._ends_s is not None:
            self._end = asyncio.get_running_loop().call_at(self._ends_s + GRACE_S, self._be_late)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._end is not None:
            self._end.cancel()
        if self._cancels and isinstance(error, asyncio.CancelledError):
            assert self._task is not None
            for _ in range(self._cancels):
                self._task.uncancel()
            raise (too_late() if self._is_late else ClientDisconnect()) from None

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
        if self.grace_s:
            self._timer = asyncio.get_running_loop().call_later(self.grace_s, self._cancel)
        else:
            self._cancel()

    def _be_late(self) -> None:
        self._is_late = True
        self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._cancels += 1
            self._task.cancel()
