"""Replay: repeat a recorded decision, with the recorded cards and policy or with the current ones."""

from __future__ import annotations

import datetime
import functools
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from router import __version__
from router.cards.schema import Belief
from router.decide.engine import RequestContext, decide
from router.decide.exploration.rule import draw_again
from router.decide.flags import Flags, parse_flags
from router.decide.plans.catalog import NO_PLANS, Plans
from router.decide.policy import Policies, Policy
from router.decide.trials.arms import card_arms
from router.errors import CallerError, ConfigurationError
from router.formats.text import shortened
from router.perceive.features import part_features
from router.perceive.forecaster import Forecaster
from router.perceive.memory.corrections import NO_CORRECTIONS, Corrections, corrected
from router.perceive.predictor import Evidence, Predictor
from router.pipeline import kind_of
from router.store.records.protocol import RecordStore
from router.store.records.record import DecisionRecord
from router.store.records.snapshots import CatalogSnapshot, read_catalogue, read_plans, read_policy, read_unavailable
from router.types import Decision, Features

_MAX_NAMED = 3
NO_FLAGS = Flags()
_COMPARED = ("card", "fallbacks", "guard", "quality", "quality_std", "cost_usd", "latency_ms", "plan", "exploration")


class Difference(Struct, frozen=True, rename={"field": "what", "recorded": "then", "replayed": "again"}):
    """A field of a decision, with its recorded and its replayed value."""

    field: str
    recorded: Any
    replayed: Any


class Replay(Struct, frozen=True, eq=False):
    """A recorded decision, repeated.

    `same` is whether all compared fields are equal. `reasons` lists the inputs that have changed, whether or not that
    made a difference. `decision` is None if no decision is possible any more; `problem` then explains why.
    """

    decision: Decision | None
    same: bool
    differences: tuple[Difference, ...] = ()
    reasons: tuple[str, ...] = ()
    problem: str = ""


