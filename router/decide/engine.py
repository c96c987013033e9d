"""Decide: `argmin_M [ loss(M) + Σ_j λ_j · C_j(M) ]` over the cards that pass all limits (Tryage, S61).

With a guard, the policy's default card answers wherever the forecast is not sure enough of the argmin.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.decide.fields import DecisionInputs
from router.decide.flags import Flags
from router.decide.goals import LOSS, loss_of, loss_weight, parts_of
from router.decide.guard import GuardEvaluation, GuardRule, uncertainty_of
from router.decide.limits import Limit, LimitResult, evaluate, gap, reason
from router.decide.policy import Policy
from router.errors import CallerError, NoCandidateError, did_you_mean
from router.types import (
    NO_GUARD,
    Decision,
    Doubles,
    Features,
    Forecast,
    Indices,
    Mask,
    Plan,
    Ranking,
    Rejection,
)

AVAILABLE = Limit("available", "=", "yes", "available")
_CONTEXT_OF_ANY_CARD = 2_048

# Clearly better: changing the model in mid-conversation loses the prompt cache, and its voice.
_KEEPING = GuardRule(confidence=0.9, novelty=1.0)

Pick = Callable[[Indices], int]
"""Positions of cards in rising order → that of the one to choose."""


class RequestContext(Struct, frozen=True):
    """What the engine cannot know by itself: which cards cannot be called now and why, the day, and the card that has
    answered the conversation so far.
    """

    unavailable: Mapping[str, str] = {}
    today: datetime.date | None = None
    kept: str | None = None


class Rejections(Mapping[str, Rejection]):
    """Every card that fails a limit, with its reasons, made when looked at."""

    def __init__(
        self, verdicts: Sequence[LimitResult], failing: Mask, sight: DecisionInputs, unavailable: Mapping[str, str]
    ) -> None:
        self._verdicts, self._sight, self._unavailable = verdicts, sight, unavailable
        self._failing = failing

    def __len__(self) -> int:
        return int(self._failing.sum())

    def __iter__(self) -> Iterator[str]:
        return (self._sight.catalog.ids[card] for card in np.flatnonzero(self._failing))

    def __getitem__(self, name: str) -> Rejection:
        card = self._sight.catalog.position(name)
        failed = [] if card is None else [verdict for verdict in self._verdicts if verdict.fails[card]]
        if card is None or not failed or self._sight.catalog.ids[card] != name:
            raise KeyError(name)
        first, *rest = failed
        return Rejection(first.limit.text, self._reason(first, card), tuple(self._reason(each, card) for each in rest))

    def __repr__(self) -> str:
        return f"Rejections({dict(self)!r})"

    def _reason(self, verdict: LimitResult, card: int) -> str:
        if verdict.limit is AVAILABLE:
            return self._unavailable[self._sight.catalog.ids[card]]
        return reason(verdict, card, self._sight)


def decide(
    catalog: Catalog,
    features: Features,
    forecast: Forecast,
    policy: Policy,
    flags: Flags,
    artifact: str,
    circumstances: RequestContext = RequestContext(),  # noqa: B008 - frozen
) -> Decision:
    """Choose a card, and say why.

    Raises CallerError where the flags ask for what the policy does not let clients change, and
    NoCandidateError where no card passes every limit.
    """
    _check_overrides(policy, flags)
    wanted = policy.flags.overridden_by(flags)
    sight = DecisionInputs(catalog, forecast, circumstances.today)
    needs = [*_availability(catalog, circumstances.unavailable), *_requirements(features, sight)]
    asked = [evaluate(limit, sight, unknown_passes=policy.unknown == "allow") for limit in wanted.limits]
    kept, relaxed = _relaxed(needs, asked, policy)
    verdicts = [*needs, *kept]
    fails = _fails(verdicts)
    failing: Mask = np.logical_or.reduce(fails)
    rejections = Rejections(verdicts, failing, sight, circumstances.unavailable)
    candidates = np.flatnonzero(~failing)
    if not len(candidates):
        raise NoCandidateError(_explain_empty(verdicts, fails, sight, rejections))
    parts = parts_of(sight, wanted.goals)
    score = functools.reduce(np.add, parts.values())
    # Cards stand in the order of their ids, and a stable sort keeps it: the id breaks ties.
    order = candidates[np.argsort(score[candidates], kind="stable")]
    first, guard, pick = int(order[0]), NO_GUARD, _argmin(score)
    staying = _staying(policy, circumstances.kept, catalog, failing)
    if guarding := _guarding(policy, wanted, sight, parts, score, staying):
        contest = guarding.contest(candidates)
        missing = "" if staying is not None else _missing_default(policy, sight, rejections)
        guard = guarding.account(contest, catalog.ids, missing)
        pick = guarding.choose
        if guard.state == "held":
            first = contest.default
            place = int((order == first).argmax())
            order[1 : place + 1] = order[:place]
            order[0] = first
    return Decision(
        plan=Plan(catalog.ids[first], tuple(catalog.ids[card] for card in order[1 : 1 + policy.fallbacks])),
        candidates=Ranking(catalog.ids, order, score, parts, forecast),
        rejections=rejections,
        policy=policy.id,
        artifact=artifact,
        flags=str(flags),
        binding=() if len(order) == len(score) else _binding(verdicts, fails, first, pick),
        relaxed=relaxed,
        guard=guard,
    )


def _argmin(score: Doubles) -> Pick:
    return lambda candidates: int(candidates[score[candidates].argmin()])


def _staying(policy: Policy, card: str | None, catalog: Catalog, failing: Mask) -> int | None:
    """Where the conversation's card stands, if it is to be kept and still passes every limit."""
    position = None if card is None or policy.conversations == "free" else catalog.position(card)
    return None if position is None or failing[position] else position


