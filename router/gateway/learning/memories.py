"""The error memories of all cards, as one worker knows them: read on the path of requests, changed off it.

A memory is a blob of the shared state, which is replaced as a whole by whoever saw its last version. So workers and
gateways that share a state have one memory, and no vote is lost or counted twice. Its name has what the forecasts of
the card come from: gateways with other cards or another predictor have memories of their own, and one that nobody
writes any more is deleted after the state's time.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from router.cards.schema import Card, to_plain
from router.gateway.config.reload import ActiveConfig
from router.learn.online.outcomes import VOTES_AN_HOUR, Lesson
from router.perceive.memory.card import CardMemory, CardView
from router.perceive.memory.corrections import NO_MEMORY, MemoryView, version_of
from router.perceive.memory.stored import from_bytes, to_bytes
from router.perceive.predictor import Evidence
from router.store.state.protocol import Blob, StateError, StateStore, blob_named

_LOG = logging.getLogger(__name__)
MEMORY, _VOTES = "memory/", "votes/"
_REFRESH_S, _AGE_EVERY_S = 1.0, 3_600.0
_TRIES = 8
# A view of a hundred corrected cards takes some 400 kB.
_MOST_VIEWS = 64


class Memories:
    """The memories in `store` of the cards of the active configuration."""

    def __init__(
        self, store: StateStore, active: Callable[[], ActiveConfig], clock: Callable[[], float] = time.time
    ) -> None:
        self._store, self._active, self._clock = store, active, clock
        self._blobs: dict[str, tuple[Blob, CardMemory | None]] = {}
        self._seen = 0
        self._views: Mapping[str | None, MemoryView] = {}
        self._card_views: dict[tuple[str, str | None], tuple[int, CardView]] = {}
        self._viewed: tuple[object, ...] = ()
        self._asking: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._read_for: ActiveConfig | None = None
        self._bases: tuple[ActiveConfig | None, dict[str, str]] = (None, {})

    def view_for(self, key_id: str) -> MemoryView:
        """What the memories say about the forecasts of a key."""
        views = self._views
        if views and key_id:
            self._asking[key_id] = None
            self._asking.move_to_end(key_id)
            if len(self._asking) > _MOST_VIEWS:
                self._asking.popitem(last=False)
        return views[key_id] if key_id in views else views.get(None, NO_MEMORY)

    def basis(self, card: str) -> str | None:
        """What the forecasts of the card come from; None where there is no such card."""
        return self._basis(card)

    def known(self) -> dict[str, CardMemory]:
        """The memories of the present cards, by card id."""
        return {card: memory for card, (_, memory) in self._present().items()}

    @property
    def applied(self) -> int:
        """Of how many cards the forecasts are corrected for keys that have no votes of their own."""
        return len(self._views.get(None, NO_MEMORY).cards)

    async def refresh(self) -> None:
        """Read what any worker has learned, and bring the views up to date."""
        if self._read_for is not self._active():
            # Memories of other cards were passed over.
            self._read_for, self._seen = self._active(), 0
        with contextlib.suppress(StateError):
            for blob in await self._store.blobs_after(self._seen, MEMORY):
                self._read(blob)
                self._seen = max(self._seen, blob.version)
        await asyncio.to_thread(self._update_views)

    async def run(self) -> None:
        """Refresh about once a second, until cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            await self.refresh()

    async def learn(self, lesson: Lesson, now_s: float) -> str:
        """Learn from a vote; `learned`, or why not, in one word."""
        card, vote = lesson.card, lesson.vote
        basis = self._basis(card)
        if basis is None:
            return "changed"
        if lesson.is_limited and vote.tenant is not None and not await self._take_vote(vote.tenant, now_s):
            return "capped"
        for _ in range(_TRIES):
            blob, memory = self._blobs.get(card, (Blob(name_of(card, basis), 0, b""), None))
            if blob.name != name_of(card, basis):
                blob, memory = Blob(name_of(card, basis), 0, b""), None
            if memory is None or memory.basis != basis:
                memory = CardMemory.empty(basis)
            changed = await asyncio.to_thread(_learned, memory, lesson, now_s)
            written = msgspec.structs.replace(blob, content=changed)
            if version := await self._store.swap_blob(written, now_s):
                self._read(msgspec.structs.replace(written, version=version))
                return "learned"
            # Another worker was faster, or the state has forgotten the blob.
            others = await self._store.blobs_after(0, name_of(card, basis))
            self._blobs.pop(card, None)
            for other in others:
                self._read(other)
        return "contended"

    async def _take_vote(self, tenant: str, now_s: float) -> bool:
        """Count a vote of a key in this hour; False where it has no more."""
        name, hour = f"{_VOTES}{tenant}", int(now_s // 3_600)
        for _ in range(_TRIES):
            blob = await blob_named(self._store, name) or Blob(name, 0, b"")
            then, count = _votes_in(blob.content)
            count = count + 1 if then == hour else 1
            if count > VOTES_AN_HOUR:
                return False
            if await self._store.swap_blob(Blob(name, blob.version, msgspec.json.encode((hour, count))), now_s):
                return True
        return False

    def _read(self, blob: Blob) -> None:
        card = card_of(blob.name)
        basis = self._basis(card)
        if basis is None or blob.name != name_of(card, basis):
            return
        known = self._blobs.get(card)
        if known is not None and known[0].name == blob.name and known[0].version >= blob.version:
            return
        try:
            memory = from_bytes(blob.content)
        except ValueError as error:
            _LOG.error("the error memory of %s %s; it begins anew", card, error)
            memory = None
        self._blobs[card] = msgspec.structs.replace(blob, content=b""), memory

    def _update_views(self) -> None:
        active = self._active()
        applies = any(policy.learning == "apply" for policy in active.router.policies.values())
        # Votes fade with time, which no new version shows.
        age = int(self._clock() // _AGE_EVERY_S)
        known = self._present()
        tenants = self._viewers([memory for _, memory in known.values()])
        versions = tuple((card, version) for card, (version, _) in known.items())
        current = age, active, versions, applies, frozenset(tenants)
        if current == self._viewed:
            return
        if self._viewed[:1] != (age,):
            self._card_views.clear()
        self._viewed = current
        if not applies:
            self._views = {}
            return
        now_s = self._clock()
        version = version_of({card: version for card, (version, _) in known.items()})
        for place in [place for place in self._card_views if place[1] not in tenants or place[0] not in known]:
            del self._card_views[place]
        views = {}
        for tenant in tenants:
            of_cards = {card: self._view(card, *known[card], tenant, now_s) for card in known}
            views[tenant] = MemoryView(version, of_cards)
        self._views = views

    def _viewers(self, memories: Sequence[CardMemory]) -> set[str | None]:
        """The keys with a view of their own: those that vote, at most `_MOST_VIEWS`, and those that ask first. Others
        see what keys without votes see, until they have asked.
        """
        voting = {tenant: None for memory in memories for tenant in memory.tenants}
        asking = [tenant for tenant in reversed(list(self._asking)) if tenant in voting]
        return {None, *list(dict.fromkeys((*asking, *voting)))[:_MOST_VIEWS]}

    def _present(self) -> dict[str, tuple[int, CardMemory]]:
        """The versions and memories of the present cards, as they are at one moment: `learn` changes them while a
        thread brings the views up to date.
        """
        return {
            card: (blob.version, memory)
            for card, (blob, memory) in list(self._blobs.items())
            if memory is not None and memory.basis == self._basis(card)
        }

    def _view(self, card: str, version: int, memory: CardMemory, tenant: str | None, now_s: float) -> CardView:
        # All keys without votes on the card see the same.
        asker = tenant if tenant in memory.tenants else None
        cached = self._card_views.get((card, asker))
        if cached is None or cached[0] != version:
            cached = self._card_views[card, asker] = version, memory.view(asker, now_s)
        return cached[1]

    def _basis(self, card: str) -> str | None:
        """What the forecasts of the card come from; None where there is no such card."""
        active, known = self._active(), self._bases
        if known[0] is not active:
            known = self._bases = active, {}
        bases, catalog = known[1], active.router.catalog
        if card not in bases and (position := catalog.position(card)) is not None:
            router = active.router
            bases[card] = basis_of(router.predictor.id, catalog[position], router.evidence.get(card))
        return bases.get(card)


def name_of(card: str, basis: str) -> str:
    """The name of the blob with the memory of a card."""
    return f"{MEMORY}{basis}/{card}"


def card_of(name: str) -> str:
    """The card whose memory a blob is."""
    return name.removeprefix(MEMORY).partition("/")[2]


def basis_of(artifact: str, card: Card, evidence: Evidence | None) -> str:
    """A hash of what the forecasts of a card come from, and of the upstream that answers."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(artifact.encode())
    digest.update(msgspec.json.encode(to_plain(card), order="deterministic"))
    if evidence is not None:
        digest.update(np.asarray(evidence.vectors, dtype="<f4").tobytes() + evidence.scores.tobytes())
        if evidence.task is not None:
            digest.update(evidence.task.mean.tobytes())
    return digest.hexdigest()


def _learned(memory: CardMemory, lesson: Lesson, now_s: float) -> bytes:
    return to_bytes(memory.learn(lesson.vote, now_s))


def _votes_in(content: bytes) -> tuple[int, int]:
    try:
        hour, count = msgspec.json.decode(content, type=tuple[int, int])
    except msgspec.DecodeError:
        return 0, 0
    return hour, count
