"""The canaries of a running gateway: which requests they take, how they do, and their roll-back.

A canary takes a conversation where the hash of its name, with those of the client's key and the canary, is below the
share. So all workers agree, a conversation stays where it began, and a greater share takes conversations in addition.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
import time
from collections.abc import Callable

from router.analysis.canary_trial import ALPHA, e_value, evidence_of_any_but_one
from router.cards import Catalog
from router.cards.adapter.canary import Canary
from router.gateway.http.disconnect import CLIENT_CLOSED_REQUEST
from router.store.records.record import Record
from router.store.state.protocol import StateError, StateStore, TrialCounts
from router.types import Outcome

_LOG = logging.getLogger(__name__)
_REFRESH_S = 1.0
# These say nothing about the model: too many requests, or too many tokens, for its server at present.
_OF_THE_LOAD = frozenset({"request_rate", "rate", "quota"})
# Inside a JSON string the quotes would be escaped.
_REFUSED = re.compile(
    rb'"(?:finish_reason|stop_reason|reason)"\s*:\s*"(?:content_filter|refusal)"|"type"\s*:\s*"refusal"|"refusal"\s*:\s*"'
)


class Canaries:
    """Admits requests to canaries, and counts what becomes of them in the state that workers share."""

    def __init__(
        self,
        store: StateStore,
        catalog: Callable[[], Catalog],
        clock: Callable[[], float] = time.time,
        notify: Callable[[str], None] = _LOG.warning,
        several_keys: Callable[[], bool] = lambda: False,
    ) -> None:
        """`catalog` returns the current cards. `notify` gets a line about a roll-back, in one worker. `several_keys`:
        whether clients have different keys, so that none may decide for the others.
        """
        self._store, self._catalog, self._clock, self._notify = store, catalog, clock, notify
        self._several_keys = several_keys
        self._stopped: frozenset[tuple[str, str]] = frozenset()

    @property
    def stopped(self) -> int:
        """How many of the present canaries have been rolled back."""
        return len({canary.trial for canary in self._catalog().canaries.values()} & self._stopped)

    def admitted(
        self, catalog: Catalog, conversation: str, key_id: str, last: str | None, *, bound: bool
    ) -> tuple[str, ...]:
        """The ids of the canaries that take a request of this conversation, whose last answer is of the card `last`.

        `bound`: only the server of `last` has what the request refers to.
        """
        return tuple(
            canary.card
            for canary in catalog.canaries.values()
            if (bound and last == canary.card) or self._takes(canary, conversation, key_id, last)
        )

    def _takes(self, canary: Canary, conversation: str, key_id: str, last: str | None) -> bool:
        if canary.trial in self._stopped:
            return False
        # A conversation goes on where it began, also where the share has changed, or the canary failed.
        if last in (canary.card, canary.of):
            return last == canary.card
        return place_of(canary.trial[0], conversation, key_id) < canary.share

    async def sink(self, record: Record) -> None:
        """Count the answer, and roll the canary back where it is worse."""
        choice = None if record.decision is None else record.decision.canary
        if choice is None or (choice.card, choice.of) in self._stopped:
            return
        is_bad = bad_answer(record.outcome, choice.card if choice.taken else choice.of)
        if is_bad is None:
            return
        trial = choice.card, choice.of
        # Without the shared state nothing is counted, and nothing rolled back, for as long.
        with contextlib.suppress(StateError):
            counts = await self._store.count_trial(trial, is_new=choice.taken, is_bad=is_bad, key_id=record.key or "")
            if counts.stopped:
                self._stopped |= {trial}
            elif await self._is_worse(counts):
                await self._roll_back(counts)

    async def _is_worse(self, counts: TrialCounts) -> bool:
        """Whether the canary is to be rolled back; where keys share it, whichever key's answers are left out."""
        if not self._several_keys() or self._is_of_one_key(counts.card):
            return e_value(counts.new, counts.new_bad, counts.old, counts.old_bad) >= 1 / ALPHA
        # No key's answers of the predecessor can lower what the canary's own show.
        if e_value(counts.new, counts.new_bad, counts.old, 0) < 1 / ALPHA:
            return False
        by_key = await self._store.trial_by_key((counts.card, counts.of))
        return evidence_of_any_but_one((each.new, each.new_bad, each.old, each.old_bad) for each in by_key) >= 1 / ALPHA

    def _is_of_one_key(self, card: str) -> bool:
        """Whether the card exists for one key only."""
        return any(
            canary.trial[0] == card and canary.tenant is not None for canary in self._catalog().canaries.values()
        )

    async def _roll_back(self, counts: TrialCounts) -> None:
        trial, why = (counts.card, counts.of), in_words(counts)
        self._stopped |= {trial}
        if await self._store.stop_trial(trial, why, self._clock()):
            self._notify(f"canary {counts.card} rolled back to {counts.of}: {why}")

    async def refresh(self) -> None:
        """Read which canaries have been rolled back, by any worker or by the operator."""
        if not self._catalog().canaries:
            return
        with contextlib.suppress(StateError):
            self._stopped = frozenset((each.card, each.of) for each in await self._store.trials() if each.stopped)

    async def run(self) -> None:
        """Refresh about once a second, until cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            await self.refresh()


class Refusal:
    """Looks for the mark of a refusal in an answer, as it is passed on."""

    def __init__(self) -> None:
        self.found = False

    def add(self, answer: bytes) -> None:
        """Read a whole body, or whole events."""
        self.found = self.found or _REFUSED.search(answer) is not None


def place_of(canary: str, conversation: str, key_id: str) -> float:
    """The place of a conversation in [0, 1), evenly spread and independent for every canary."""
    name = "\0".join((canary, key_id, conversation)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=6).digest(), "big") / 2**48


def bad_answer(outcome: Outcome, card: str) -> bool | None:
    """Whether the card failed to answer, broke off, refused or wrote nothing; None where the outcome does not say: the
    card was not asked, the request was wrong, its client left, or the server had too much to do.

    That a client leaves is its own doing, whether it has waited long or not: a server that does not answer is found by
    the gateway's own time limits, since other clients wait.
    """
    attempts = [attempt for attempt in outcome.attempts if _is(attempt.card, card)]
    if not attempts:
        return None
    faults = [attempt.fault for attempt in attempts if attempt.fault is not None]
    if any(fault not in _OF_THE_LOAD for fault in faults):
        return True
    if outcome.card is None or not _is(outcome.card, card) or outcome.status == CLIENT_CLOSED_REQUEST:
        return None
    if outcome.status >= 400:
        return None
    usage = outcome.usage
    is_empty = usage is not None and not usage.estimated and not usage.output_tokens
    return outcome.error is not None or outcome.refused or is_empty


def _is(name: str, card: str) -> bool:
    """Whether `name` is the card, or one of its efforts."""
    return name == card or name.startswith(f"{card}@")


def in_words(counts: TrialCounts) -> str:
    """The counts of a trial and their evidence."""
    evidence = e_value(counts.new, counts.new_bad, counts.old, counts.old_bad)
    return (
        f"{counts.new_bad:,} of its {counts.new:,} answers were bad, and {counts.old_bad:,} of {counts.old:,} of "
        f"{counts.of} (evidence {evidence:.3g}; it is rolled back at {1 / ALPHA:.0f})"
    )
