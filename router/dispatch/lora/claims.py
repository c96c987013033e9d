"""The use of an adapter by one call, from the moment at which the call gets its deployment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from router.dispatch.lora.api import AdapterServerError

if TYPE_CHECKING:
    import asyncio

    Loading = asyncio.Task[AdapterServerError | None]


class Hold:
    """The use of an adapter by one call: it is not unloaded until `release`, which may be called again."""

    def __init__(self, release: Callable[[], None] | None = None) -> None:
        self._release = release

    def release(self) -> None:
        """The call has ended."""
        release, self._release = self._release, None
        if release is not None:
            release()


class Claim:
    """A call's claim to an adapter at its deployment, until `release`.

    `hold` is None where nothing is counted yet: what the server holds is unknown. `loading`: the adapter is being
    loaded. Only `AdapterControl` changes them.
    """

    def __init__(self, hold: Hold | None = None, loading: Loading | None = None) -> None:
        self.hold, self.loading = hold, loading
        self.is_released = False

    def settle(self, hold: Hold) -> None:
        """The adapter is loaded and counted as in use."""
        self.hold, self.loading = hold, None
        if self.is_released:
            hold.release()

    def give_up(self) -> None:
        """The adapter is not loaded, as it turned out."""
        hold, self.hold, self.loading = self.hold, None, None
        if hold is not None:
            hold.release()

    def release(self) -> None:
        """The call has ended."""
        self.is_released = True
        self.give_up()