def _guarding(
    policy: Policy,
    wanted: Flags,
    sight: DecisionInputs,
    parts: Mapping[str, Doubles],
    score: Doubles,
    staying: int | None,
) -> GuardEvaluation | None:
    rule = policy.guard_rule if staying is None else _KEEPING
    if rule is None:
        return None
    weight, forecast = loss_weight(wanted.goals), sight.forecast
    doubt = weight * uncertainty_of(forecast.independent_std)
    usual = {**parts, LOSS: weight * loss_of(forecast.mean_quality)}
    return GuardEvaluation(
        rule=rule,
        score=score,
        doubt=doubt,
        safe_score=functools.reduce(np.add, usual.values()) + doubt,
        novelty=forecast.novelty,
        stated=_stated_default(policy, sight.catalog) if staying is None else staying,
        role="default" if staying is None else "conversation's",
    )


def _stated_default(policy: Policy, catalog: Catalog) -> int | None:
    return None if policy.default is None else catalog.position(policy.default)


def _missing_default(policy: Policy, sight: DecisionInputs, rejections: Rejections) -> str:
    """Why the default card that the policy names is no candidate; empty where it is one, or none is named."""
    if policy.default is None:
        return ""
    position = sight.catalog.position(policy.default)
    if position is None:
        return f"the policy's default card {policy.default} is not in the catalogue"
    rejection = rejections.get(sight.catalog.ids[position])
    return "" if rejection is None else f"the policy's default card {policy.default} is rejected ({rejection.reason})"


def _check_overrides(policy: Policy, flags: Flags) -> None:
    for kind, asked in (("limits", flags.limits), ("goals", flags.goals)):
        if asked and kind not in policy.overrides:
            allowed = " and ".join(policy.overrides) or "nothing"
            raise CallerError(f'the policy "{policy.id}" lets clients set {allowed}, not {kind}: {flags}')


def _availability(catalog: Catalog, unavailable: Mapping[str, str]) -> list[LimitResult]:
    if not unavailable:
        return []
    fails = np.array([name in unavailable for name in catalog.ids])
    return [LimitResult(AVAILABLE, fails, np.zeros_like(fails))]


