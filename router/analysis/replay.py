"""Replay: make a recorded decision again, from the cards and the policy of then or from those of now."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from router import __version__
from router.decide.engine import RequestContext, decide
from router.decide.flags import Flags, parse_flags
from router.decide.policy import Policies, Policy
from router.errors import CallerError, ConfigurationError
from router.perceive.predictor import Evidence, Predictor
from router.store.records.record import DecisionRecord
from router.store.records.snapshots import CatalogSnapshot, read_catalogue, read_policy, read_unavailable
from router.store.records.sqlite import Records
from router.types import Decision, Features

_NAMED_AT_MOST = 3
_COMPARED = ("card", "fallbacks", "guard", "quality", "quality_std", "cost_usd", "latency_ms")


class Difference(Struct, frozen=True):
    """What a decision said then and says again."""

    what: str
    then: Any
    again: Any


class Replayed(Struct, frozen=True, eq=False):
    """A decision made again.

    `same` is whether nothing differs. `reasons` say what it was made from that is not as it was, whether or not that
    made a difference. `decision` is None where there is none to make any more; `problem` then says why.
    """

    decision: Decision | None
    same: bool
    differences: tuple[Difference, ...] = ()
    reasons: tuple[str, ...] = ()
    problem: str = ""


class Replayer:
    """Makes the decisions of `records` again with `predictor`."""

    def __init__(self, records: Records, predictor: Predictor) -> None:
        self._records, self._predictor = records, predictor
        self._setting = functools.lru_cache(maxsize=8)(self._read_setting)
        self._forecaster = functools.lru_cache(maxsize=8)(lambda each: predictor.bind(each.catalog, each.evidence))
        self._edits = functools.lru_cache(maxsize=8)(_edits)

    def again(self, recorded: DecisionRecord) -> Replayed:
        """With the cards, the probes' outcomes and the policy that it was made with.

        Raises ConfigurationError where these are not kept any more, or the vector is of another encoder.
        """
        today = datetime.date.fromisoformat(recorded.day) if recorded.day else None
        setting, policy = self._setting(recorded.catalogue), self._policy(recorded)
        return self._replayed(recorded, setting, policy, today, self._strangers(recorded))

    def now(
        self, recorded: DecisionRecord, setting: CatalogSnapshot, policies: Policies, today: datetime.date | None
    ) -> Replayed:
        """With other cards and policies, such as today's. Cards that could not be called then still cannot.

        Raises as `again`, and UnknownModelError where there is no policy of this name any more.
        """
        policy = policies.named(recorded.policy)
        edited = () if policy == self._policy(recorded) else (f"the policy {policy.id} was edited",)
        reasons = (*self._strangers(recorded), *self._edits(self._setting(recorded.catalogue), setting), *edited)
        return self._replayed(recorded, setting, policy, today, reasons)

    def _replayed(
        self,
        recorded: DecisionRecord,
        setting: CatalogSnapshot,
        policy: Policy,
        today: datetime.date | None,
        reasons: tuple[str, ...],
    ) -> Replayed:
        features = features_of(recorded, self._predictor)
        unavailable = read_unavailable(self._content(recorded.unavailable, "reasons")) if recorded.unavailable else {}
        try:
            decision = decide(
                setting.catalog,
                features,
                self._forecaster(setting)(features),
                policy,
                read_flags(recorded.flags),
                self._predictor.id,
                RequestContext(unavailable, today, recorded.kept),
            )
        except CallerError as error:
            return Replayed(None, False, (), reasons, str(error))
        differences = _differences(recorded, decision)
        return Replayed(decision, not differences, differences, reasons)

    def _strangers(self, recorded: DecisionRecord) -> tuple[str, ...]:
        """What decides now that did not decide then."""
        pairs = (
            ("artifact", recorded.artifact, self._predictor.id),
            ("release", recorded.release, __version__),
        )
        return tuple(f"another {what}: {then} then, {now} now" for what, then, now in pairs if then != now)

    def _read_setting(self, fingerprint: str) -> CatalogSnapshot:
        return read_catalogue(self._content(fingerprint, "cards"))

    def _policy(self, recorded: DecisionRecord) -> Policy:
        return read_policy(self._content(recorded.settings, "policy"))

    def _content(self, fingerprint: str, what: str) -> bytes:
        content = self._records.snapshot(fingerprint)
        if content is None:
            raise ConfigurationError(
                f"the {what} that the decision was made with are not kept (snapshot {fingerprint})"
            )
        return content


def features_of(recorded: DecisionRecord, predictor: Predictor) -> Features:
    """What was observed about the request. Raises ConfigurationError where `predictor` reads other vectors."""
    vector = np.frombuffer(recorded.vector, dtype="<f4").astype(np.float32)
    width = len(predictor.head.lens.center)
    if len(vector) != width:
        raise ConfigurationError(
            f"the decision was made with the artifact {recorded.artifact} from {len(vector)} numbers, "
            f"but {predictor.id} reads {width}; --artifact names the one to use"
        )
    return Features(
        vector=vector,
        input_tokens=recorded.input_tokens,
        modalities=frozenset(recorded.modalities),
        needs=frozenset(recorded.needs),
        output_limit=recorded.output_limit,
    )


def read_flags(text: str) -> Flags:
    """The flags of a decision, whose text they are."""
    # One by one: what a policy relaxed may contradict itself.
    read = [parse_flags(flag) for flag in text.split(",") if flag]
    return Flags(
        tuple(limit for flags in read for limit in flags.limits),
        {goal: weight for flags in read for goal, weight in flags.goals.items()},
    )


def _differences(recorded: DecisionRecord, decision: Decision) -> tuple[Difference, ...]:
    best = decision.candidates[0]
    again = dict(
        zip(
            _COMPARED,
            (
                decision.card,
                decision.plan.fallbacks,
                decision.guard.state,
                best.quality,
                best.quality_std,
                best.cost_usd,
                best.latency_ms,
            ),
            strict=True,
        )
    )
    return tuple(
        Difference(what, getattr(recorded, what), value)
        for what, value in again.items()
        if getattr(recorded, what) != value
    )


def _edits(then: CatalogSnapshot, now: CatalogSnapshot) -> tuple[str, ...]:
    """What happened to the cards and their evidence since."""
    old = {card.id: card for card in then.catalog}
    new = {card.id: card for card in now.catalog}
    both = sorted(old.keys() & new.keys())
    kinds = (
        ("card deleted", sorted(old.keys() - new.keys())),
        ("card added", sorted(new.keys() - old.keys())),
        ("card edited", [card for card in both if old[card] != new[card]]),
        ("other probes of", [card for card in both if not _same(then.evidence.get(card), now.evidence.get(card))]),
    )
    return tuple(f"{what}: {_named(cards)}" for what, cards in kinds if cards)


def _same(one: Evidence | None, two: Evidence | None) -> bool:
    if one is None or two is None:
        return one is two
    return np.array_equal(one.vectors, two.vectors) and np.array_equal(one.scores, two.scores)


def _named(cards: Sequence[str]) -> str:
    more = len(cards) - _NAMED_AT_MOST
    return ", ".join(cards[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
