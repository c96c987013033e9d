"""Cancelling a request when its client disconnects, or its time is over."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.requests import ClientDisconnect

from router.gateway.http.client.connection import GRACE_S, ClientConnection, too_late

CLIENT_CLOSED_REQUEST = 499
"""The status in records and logs of a request whose client left before its response was complete."""


class CancelOnDisconnect:
    """A block that ends with ClientDisconnect as soon as the client disconnects. Enter it after reading the body.

    Call `stop` before the response is complete: the client may close the connection then. The block goes on for
    `grace_s` seconds after the client has left, which may be set inside it. With `ends_s`, in seconds of the event
    loop's clock, the block also ends then, with UpstreamError, whatever it waits for: see `EndsAt`. Where both happen,
    the first counts. Whoever else cancels the task gets CancelledError.
    """

    grace_s = 0.0

    def __init__(self, connection: ClientConnection, ends_s: float | None = None) -> None:
        self._connection, self._ends_s = connection, ends_s
        self._timer: asyncio.TimerHandle | None = None
        self._end: asyncio.TimerHandle | None = None
        self._cancels = self._cancelled_before = 0
        self._cause: Exception | None = None
        self.has_left = False

    def __enter__(self) -> CancelOnDisconnect:
        loop = self._connection.loop
        self._task = asyncio.current_task(loop)
        assert self._task is not None
        self._cancelled_before = self._task.cancelling()
        self._connection.on_departure(self._leave)
        if self._ends_s is not None:
            self._end = loop.call_at(self._ends_s + GRACE_S, self._expire)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._end is not None:
            self._end.cancel()
        if self._cause is None:
            return
        assert self._task is not None
        # Also where the block has raised another error: an outer time limit compares the count.
        for _ in range(self._cancels):
            self._task.uncancel()
        if isinstance(error, asyncio.CancelledError) and self._task.cancelling() <= self._cancelled_before:
            raise self._cause from None

    def stop(self) -> None:
        """Stop watching."""
        self._connection.end_departure()
        if self._timer is not None:
            self._timer.cancel()

    def _leave(self) -> None:
        self.has_left = True
        if self.grace_s:
            self._timer = self._connection.loop.call_later(self.grace_s, self._cancel, ClientDisconnect())
        else:
            self._cancel(ClientDisconnect())

    def _expire(self) -> None:
        self._cancel(too_late())

    def _cancel(self, cause: Exception) -> None:
        if self._task is not None:
            self._cause = self._cause or cause
            self._cancels += 1
            self._task.cancel()
