"""A result that one worker computes once in each period and shares with all gateways through the shared state."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from router.errors import PulvinarError
from router.store.state.protocol import Blob, StateError, StateStore, blob_named

_LOG = logging.getLogger(__name__)
_EVERY_S = 300.0
Found = TypeVar("Found")


class Periodic(Generic[Found]):
    """What `find` returns, called once in each period of `period_s` seconds, by the first worker. `name` is that
    of the blob in `store`. `find` runs in a thread and returns None where it found nothing to read; without it, as in a
    gateway without records, the results of other gateways are read only.

    While `may_begin` is false, nothing is begun, but after a quarter of the period it is begun anyhow.
    """

    def __init__(
        self,
        store: StateStore,
        name: str,
        kind: type[Found],
        period_s: float,
        find: Callable[[float], Found | None] | None,
        *,
        may_begin: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._name, self._kind, self._period_s = store, name, kind, period_s
        self._find, self._may_begin, self._clock = find, may_begin, clock
        self.latest: Found | None = None

    async def run(self) -> None:
        """Refresh every five minutes, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.refresh()

    async def refresh(self) -> None:
        """Read what was found in this period, or find it."""
        try:
            blob = await blob_named(self._store, self._name) or Blob(self._name, 0, b"")
            period, share = divmod(self._clock(), self._period_s)
            looked, self.latest = decoded(blob.content, self._kind)
            if self._find is None or looked >= period:
                return
            if not (self._may_begin() or share > self._period_s / 4):
                return
            # Others see from now on that the period is taken.
            taken = msgspec.structs.replace(blob, content=msgspec.json.encode((int(period), self.latest)))
            if not (version := await self._store.swap_blob(taken, self._clock())):
                return
            found = await asyncio.to_thread(self._find, self._clock())
            if found is not None:
                self.latest = found
                content = msgspec.json.encode((int(period), found))
                await self._store.swap_blob(Blob(self._name, version, content), self._clock())
        except StateError:
            return
        except (PulvinarError, OSError) as error:
            _LOG.error("%s could not be computed: %s", self._name, error)


def decoded(content: bytes, kind: type[Found]) -> tuple[int, Found | None]:
    """The last period for which something was computed, 0 for none, and the result."""
    try:
        return msgspec.json.decode(content, type=tuple[int, kind | None])  # type: ignore[valid-type]
    except msgspec.DecodeError:
        return 0, None
