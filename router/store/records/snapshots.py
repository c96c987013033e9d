"""Snapshots: the cards, policies and reasons that many decisions were made from, kept once under their fingerprint.

So a decision can be made again exactly, even after cards and policies were edited or deleted.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
import numpy as np
from msgspec import Struct

from router import __version__
from router.cards.catalog import Catalog
from router.cards.schema import Card
from router.decide.engine import RequestContext
from router.decide.policy import Policy
from router.errors import ConfigurationError
from router.formats.quantities import read_quantity, write_quantity
from router.perceive.predictor import Evidence
from router.store.records.record import DecisionRecord, Snapshot
from router.types import Decision, Features

KEEP_AGAIN_S = 3_600.0
"""A snapshot in use is kept anew so often; the store forgets those that were not for longer than its records."""

_MOST_KNOWN = 256


class Choice(Protocol):
    """A decision with everything that it was made from; `router.pipeline.Routed` is one."""

    @property
    def decision(self) -> Decision: ...
    @property
    def features(self) -> Features: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def circumstances(self) -> RequestContext: ...


class CatalogSnapshot(Struct, frozen=True, eq=False):
    """The cards, and what probes told of them."""

    catalog: Catalog
    evidence: Mapping[str, Evidence]


class Snapshots:
    """Makes `DecisionRecord` of the decisions of one catalogue, given as its `catalogue_snapshot`.

    `keep` takes in a snapshot before the first record that names it, and returns whether it did
    (`router.store.records.journal.Journal.keep`). What `circumstances.unavailable` holds must not change while it is
    used; a new mapping must take its place.
    """

    def __init__(self, catalogue: Snapshot, keep: Callable[[Snapshot], bool]) -> None:
        self._keep, self._catalogue = keep, catalogue
        # By the identity of a policy or mapping, which is kept here so that no other can get the same one.
        self._known: dict[int, tuple[object, Snapshot]] = {}
        self._keep_again_at: dict[str, float] = {}
        self._newest_unavailable: Mapping[str, str] = {}

    def recorded(self, choice: Choice) -> DecisionRecord:
        """What to record of `choice`."""
        decision, features, circumstances = choice.decision, choice.features, choice.circumstances
        chosen = decision.candidates[0]
        return DecisionRecord(
            policy=decision.policy,
            settings=self._noted(self._of(choice.policy, policy_snapshot)),
            flags=decision.flags,
            artifact=decision.artifact,
            catalogue=self._noted(self._catalogue),
            unavailable=self._of_unavailable(circumstances.unavailable),
            day=circumstances.today.isoformat() if circumstances.today else "",
            card=decision.card,
            fallbacks=decision.plan.fallbacks,
            guard=decision.guard.state,
            quality=chosen.quality,
            quality_std=chosen.quality_std,
            cost_usd=chosen.cost_usd,
            latency_ms=chosen.latency_ms,
            vector=np.asarray(features.vector, dtype="<f4").tobytes(),
            input_tokens=features.input_tokens,
            modalities=tuple(sorted(features.modalities)),
            needs=tuple(sorted(features.needs)),
            output_limit=features.output_limit,
            kept=circumstances.kept,
            release=__version__,
        )

    def _of_unavailable(self, unavailable: Mapping[str, str]) -> str:
        if not unavailable:
            return ""
        # Equal mappings are the same, however often they are made anew.
        if unavailable != self._newest_unavailable:
            self._newest_unavailable = unavailable
        return self._noted(self._of(self._newest_unavailable, unavailable_snapshot))

    def _of(self, source: Any, make: Callable[[Any], Snapshot]) -> Snapshot:
        found = self._known.get(id(source))
        if found is not None:
            return found[1]
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        made = make(source)
        self._known[id(source)] = source, made
        return made

    def _noted(self, snapshot: Snapshot) -> str:
        now = time.monotonic()
        if now >= self._keep_again_at.get(snapshot.fingerprint, 0.0):
            if len(self._keep_again_at) >= _MOST_KNOWN:
                self._keep_again_at.clear()
            if self._keep(snapshot):
                self._keep_again_at[snapshot.fingerprint] = now + KEEP_AGAIN_S
        return snapshot.fingerprint


class _Probes(Struct, frozen=True):
    """An `Evidence` as JSON: float32 vectors, one after the other, and the scores."""

    vectors: bytes
    scores: tuple[float, ...]


class _Setting(Struct, frozen=True):
    cards: tuple[Any, ...]
    evidence: Mapping[str, _Probes] = {}


def catalogue_snapshot(catalog: Catalog, evidence: Mapping[str, Evidence]) -> Snapshot:
    """The cards, and what probes told of those."""
    probes = {
        card: _Probes(np.asarray(own.vectors, dtype="<f4").tobytes(), tuple(own.scores.tolist()))
        for card, own in sorted(evidence.items())
        if card in catalog.ids
    }
    return _snapshot(_Setting(tuple(_plain(card) for card in catalog), probes))


def policy_snapshot(policy: Policy) -> Snapshot:
    """The policy."""
    return _snapshot(policy)


def unavailable_snapshot(unavailable: Mapping[str, str]) -> Snapshot:
    """Why cards could not be called, by card id."""
    return _snapshot(dict(unavailable))


def read_catalogue(content: bytes) -> CatalogSnapshot:
    """The inverse of `catalogue_snapshot`. Raises ConfigurationError where this release cannot read it."""
    setting = _read(content, _Setting, "cards")
    try:
        cards = [msgspec.convert(card, Card, dec_hook=read_quantity) for card in setting.cards]
        evidence = {
            card: Evidence(
                np.frombuffer(probes.vectors, dtype="<f4").reshape(len(probes.scores), -1),
                np.array(probes.scores, dtype=np.float64),
            )
            for card, probes in setting.evidence.items()
        }
    except ValueError as error:
        raise ConfigurationError(f"the recorded cards cannot be read by this release: {error}") from None
    return CatalogSnapshot(Catalog(cards), evidence)


def read_policy(content: bytes) -> Policy:
    """The inverse of `policy_snapshot`. Raises ConfigurationError."""
    policy: Policy = _read(content, Policy, "policy")
    return policy


def read_unavailable(content: bytes) -> Mapping[str, str]:
    """The inverse of `unavailable_snapshot`. Raises ConfigurationError."""
    reasons: Mapping[str, str] = _read(content, dict[str, str], "reasons")
    return reasons


def _plain(card: Card) -> dict[str, Any]:
    plain = msgspec.to_builtins(card, enc_hook=write_quantity)
    return {key: value for key, value in plain.items() if value is not None and value != ()}


def _snapshot(value: Any) -> Snapshot:
    plain = msgspec.json.encode(value, order="deterministic")
    return Snapshot(hashlib.blake2b(plain, digest_size=16).hexdigest(), zlib.compress(plain))


def _read(content: bytes, kind: type[Any], what: str) -> Any:
    try:
        return msgspec.json.decode(zlib.decompress(content), type=kind)
    except (ValueError, zlib.error) as error:
        raise ConfigurationError(f"the recorded {what} cannot be read by this release: {error}") from None
