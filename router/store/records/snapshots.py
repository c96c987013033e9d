"""Snapshots: the cards, policies and availability behind many decisions, stored once under their fingerprint.

They allow an exact replay of a decision after cards and policies were edited or deleted.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from router import __version__
from router.cards.catalog import Catalog
from router.cards.machine.speeds import Speed
from router.cards.schema import Card, to_plain
from router.decide.engine import RequestContext
from router.decide.goals import LOAD
from router.decide.plans.catalog import Plans
from router.decide.plans.forecast.columns import Columns, PlanColumn
from router.decide.plans.shape import cards_named_in
from router.decide.plans.spec import PlanSpec
from router.decide.policy import Policy
from router.errors import ConfigurationError
from router.formats.quantities import read_quantity
from router.perceive.memory.corrections import Corrections
from router.perceive.predictor import Evidence
from router.perceive.purpose.density import TaskMean
from router.store.records.record import DecisionRecord, PartRecord, Snapshot
from router.types import Decision, Features

REFRESH_S = 3_600.0
"""A snapshot in use is written again at this interval. The store deletes a snapshot once it was not written for longer
than records are kept.
"""

_CACHE_SIZE = 256
_VECTOR = np.dtype("<f4")


class RoutedDecision(Protocol):
    """A decision with all its inputs, such as `router.pipeline.Routed`."""

    @property
    def decision(self) -> Decision: ...
    @property
    def features(self) -> Features: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def request_context(self) -> RequestContext: ...
    @property
    def plans(self) -> Plans: ...
    @property
    def corrections(self) -> Corrections: ...


class CatalogSnapshot(Struct, frozen=True, eq=False):
    """The cards, the outcomes of their probes and their profiles."""

    catalog: Catalog
    evidence: Mapping[str, Evidence]


class Snapshots:
    """Turns decisions into `DecisionRecord`s and stores the snapshots that these refer to.

    `catalogue` is the `catalogue_snapshot` of the cards of all decisions. `keep` stores a snapshot and returns whether
    it could (`RecordSink.keep`); it is called before the first record that refers to the snapshot is returned. The
    mapping `request_context.unavailable` must not be modified later, only replaced.
    """

    def __init__(self, catalogue: Snapshot, keep: Callable[[Snapshot], bool]) -> None:
        self._keep, self._catalogue = keep, catalogue
        # By the id() of a policy or mapping. The object is stored too, so that its id() is not used again.
        self._cache: dict[int, tuple[object, Snapshot]] = {}
        self._refresh_at_s: dict[str, float] = {}
        self._last_unavailable: Mapping[str, str] = {}

    def decision_record(self, routed: RoutedDecision) -> DecisionRecord:
        """The record of a decision."""
        decision, features, request_context = routed.decision, routed.features, routed.request_context
        chosen, corrections = decision.candidates[0], routed.corrections
        decided_with_plans = bool(routed.policy.plans or request_context.plan)
        return DecisionRecord(
            policy=decision.policy,
            policy_hash=self._stored(self._snapshot_of(routed.policy, policy_snapshot)),
            flags=decision.flags,
            artifact=decision.artifact,
            catalogue=self._stored(self._catalogue),
            unavailable=self._unavailable_hash(request_context.unavailable),
            day=request_context.today.isoformat() if request_context.today else "",
            card=decision.card,
            fallbacks=decision.plan.fallbacks,
            guard=decision.guard.state,
            quality=chosen.quality,
            quality_std=chosen.quality_std,
            cost_usd=chosen.cost_usd,
            latency_ms=chosen.latency_ms,
            vector=np.asarray(features.vector, dtype=_VECTOR).tobytes(),
            input_tokens=features.input_tokens,
            modalities=_in_order(features.modalities),
            needs=_in_order(features.needs),
            output_limit=features.output_limit,
            thinking_scale=features.thinking_scale,
            conversation_card=request_context.kept,
            dependence=features.dependence,
            release=__version__,
            reader=features.reader,
            plans=self._stored(self._snapshot_of(routed.plans, plans_snapshot)) if decided_with_plans else "",
            named_plan=request_context.plan,
            plan=decision.outlook,
            load=tuple(sorted(request_context.load.items())) if LOAD in chosen.parts else (),
            indivisible=_in_order(features.indivisible),
            parts=_parts_of(features, corrections) if features.parts else (),
            canaries=request_context.canaries,
            canary=decision.canary,
            is_batch=request_context.is_batch,
            hidden=_hidden_members(routed) if decided_with_plans else (),
            memory=corrections.version,
            corrections=corrections.of_cards,
            exploration=decision.exploration,
            experiment=decision.experiment,
        )

    def _unavailable_hash(self, unavailable: Mapping[str, str]) -> str:
        if not unavailable:
            return ""
        # Reuse the last mapping if the new one is equal, so that the cache recognizes it.
        if unavailable is not self._last_unavailable and unavailable != self._last_unavailable:
            self._last_unavailable = unavailable
        return self._stored(self._snapshot_of(self._last_unavailable, unavailable_snapshot))

    def _snapshot_of(self, source: Any, make: Callable[[Any], Snapshot]) -> Snapshot:
        cached = self._cache.get(id(source))
        if cached is not None:
            return cached[1]
        if len(self._cache) >= _CACHE_SIZE:
            self._cache.clear()
        made = make(source)
        self._cache[id(source)] = source, made
        return made

    def _stored(self, snapshot: Snapshot) -> str:
        """Store `snapshot` unless that was done recently. Returns its fingerprint."""
        now_s = time.monotonic()
        if now_s >= self._refresh_at_s.get(snapshot.fingerprint, 0.0):
            if len(self._refresh_at_s) >= _CACHE_SIZE:
                self._refresh_at_s.clear()
            if self._keep(snapshot):
                self._refresh_at_s[snapshot.fingerprint] = now_s + REFRESH_S
        return snapshot.fingerprint


class _Probes(Struct, frozen=True, omit_defaults=True):
    """An `Evidence` as JSON: the float32 vectors concatenated, the scores, and the float64 mean of `shown` prompts."""

    vectors: bytes
    scores: tuple[float, ...]
    mean: bytes = b""
    shown: int = 0


class _CatalogContent(Struct, frozen=True):
    cards: tuple[Any, ...]
    evidence: Mapping[str, _Probes] = {}
    speeds: Mapping[str, Speed] | UnsetType = UNSET


def catalogue_snapshot(catalog: Catalog, evidence: Mapping[str, Evidence]) -> Snapshot:
    """Snapshot of the cards and the outcomes of their probes."""
    probes = {
        card: _Probes(
            np.asarray(probed.vectors, dtype=_VECTOR).tobytes(),
            tuple(probed.scores.tolist()),
            *((probed.task.mean.tobytes(), probed.task.prompts) if probed.task is not None else ()),
        )
        for card, probed in sorted(evidence.items())
        if card in catalog.ids
    }
    # The candidates of efforts are made again from the cards that state them.
    plain = tuple(to_plain(card) for card in catalog if card.effort_of is None)
    return _snapshot(_CatalogContent(plain, probes, catalog.speeds or UNSET))


def policy_snapshot(policy: Policy) -> Snapshot:
    """Snapshot of a policy, without what its decisions do not depend on: what it tries beside them."""
    plain = msgspec.json.decode(msgspec.json.encode(policy, order="deterministic"))
    return _snapshot_of_json({name: value for name, value in plain.items() if name not in ("shadow", "experiment")})


class _PlansContent(Struct, frozen=True):
    """Plans with the columns by which some of them are forecast. Plans without any are stored as a list."""

    plans: tuple[PlanSpec, ...]
    columns: tuple[PlanColumn, ...]


def plans_snapshot(plans: Plans) -> Snapshot:
    """Snapshot of all plans, and of the columns by which they are forecast."""
    specs = tuple(plans.values())
    return _snapshot(_PlansContent(specs, plans.columns.all) if plans.columns else specs)


def unavailable_snapshot(unavailable: Mapping[str, str]) -> Snapshot:
    """Snapshot of the reasons why cards could not be called, by card id."""
    return _snapshot(dict(unavailable))


def read_catalogue(content: bytes) -> CatalogSnapshot:
    """The inverse of `catalogue_snapshot`. Raises ConfigurationError if this release cannot read the content."""
    stored = _read(content, _CatalogContent, "cards")
    try:
        cards = [msgspec.convert(card, Card, dec_hook=read_quantity) for card in stored.cards]
        evidence = {
            card: Evidence(
                np.frombuffer(probes.vectors, dtype="<f4").reshape(len(probes.scores), -1 if probes.scores else 0),
                np.array(probes.scores, dtype=np.float64),
                TaskMean(np.frombuffer(probes.mean), probes.shown) if probes.shown else None,
            )
            for card, probes in stored.evidence.items()
        }
    except ValueError as error:
        raise ConfigurationError(f"this release cannot read the recorded cards: {error}") from None
    return CatalogSnapshot(Catalog(cards, stored.speeds or None), evidence)


def read_policy(content: bytes) -> Policy:
    """The inverse of `policy_snapshot`. Raises ConfigurationError."""
    policy: Policy = _read(content, Policy, "policy")
    return policy


def read_plans(content: bytes) -> Plans:
    """The inverse of `plans_snapshot`. Raises ConfigurationError."""
    kinds: Any = tuple[PlanSpec, ...] | _PlansContent
    stored = _read(content, kinds, "plans")
    return Plans(stored.plans, Columns(stored.columns)) if isinstance(stored, _PlansContent) else Plans(stored)


def read_unavailable(content: bytes) -> Mapping[str, str]:
    """The inverse of `unavailable_snapshot`. Raises ConfigurationError."""
    reasons: Mapping[str, str] = _read(content, dict[str, str], "reasons")
    return reasons


def _in_order(names: Collection[str]) -> tuple[str, ...]:
    # Most requests have one kind of content, and need nothing in particular.
    return tuple(names) if len(names) < 2 else tuple(sorted(names))


def _parts_of(features: Features, corrections: Corrections) -> tuple[PartRecord, ...]:
    return tuple(
        PartRecord(np.asarray(part.vector, dtype=_VECTOR).tobytes(), part.input_tokens, of_part)
        for part, of_part in zip(features.parts, corrections.of_parts(features), strict=True)
    )


def _hidden_members(routed: RoutedDecision) -> tuple[str, ...]:
    """The cards that do not exist for the client, and that the plans in question name."""
    named, hidden = routed.request_context.plan, routed.request_context.hidden
    names = routed.policy.plans if named is None else (named,)
    return tuple(
        sorted({card for name in names if hidden for card in cards_named_in(routed.plans.named(name))} & hidden)
    )


def _snapshot(value: Any) -> Snapshot:
    return _snapshot_of_json(value, order="deterministic")


def _snapshot_of_json(value: Any, order: Literal["deterministic"] | None = None) -> Snapshot:
    plain = msgspec.json.encode(value, order=order)
    return Snapshot(hashlib.blake2b(plain, digest_size=16).hexdigest(), zlib.compress(plain))


def _read(content: bytes, kind: type[Any], what: str) -> Any:
    try:
        return msgspec.json.decode(zlib.decompress(content), type=kind)
    except (ValueError, zlib.error) as error:
        raise ConfigurationError(f"this release cannot read the recorded {what}: {error}") from None
