"""The streams that a client of a plan sees: one relayed as it comes, and one that was read before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from router.dispatch.stream import Events
from router.errors import UpstreamError
from router.types import Api, Usage
from router.wire.usage import Delivered
from router.wire.usage.added import events_with_added

Others = Callable[[], Usage | None]


class ShownStream:
    """A stream of which the client sees every event, its usage with that of the plan's `others` calls.

    `pieces` are those that were read before; then the stream is read no further. See `router.dispatch.stream.Events`.
    """

    def __init__(self, inner: Events, api: Api, others: Others, pieces: Sequence[bytes] | None = None) -> None:
        self._inner, self._api, self._others = inner, api, others
        self._pieces = None if pieces is None else list(reversed(pieces))

    @property
    def usage(self) -> Usage | None:
        """The usage that the upstream of the shown answer has reported so far."""
        return self._inner.usage

    @property
    def delivered(self) -> Delivered:
        """The texts of the shown answer that have arrived."""
        return self._inner.delivered

    @property
    def complete(self) -> bool:
        """Whether the last piece has been returned."""
        return self._inner.complete if self._pieces is None else not self._pieces

    @property
    def problem(self) -> UpstreamError | None:
        """How the upstream failed; None where it has not."""
        return self._inner.problem

    def on_close(self, callback: Callable[[], object]) -> None:
        """See `Events.on_close`."""
        self._inner.on_close(callback)

    def failure(self, message: str, kind: str, code: str | None) -> bytes | None:
        """See `Events.failure`."""
        return self._inner.failure(message, kind, code)

    def __aiter__(self) -> ShownStream:
        return self

    async def __anext__(self) -> bytes:
        if self._pieces is None:
            piece = await anext(self._inner)
        elif self._pieces:
            piece = self._pieces.pop()
        else:
            raise StopAsyncIteration
        others = self._others()
        return piece if others is None else events_with_added(self._api, piece, others)

    async def aclose(self) -> None:
        """End the upstream call."""
        await self._inner.aclose()