def _requirements(features: Features, sight: DecisionInputs) -> list[LimitResult]:
    """What the request itself needs: room for prompt and answer, its modalities, tools, a JSON schema."""
    needed = features.input_tokens + (features.output_limit or 0)
    room = Limit("context", ">=", needed, f"context>={needed}")
    verdicts = [evaluate(room, sight, unknown_passes=needed <= _CONTEXT_OF_ANY_CARD)]
    if features.output_limit is not None:
        longest = Limit("max_output", ">=", features.output_limit, f"max_output>={features.output_limit}")
        verdicts.append(evaluate(longest, sight, unknown_passes=True))
    words = [("modality", each) for each in sorted(features.modalities - {"text"})]
    words += [("capability", each) for each in sorted(features.needs)]
    for field, word in words:
        verdicts.append(evaluate(Limit(field, "=", word, f"{field}={word}"), sight, unknown_passes=False))
    return verdicts


def _relaxed(
    needs: Sequence[LimitResult], asked: list[LimitResult], policy: Policy
) -> tuple[list[LimitResult], tuple[str, ...]]:
    """The limits asked for that are left once relaxing has found a candidate, and the texts of those dropped.

    What the request itself needs is never relaxed: no model would serve it.
    """
    relaxed: list[str] = []
    for field in policy.relax if policy.on_empty == "relax" else ():
        if not _fails([*needs, *asked]).any(axis=0).all():
            break
        relaxed += [each.limit.text for each in asked if each.limit.field == field]
        asked = [each for each in asked if each.limit.field != field]
    return asked, tuple(relaxed)


def _fails(verdicts: Sequence[LimitResult]) -> Mask:
    """Of shape `(limits, cards)`. There is always a limit: the request's own need of context."""
    return np.array([verdict.fails for verdict in verdicts])


def _binding(verdicts: Sequence[LimitResult], fails: Mask, first: int, pick: Pick) -> tuple[str, ...]:
    """The limits without which another card than `first` would have been chosen."""
    counts = fails.sum(axis=0)
    texts = []
    for verdict, failing in zip(verdicts, fails, strict=True):
        added = failing & (counts == 1)
        if added.any() and pick(np.flatnonzero(added | (counts == 0))) != first:
            texts.append(verdict.limit.text)
    return tuple(texts)


def _explain_empty(verdicts: Sequence[LimitResult], fails: Mask, sight: DecisionInputs, rejections: Rejections) -> str:
    if not len(sight.catalog):
        return "the catalogue holds no card"
    counts = fails.sum(axis=0)
    distance = [
        sum(gap(verdict, card, sight) for verdict in verdicts if verdict.fails[card]) for card in range(len(counts))
    ]
    nearest = min(range(len(counts)), key=lambda card: (int(counts[card]), distance[card], card))
    rejection = rejections[sight.catalog.ids[nearest]]
    by_effect = sorted(
        ((int(verdict.fails.sum()), verdict.limit.text) for verdict in verdicts if verdict.fails.any()),
        reverse=True,
    )
    listed = ", ".join(f"{text} (rejects {count} of {len(counts)})" for count, text in by_effect)
    why = "; ".join((rejection.reason, *rejection.also))
    lines = [f"no card meets every limit: {listed}", f"nearest is {sight.catalog.ids[nearest]}: {why}"]
    for verdict in verdicts:
        limit = verdict.limit
        if isinstance(limit.value, str) and limit.op == "=" and limit.field in sight.catalog.facets:
            held = sight.catalog.facets[limit.field].holders
            if limit.value not in held:
                known = f"; known: {', '.join(sorted(held)[:12])}" if held else ""
                hint = did_you_mean(limit.value, held) or known
                lines.append(f"no card at all has {limit.field} {limit.value}{hint}")
    return "\n  ".join(lines)