class Replayer:
    """Repeats the decisions of `records` with `predictor`."""

    def __init__(self, records: RecordStore, predictor: Predictor) -> None:
        self._records, self._predictor = records, predictor
        self._recorded_catalog = functools.lru_cache(maxsize=8)(self._read_catalog)
        self._forecaster = functools.lru_cache(maxsize=8)(self._bind)
        self._content = functools.lru_cache(maxsize=64)(self._read_content)
        self._card_changes = functools.lru_cache(maxsize=8)(_card_changes)

    def replay(self, recorded: DecisionRecord) -> Replay:
        """Repeat a decision with the recorded cards, probe outcomes and policy.

        Raises ConfigurationError if one of these is not stored any more, or if the vector has another encoder.
        """
        today = datetime.date.fromisoformat(recorded.day) if recorded.day else None
        cards, policy = self._recorded_catalog(recorded.catalogue), self.recorded_policy(recorded)
        plans = self._recorded_plans(recorded)
        return self._decide(recorded, cards, policy, plans, today, self._environment_changes(recorded))

    def re_decide(
        self,
        recorded: DecisionRecord,
        cards: CatalogSnapshot,
        policies: Policies,
        today: datetime.date | None,
        plans: Plans = NO_PLANS,
    ) -> Replay:
        """Repeat a decision with other cards, policies and plans, such as today's.

        Cards that could not be called at the time still cannot, and forecasts are corrected as they were, unless the
        policy does not apply what was learned. Raises as `replay`, and UnknownModelError if the policy does not exist
        any more.
        """
        policy, then = policies.named(recorded.policy), self.recorded_policy(recorded)
        # What an experiment did is no edit, while it runs and after its end.
        policy = next((arm for arm in card_arms(policy) if _deciding(arm) == then), policy)
        if policy.stages_off:
            kind = kind_of(self._predictor, features_of(recorded, self._predictor))
            policy = policy.without_stages(policy.off_for(kind))
        edited = () if _deciding(policy) == then else (f"policy edited: {policy.id}",)
        card_changes = self._card_changes(self._recorded_catalog(recorded.catalogue), cards)
        plan_changes = _plan_changes(self._recorded_plans(recorded), plans, recorded, policy)
        aged = _date_changes(recorded, policy, today)
        reasons = (*self._environment_changes(recorded), *card_changes, *edited, *plan_changes, *aged)
        return self._decide(recorded, cards, policy, plans, today, reasons)

    def decide_by(
        self,
        recorded: DecisionRecord,
        cards: CatalogSnapshot,
        policy: Policy,
        today: datetime.date | None,
        plans: Plans = NO_PLANS,
        flags: Flags = NO_FLAGS,
    ) -> Replay:
        """Decide a recorded request by another policy, with `flags` beside those of the request, and without
        exploration. Raises as `replay`.
        """
        recorded = msgspec.structs.replace(
            recorded, exploration=None, flags=str(read_flags(recorded.flags).overridden_by(flags))
        )
        return self._decide(recorded, cards, policy, plans, today, ())

    def without_plans(self, recorded: DecisionRecord) -> Replay:
        """Repeat a decision as if the policy had no plans. Raises as `replay`."""
        today = datetime.date.fromisoformat(recorded.day) if recorded.day else None
        policy = self.recorded_policy(recorded).with_plans()
        alone = msgspec.structs.replace(recorded, named_plan=None)
        return self._decide(alone, self._recorded_catalog(recorded.catalogue), policy, NO_PLANS, today, ())

    def without_exploration(self, recorded: DecisionRecord) -> Replay:
        """Repeat a decision as if the policy did not explore. Raises as `replay`."""
        return self.replay(msgspec.structs.replace(recorded, exploration=None))

    def _decide(
        self,
        recorded: DecisionRecord,
        cards: CatalogSnapshot,
        policy: Policy,
        plans: Plans,
        today: datetime.date | None,
        reasons: tuple[str, ...],
    ) -> Replay:
        features = features_of(recorded, self._predictor)
        unavailable = read_unavailable(self._content(recorded.unavailable, "reasons")) if recorded.unavailable else {}
        corrections = _corrections(recorded) if policy.learning == "apply" else NO_CORRECTIONS
        forecast = self._forecaster(cards, tuple(policy.beliefs.items()))(features)
        try:
            decision = decide(
                cards.catalog,
                features,
                corrected(forecast, cards.catalog, corrections),
                policy,
                read_flags(recorded.flags),
                self._predictor.id,
                RequestContext(
                    unavailable,
                    today,
                    recorded.conversation_card,
                    recorded.named_plan,
                    dict(recorded.load),
                    recorded.canaries,
                    recorded.is_batch,
                    frozenset(recorded.hidden),
                    draw_again(recorded.exploration),
                ),
                plans,
            )
        except CallerError as error:
            return Replay(None, False, (), reasons, str(error))
        if corrections.version:
            decision = msgspec.structs.replace(decision, memory=corrections.version)
        differences = _differences(recorded, decision)
        return Replay(decision, not differences, differences, reasons)

    def _bind(self, cards: CatalogSnapshot, beliefs: tuple[tuple[str, Belief], ...]) -> Forecaster:
        return self._predictor.bind(cards.catalog.with_beliefs(dict(beliefs)), cards.evidence)

    def _environment_changes(self, recorded: DecisionRecord) -> tuple[str, ...]:
        """Which of the artifact and the release have changed since the decision."""
        versions = (
            ("artifact", recorded.artifact, self._predictor.id),
            ("release", recorded.release, __version__),
        )
        return tuple(f"{name} changed: {then}, now {now}" for name, then, now in versions if then != now)

    def _read_catalog(self, fingerprint: str) -> CatalogSnapshot:
        return read_catalogue(self._content(fingerprint, "cards"))

    def recorded_policy(self, recorded: DecisionRecord) -> Policy:
        """The policy that decided. Raises ConfigurationError if it is not stored any more."""
        return read_policy(self._content(recorded.policy_hash, "policy"))

    def _recorded_plans(self, recorded: DecisionRecord) -> Plans:
        return read_plans(self._content(recorded.plans, "plans")) if recorded.plans else NO_PLANS

    def _read_content(self, fingerprint: str, kind: str) -> bytes:
        content = self._records.snapshot(fingerprint)
        if content is None:
            raise ConfigurationError(f"cannot replay: the {kind} snapshot {fingerprint} is not stored any more")
        return content


