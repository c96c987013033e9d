"""Which cards can be called now, looked at again and again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

from router.cards import Catalog
from router.dispatch.dispatcher import missing_configuration
from router.errors import PulvinarError

INTERVAL_S = 10.0
_LOG = logging.getLogger(__name__)
_NAMED_AT_MOST = 3

Probe = Callable[[Catalog], Mapping[str, str]]
"""Asks which cards cannot be called now: their ids, and why. May block."""


class AvailabilityMonitor:
    """Knows why cards cannot be called: what the configuration lacks, and what `probe` found last.

    `probe` need not name cards that the configuration makes uncallable. `tell` gets a line when the cards that can be
    called become others.
    """

    def __init__(self, catalog: Catalog, probe: Probe = lambda _: {}, tell: Callable[[str], None] = _LOG.info) -> None:
        self._probe, self._tell = probe, tell
        self._found: Mapping[str, str] = {}
        self._turned = asyncio.Event()
        self.set_catalog(catalog)
        self._turned.clear()

    def set_catalog(self, catalog: Catalog) -> None:
        """Watch other cards from now on. What was found of those that stay is believed until the next look."""
        self._catalog = catalog
        reasons = {card.id: missing_configuration(card) for card in catalog}
        self.unconfigured: Mapping[str, str] = {card: reason for card, reason in reasons.items() if reason}
        self._know(self._found)
        self._turned.set()

    @property
    def callable_cards(self) -> int:
        """How many cards can be called, as far as is known."""
        return len(self._catalog) - len(self.unavailable)

    async def look(self) -> None:
        """Ask the probe, off the event loop, and keep to what it says. Where it fails, what was known stays."""
        catalog = self._catalog
        try:
            self._know(await asyncio.to_thread(self._probe, catalog))
        except (PulvinarError, OSError, RuntimeError, ValueError) as error:
            _LOG.warning("cannot tell which cards can be called: %s: %s", type(error).__name__, error)

    async def keep_looking(self, interval_s: float = INTERVAL_S) -> None:
        """Look every `interval_s` seconds until cancelled, and tell what changes."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._turned.wait(), interval_s)
            self._turned.clear()
            before = self.unavailable
            await self.look()
            if before.keys() != self.unavailable.keys():
                self._report(_changes(before, self.unavailable))

    def _know(self, found: Mapping[str, str]) -> None:
        self._found = {card: reason for card, reason in found.items() if self._catalog.position(card) is not None}
        unavailable = {**self._found, **self.unconfigured}
        # The same mapping as long as it says the same: many decisions refer to it.
        if unavailable != getattr(self, "unavailable", None):
            self.unavailable: Mapping[str, str] = unavailable

    def _report(self, line: str) -> None:
        try:
            self._tell(line)
        except OSError:
            # Whoever read the lines has gone; the gateway stays.
            _LOG.info("%s", line)


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    come, gone = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    said = []
    if come:
        said.append(f"{_named(come)} can be called now")
    if gone:
        reasons = {after[card] for card in gone}
        why = f" ({reasons.pop()})" if len(reasons) == 1 else ""
        said.append(f"{_named(gone)} cannot be called any more{why}")
    return "; ".join(said)


def _named(cards: list[str]) -> str:
    more = len(cards) - _NAMED_AT_MOST
    return ", ".join(cards[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
