"""The monitor of a running gateway: it probes periodically which cards can be called."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping

from router.cards import Catalog
from router.dispatch.availability import ServerInventory
from router.dispatch.configured import missing_configuration
from router.errors import PulvinarError
from router.formats.text import shortened

INTERVAL_S = 10.0
_LOG = logging.getLogger(__name__)
_MAX_NAMES = 3

Probe = Callable[[Catalog], Awaitable[ServerInventory]]
"""Asks the servers that the cards need for their models."""


async def no_probe(_catalog: Catalog) -> ServerInventory:
    """Ask no server: only missing configuration makes a card unavailable."""
    return ServerInventory()


class AvailabilityMonitor:
    """Tracks why cards cannot be called: what the configuration lacks, and what the latest probe found.

    `inventory` is the latest result of `probe`.

    `notify` gets a line when the available cards change.
    """

    def __init__(self, catalog: Catalog, probe: Probe = no_probe, notify: Callable[[str], None] = _LOG.info) -> None:
        self._probe, self._notify = probe, notify
        self.inventory = ServerInventory()
        self._catalog_changed = asyncio.Event()
        self.set_catalog(catalog)
        self._catalog_changed.clear()

    def set_catalog(self, catalog: Catalog) -> None:
        """Replace the catalogue; keep probe results of remaining cards until the next probe."""
        self._catalog = catalog
        reasons = {card.id: missing_configuration(card) for card in catalog}
        self.unconfigured: Mapping[str, str] = {card: reason for card, reason in reasons.items() if reason}
        self._update()
        self._catalog_changed.set()

    @property
    def callable_cards(self) -> int:
        """The number of cards that can be called, as far as known."""
        return len(self._catalog) - len(self.unavailable)

    async def probe_now(self) -> None:
        """Run the probe and store its result. If it fails, keep the previous result."""
        try:
            found = await self._probe(self._catalog)
            self.inventory = found.with_known(self.inventory)
            self._update()
        except (PulvinarError, OSError, RuntimeError, ValueError) as error:
            _LOG.warning("the availability of cards cannot be checked: %s: %s", type(error).__name__, error)

    async def run(self, interval_s: float = INTERVAL_S) -> None:
        """Probe every `interval_s` seconds until cancelled, and notify of changes."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._catalog_changed.wait(), interval_s)
            self._catalog_changed.clear()
            before = self.unavailable
            await self.probe_now()
            if before.keys() != self.unavailable.keys():
                self._report(_changes(before, self.unavailable))

    def _update(self) -> None:
        unavailable = {**self.inventory.unavailable_cards(self._catalog), **self.unconfigured}
        # An equal mapping is not replaced: many decisions refer to it.
        if unavailable != getattr(self, "unavailable", None):
            self.unavailable: Mapping[str, str] = unavailable

    def _report(self, line: str) -> None:
        try:
            self._notify(line)
        except OSError:
            # The reader of the lines has gone; the gateway keeps running.
            _LOG.info("%s", line)


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    added, removed = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    parts = []
    if added:
        parts.append(f"now available: {shortened(added, _MAX_NAMES)}")
    if removed:
        reasons = {after[card] for card in removed}
        reason = f" ({reasons.pop()})" if len(reasons) == 1 else ""
        parts.append(f"no longer available: {shortened(removed, _MAX_NAMES)}{reason}")
    return "; ".join(parts)