def features_of(recorded: DecisionRecord, predictor: Predictor) -> Features:
    """The recorded features of a request. Raises ConfigurationError if `predictor` needs vectors of another length, or
    with readings by another reader.
    """
    vector = np.frombuffer(recorded.vector, dtype="<f4").astype(np.float32)
    width = predictor.width
    if len(vector) != width:
        raise ConfigurationError(
            f"the decision was made by artifact {recorded.artifact} from {len(vector)} features, but {predictor.id} "
            f"expects {width}; pass the recorded artifact with --artifact"
        )
    reader = "" if predictor.reader is None else predictor.reader.id
    if recorded.reader != reader:
        raise ConfigurationError(
            f"the decision was made by artifact {recorded.artifact}, which reads the difficulty of prompts on another "
            f"scale than {predictor.id}; pass the recorded artifact with --artifact"
        )
    return Features(
        vector=vector,
        input_tokens=recorded.input_tokens,
        modalities=frozenset(recorded.modalities),
        needs=frozenset(recorded.needs),
        output_limit=recorded.output_limit,
        thinking_scale=recorded.thinking_scale,
        dependence=recorded.dependence,
        reader=recorded.reader,
        indivisible=frozenset(recorded.indivisible),
        parts=tuple(
            part_features(np.frombuffer(part.vector, dtype="<f4").astype(np.float32), part.input_tokens, recorded)
            for part in recorded.parts
        ),
    )


def _corrections(recorded: DecisionRecord) -> Corrections:
    return Corrections(recorded.memory, recorded.corrections, tuple(part.corrections for part in recorded.parts))


def read_flags(text: str) -> Flags:
    """Parse the flags that a decision recorded as text."""
    # One by one: limits that contradict each other are valid in a record if the policy relaxed them.
    parsed = [parse_flags(flag) for flag in text.split(",") if flag]
    return Flags(
        tuple(limit for flags in parsed for limit in flags.limits),
        {goal: weight for flags in parsed for goal, weight in flags.goals.items()},
    )


def _deciding(policy: Policy) -> Policy:
    """The policy without what its decisions do not depend on, as it is recorded."""
    return msgspec.structs.replace(policy, shadow=None, experiment=None)


def _differences(recorded: DecisionRecord, decision: Decision) -> tuple[Difference, ...]:
    best = decision.candidates[0]
    replayed = dict(
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
                decision.outlook,
                decision.exploration,
            ),
            strict=True,
        )
    )
    return tuple(
        Difference(field, getattr(recorded, field), value)
        for field, value in replayed.items()
        if getattr(recorded, field) != value
    )


def _card_changes(then: CatalogSnapshot, now: CatalogSnapshot) -> tuple[str, ...]:
    """How the cards and their probe outcomes have changed."""
    old = {card.id: card for card in then.catalog}
    new = {card.id: card for card in now.catalog}
    both = sorted(old.keys() & new.keys())
    changes = (
        ("card deleted", sorted(old.keys() - new.keys())),
        ("card added", sorted(new.keys() - old.keys())),
        ("card edited", [card for card in both if old[card] != new[card]]),
        (
            "latency fitted again",
            [card for card in both if then.catalog.speeds.get(card) != now.catalog.speeds.get(card)],
        ),
        (
            "probe outcomes or profile changed",
            [card for card in both if not _same(then.evidence.get(card), now.evidence.get(card))],
        ),
    )
    return tuple(f"{change}: {shortened(cards, _MAX_NAMED)}" for change, cards in changes if cards)


def _plan_changes(then: Plans, now: Plans, recorded: DecisionRecord, policy: Policy) -> tuple[str, ...]:
    """Which of the plans that the decision may choose have been edited."""
    used = (recorded.named_plan,) if recorded.named_plan is not None else policy.plans
    edited = [name for name in used if then.get(name) != now.get(name)]
    changes = [f"plan edited: {shortened(edited, _MAX_NAMED)}"] if edited else []
    if used and then.columns != now.columns:
        changes.append("columns of plans fitted again")
    return tuple(changes)


def _date_changes(recorded: DecisionRecord, policy: Policy, today: datetime.date | None) -> tuple[str, ...]:
    """The day of the decision and that of the replay, where they differ and the age of cards counts."""
    now = "" if today is None else today.isoformat()
    flags = (policy.flags, read_flags(recorded.flags))
    counts = any(limit.field == "age" for each in flags for limit in each.limits) or any(
        "age" in each.goals for each in flags
    )
    return (f"date changed: {recorded.day}, now {now}",) if counts and now != recorded.day else ()


def _same(one: Evidence | None, two: Evidence | None) -> bool:
    if one is None or two is None:
        return one is two
    if one.task is None or two.task is None:
        if one.task is not two.task:
            return False
    elif one.task.prompts != two.task.prompts or not np.array_equal(one.task.mean, two.task.mean):
        return False
    return np.array_equal(one.vectors, two.vectors) and np.array_equal(one.scores, two.scores)
