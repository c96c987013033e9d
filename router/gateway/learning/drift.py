"""Alarms about cards, from judged answers: what a request costs is nothing, and what a judgement costs is an append.

The tests of a card are a blob of the shared state, like its error memory: the records have neither the judgements of
graders nor what other gateways receive, and to read them again for every alarm would cost more the longer they are
kept. Judgements are added in batches, so that they wait at most some seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence

import msgspec

from router.analysis.drift.judged import Alarm, CardDrift, Judged, open_alarms
from router.analysis.drift.stored import from_bytes, to_bytes
from router.learn.online.outcomes import Lesson
from router.store.state.protocol import Blob, StateError, StateStore

_LOG = logging.getLogger(__name__)
DRIFT = "drift/"
_EVERY_S = 2.0
_TRIES, _MOST_WAITING = 8, 10_000


class DriftWatch:
    """The tests in `store` of the present cards; `basis` says what the forecasts of a card come from, None where there
    is no such card. `has_others`: whether there are several keys, so that what one alone says alarms nobody else.
    """

    def __init__(
        self,
        store: StateStore,
        basis: Callable[[str], str | None],
        has_others: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._basis, self._has_others, self._clock = store, basis, has_others, clock
        self._waiting: dict[str, list[Judged]] = {}
        self._known: dict[str, tuple[Blob, CardDrift | None]] = {}
        self._seen = 0

    def add(self, lesson: Lesson) -> None:
        """Take what was learned from a judgement. Implicit signals say nothing here: they never speak for a card."""
        if lesson.expected is None:
            return
        vote = lesson.vote
        waiting = self._waiting.setdefault(lesson.card, [])
        if len(waiting) < _MOST_WAITING:
            value = lesson.expected + vote.residual
            waiting.append(Judged(self._clock(), vote.tenant, lesson.expected, value, lesson.kind))

    @property
    def alarms(self) -> list[tuple[str, Alarm]]:
        """The alarms that count, by card: with several keys, only those that no key raises alone."""
        return list(open_alarms(self.present(), one_key=not self._has_others()))

    def present(self) -> dict[str, CardDrift]:
        """The tests of the present cards."""
        return {
            card: drift
            for card, (_, drift) in list(self._known.items())
            if drift is not None and drift.basis == self._basis(card)
        }

    async def refresh(self) -> None:
        """Write what waits, and read what any worker has written."""
        with contextlib.suppress(StateError):
            for blob in await self._store.blobs_after(self._seen, DRIFT):
                self._read(blob)
                self._seen = max(self._seen, blob.version)
            for card in list(self._waiting):
                await self._write(card)

    async def run(self) -> None:
        """Refresh every two seconds, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.refresh()

    async def _write(self, card: str) -> None:
        basis, judged = self._basis(card), self._waiting.pop(card)
        if basis is None:
            return
        for _ in range(_TRIES):
            blob, drift = self._known.get(card, (Blob(f"{DRIFT}{card}", 0, b""), None))
            before = drift if drift is not None and drift.basis == basis else CardDrift.empty(basis)
            after = await asyncio.to_thread(_added, before, judged, one_key=not self._has_others())
            written = msgspec.structs.replace(blob, content=to_bytes(after))
            try:
                version = await self._store.swap_blob(written, self._clock())
            except StateError:
                # They wait for a state that can be written again.
                self._waiting[card] = [*judged, *self._waiting.get(card, [])][:_MOST_WAITING]
                raise
            if version:
                self._known[card] = msgspec.structs.replace(blob, version=version), after
                _log_new(card, before, after, one_key=not self._has_others())
                return
            # Another worker was faster, or the state has forgotten the blob.
            self._known.pop(card, None)
            for other in await self._store.blobs_after(0, f"{DRIFT}{card}"):
                self._read(other)
        _LOG.error("%d judgements of %s were not tested: other workers were faster %d times", len(judged), card, _TRIES)

    def _read(self, blob: Blob) -> None:
        card = blob.name.removeprefix(DRIFT)
        known = self._known.get(card)
        if known is not None and known[0].version >= blob.version:
            return
        try:
            drift = from_bytes(blob.content)
        except ValueError as error:
            _LOG.error("the drift test of %s %s; it begins anew", card, error)
            drift = None
        self._known[card] = msgspec.structs.replace(blob, content=b""), drift


def _added(drift: CardDrift, judged: Sequence[Judged], *, one_key: bool) -> CardDrift:
    for each in judged:
        drift = drift.add(each, one_key=one_key)
    return drift


def _log_new(card: str, before: CardDrift, after: CardDrift, *, one_key: bool) -> None:
    known = {(alarm.kind, alarm.direction, alarm.since_s) for _, alarm in open_alarms({card: before}, one_key=one_key)}
    for _, alarm in open_alarms({card: after}, one_key=one_key):
        if (alarm.kind, alarm.direction, alarm.since_s) not in known:
            about = f" at {alarm.kind}" if alarm.kind else ""
            _LOG.warning(
                "%s answers%s %s than before: %.2f right instead of %.2f, in %d judged answers (route drift)",
                *(card, about, alarm.direction, alarm.value, alarm.expected, alarm.judged),
            )
