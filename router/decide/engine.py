"""The decision: `argmin_M [ loss(M) + Σ_j λ_j · C_j(M) ]` over the cards that pass all limits (arXiv:2308.11601).

With a guard, the policy's default card answers unless the forecast is confident that another card is better. A
follow-up in a conversation is answered by the card that answered before.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.decide.exploration.drawing import Asked, Scored, explore
from router.decide.exploration.rule import Draw
from router.decide.fallbacks import fallbacks_among, fallbacks_of
from router.decide.fields import DecisionInputs
from router.decide.flags import Flags
from router.decide.goals import assumptions, loss_weight, parts_of
from router.decide.guard import GuardEvaluation, GuardRule, Scores, Totals, scores_of, totals_of
from router.decide.limits import LimitResult
from router.decide.plans.canary import Trial, conversation_card, predecessor, with_predecessor
from router.decide.plans.catalog import NO_PLANS, Plans, SelectedPlans
from router.decide.plans.members import Chooser
from router.decide.plans.rows import POSSIBLE, Outlooks, PlanRows, Weights
from router.decide.plans.shape import cards_named_in
from router.decide.plans.spec import KINDS, PREFIX
from router.decide.policy import Policy
from router.decide.ranking import (
    Order,
    Ranking,
    Rejections,
    best_of,
    count_of,
    explain_empty,
)
from router.decide.requirements import effective_limits, fails_of, hints, needed_tokens, requirements_of
from router.errors import CallerError, NoCandidateError, did_you_mean
from router.perceive.text.dependence import DEPENDENT, INDEPENDENT
from router.types import NO_GUARD, Decision, Doubles, Features, Forecast, Guard, Mask, Plan, SinglePlan

# Stricter than a policy's guard: changing the model within a conversation loses the prompt cache and the style. The
# forecast of a turn unlike the training prompts says little about whether the turn belongs to the conversation.
_CONVERSATION_GUARD = GuardRule(confidence=0.9, novelty=0.95)
# No forecast releases a follow-up: it is about the answer that the conversation's card gave.
_FOLLOW_UP_GUARD = GuardRule(confidence=1.0, novelty=1.0)

Pick = Callable[[Mask], int]
"""Maps the rejected cards to the position of the one chosen among the others."""


class RequestContext(Struct, frozen=True):
    """What a decision depends on besides the request, the catalogue and the policy.

    `unavailable` maps the ids of cards that cannot be called now to the reason. `today` is the date (UTC) from which
    `age` is counted. `kept` is the id of the card that answered the conversation so far. `plan` is the id of the plan
    that the client named, with which nothing but this plan is a candidate, unless there is nothing for it to do. `load`
    is how busy the servers of cards are, in [0, 1], by the ids of `Catalog.hosts`; 0 where it is left out. `canaries`
    are the ids of the canaries that take this request where the choice falls on their predecessors. `is_batch`: the
    request can wait. `hidden` are ids, all in `unavailable` too, of cards that do not exist for the client: no
    explanation names them. `draw` is what the policy's exploration needs; None explores nothing.
    """

    unavailable: Mapping[str, str] = {}
    today: datetime.date | None = None
    kept: str | None = None
    plan: str | None = None
    load: Mapping[str, float] = {}
    canaries: tuple[str, ...] = ()
    is_batch: bool = False
    hidden: frozenset[str] = frozenset()
    draw: Draw | None = None


def decide(
    catalog: Catalog,
    features: Features,
    forecast: Forecast,
    policy: Policy,
    flags: Flags,
    artifact: str,
    request_context: RequestContext = RequestContext(),  # noqa: B008 - frozen
    plans: Plans = NO_PLANS,
) -> Decision:
    """Choose a card, or one of the plans that the policy or the client names, and explain the choice.

    `forecast` is in the order of `catalog`; `artifact` is the id of the predictor that made it. `plans` are all that
    there are, of which the policy's are candidates. Raises CallerError where `flags` set something that the policy does
    not let clients set, and NoCandidateError where no card passes every limit.
    """
    combined = policy.flags
    if is_flagged := bool(flags.limits or flags.goals):
        _check_overrides(policy, flags)
        combined = combined.overridden_by(flags)
    inputs = DecisionInputs(catalog, forecast, request_context.today, features.input_tokens, request_context.load)
    words = requirements_of(features, catalog, is_batch=request_context.is_batch)
    results, dropped = effective_limits(
        features, inputs, policy, combined, request_context.unavailable, request_context.hidden, words
    )
    named = _named_plans(policy, request_context, plans) if policy.plans or request_context.plan is not None else ()
    rows = None
    parts: Mapping[str, Doubles] = {}
    if named:
        parts = parts_of(inputs, combined.goals, policy.mistake_usd)
        rows = _plan_rows(plans.selected(named), features, inputs, policy, combined, results, parts, request_context)
        results, parts, forecast = rows.results(results), rows.parts(parts), rows.forecast(forecast)
        if request_context.plan is not None and (only := rows.only_named()) is not None:
            results.append(only)
    rejected = results[0].fails if len(results) == 1 else np.logical_or.reduce([result.fails for result in results])
    trial = Trial(catalog, results, request_context.canaries) if catalog.canaries else None
    if trial is not None:
        # The results stay as they are.
        rejected = rejected.copy()
        if rejected.all():
            trial.admit(rejected)
    rejections = Rejections(results, rejected, inputs, request_context.unavailable, rows)
    candidates = len(rejected) - count_of(rejected)
    if not candidates:
        if request_context.plan is not None and rows is not None and not rows.all_needless:
            raise NoCandidateError(_explain_named(request_context.plan, rejections))
        advice = [*hints(words, results), *_plan_hints(results, named, plans, rejections)]
        raise NoCandidateError(explain_empty(results, fails_of(results), inputs, rejections, advice))
    scores = (
        scores_of(inputs, combined.goals, policy.mistake_usd, rejected)
        if rows is None
        else Scores(parts, totals_of(parts, forecast, loss_weight(combined.goals)))
    )
    parts, score, ids = scores.parts, scores.totals.score, catalog.ids if rows is None else rows.ids
    keeps = request_context.kept is not None and policy.conversations == "keep" and features.dependence > INDEPENDENT
    current = conversation_card(catalog, request_context.kept, rejected) if keeps else None
    evaluation = _guard_evaluation(policy, inputs, scores.totals, forecast.novelty, current, features.dependence)
    guard, order = NO_GUARD, Order(score, rejected, None, scores.best, candidates)
    pick: Pick = functools.partial(best_of, score)
    if evaluation is not None:
        missing = _missing_default(policy, inputs, rejections) if current is None and policy.default else ""
        guard, pick, order = _guarded(evaluation, order, scores, rejected, ids, missing)
    chosen = order.ahead[0]
    canary, exploration = None, None
    if trial is not None:
        found, canary = trial.applied(ids[chosen], order.whole, rejected)
        order = Order.stated(found, score)
    if request_context.draw is not None and (exploring := policy.exploration) is not None:
        found, exploration = explore(
            exploring,
            Asked(request_context.draw, features, request_context.kept, request_context.plan, dropped, canary),
            Scored(order.whole, catalog, ids, score, forecast, combined),
        )
        order = Order.stated(found, score)
    plan = _plan(catalog, rows, order, score, policy.fallbacks, needed_tokens(features))
    return Decision(
        plan=plan if canary is None else with_predecessor(plan, canary, policy.fallbacks),
        candidates=Ranking(
            ids,
            order,
            score,
            parts,
            forecast,
            functools.partial(assumptions, inputs, parts)
            if rows is None
            else functools.partial(_assumed, rows, parts, inputs),
        ),
        rejections=rejections,
        policy=policy.id,
        artifact=artifact,
        flags=str(flags) if is_flagged else "",
        binding=() if len(order) == len(score) else _binding(results, chosen, pick),
        relaxed=dropped,
        guard=guard,
        plans={} if rows is None else Outlooks(rows, inputs.forecast),
        canary=canary,
        exploration=exploration,
    )


def _named_plans(policy: Policy, request_context: RequestContext, plans: Plans) -> tuple[str, ...]:
    """The ids of the plans to compare: the one that the client named, else the policy's, without hidden cards."""
    named = (request_context.plan,) if request_context.plan is not None else policy.plans
    if not (named and request_context.hidden):
        return named
    return tuple(name for name in named if request_context.hidden.isdisjoint(cards_named_in(plans.named(name))))


def _plan_rows(
    plans: SelectedPlans,
    features: Features,
    inputs: DecisionInputs,
    policy: Policy,
    flags: Flags,
    results: Sequence[LimitResult],
    parts: Mapping[str, Doubles],
    request_context: RequestContext,
) -> PlanRows:
    """The plans with their members among the cards that pass `results`, by the policy's own score."""
    kept, lenient = request_context.kept, policy.unknown == "allow"
    if policy.conversations == "free" or features.dependence <= INDEPENDENT or request_context.plan is not None:
        kept = None
    score = functools.partial(_policy_score, inputs, policy, flags, parts)
    return PlanRows(
        plans,
        features,
        inputs,
        Weights(flags.goals, policy.mistake_usd),
        Chooser(inputs, results, score, functools.partial(_part_score, inputs, policy), unknown_passes=lenient),
        first=None if kept is None else inputs.catalog.position(predecessor(inputs.catalog, kept) or kept),
        unknown_passes=lenient,
    )


def _policy_score(inputs: DecisionInputs, policy: Policy, flags: Flags, parts: Mapping[str, Doubles]) -> Doubles:
    """The score by which the policy chooses the best members of a plan: a client's goals do not change the members."""
    goals = policy.flags.goals
    own = parts if flags.goals == goals else parts_of(inputs, goals, policy.mistake_usd)
    score: Doubles = functools.reduce(np.add, own.values())
    return score


def _part_score(inputs: DecisionInputs, policy: Policy, part: Forecast) -> Doubles:
    """The policy's score of the cards on a part of the prompt."""
    parts = parts_of(msgspec.structs.replace(inputs, forecast=part), policy.flags.goals, policy.mistake_usd)
    score: Doubles = functools.reduce(np.add, parts.values())
    return score


def _plan(catalog: Catalog, rows: PlanRows | None, order: Order, score: Doubles, fallbacks: int, needed: int) -> Plan:
    """What the first of `order` is: a card with its fallbacks, or a plan with those that answer if no member does."""
    chosen = order.ahead[0]
    if rows is None:
        return SinglePlan(catalog.ids[chosen], fallbacks_of(catalog, order, fallbacks, needed))
    if chosen < len(catalog):
        return SinglePlan(catalog.ids[chosen], _fallbacks(catalog, order, chosen, (chosen,), fallbacks, needed))
    members, answerer = rows.members_of(chosen), rows.answerer(chosen)
    return rows.composed(chosen, _fallbacks(catalog, order, answerer, members, fallbacks, needed))


def _fallbacks(
    catalog: Catalog, order: Order, first: int, tried: Sequence[int], count: int, needed: int
) -> tuple[str, ...]:
    """The fallbacks of the card `first` among the cards of an order with plans, without those that were tried."""

    ahead = [first, *[card for card in order.ahead if card < len(catalog) and card not in tried]]
    found = fallbacks_among(catalog, ahead, count, needed, is_whole=len(order) <= len(order.ahead))
    if found is None:
        whole = order.whole
        cards = whole[(whole < len(catalog)) & ~np.isin(whole, tried)]
        found = fallbacks_among(catalog, np.concatenate([[first], cards]), count, needed)
    return found or ()


def _assumed(rows: PlanRows, parts: Mapping[str, Doubles], inputs: DecisionInputs, position: int) -> tuple[str, ...]:
    is_plan = position >= len(rows.ids) - len(rows.rows)
    return rows.assumptions(parts, position) if is_plan else assumptions(inputs, parts, position)


def _explain_named(plan: str, rejections: Rejections) -> str:
    """Why the plan that the client named cannot answer."""
    name = PREFIX + plan.removeprefix(PREFIX)
    rejection = rejections[name]
    return f"{name} cannot answer this request: {'; '.join((rejection.reason, *rejection.also))}"


def _plan_hints(
    results: Sequence[LimitResult], named: Sequence[str], plans: Plans, rejections: Rejections
) -> list[str]:
    """What to do where a limit demands a plan that is no candidate, and why those are none that it means."""
    lines = []
    for result in results:
        limit = result.limit
        if limit.field != "plan" or limit.op != "=" or result.limit is POSSIBLE:
            continue
        known = ("single", *KINDS, *plans.ids)
        meant = [name for name in named if limit.value in (name, plans[name].kind)]
        if limit.value not in known:
            lines.append(f"there is no plan {limit.value}{did_you_mean(str(limit.value), known)}")
        elif meant:
            failed = {f"{PREFIX}{name}": rejections[f"{PREFIX}{name}"] for name in meant}
            lines += [f"{name}: {'; '.join((why.reason, *why.also))}" for name, why in failed.items()]
        elif limit.value != "single":
            stated = ", ".join(named) or "none"
            lines.append(f"the plans of the policy are {stated}; name one as the model plan/NAME, or under its `plans`")
    return lines


def _guard_evaluation(
    policy: Policy,
    inputs: DecisionInputs,
    totals: Totals,
    novelty: float,
    current: int | None,
    dependence: float,
) -> GuardEvaluation | None:
    """The guard of this request, None where it has none; `current` is the conversation's card if it may be kept."""
    follows_up = current is not None and dependence >= DEPENDENT
    rule = policy.guard_rule if current is None else _FOLLOW_UP_GUARD if follows_up else _CONVERSATION_GUARD
    if rule is None:
        return None
    stated = None if policy.default is None else inputs.catalog.position(policy.default)
    return GuardEvaluation(
        rule=rule,
        score=totals.score,
        uncertainty=totals.uncertainty,
        safe_score=totals.safe_score,
        novelty=novelty,
        stated_default=stated if current is None else current,
        role="default" if current is None else "conversation's",
        kept_because=f"the turn depends on what went before it ({dependence:.2f})" if follows_up else "",
    )


def _guarded(
    evaluation: GuardEvaluation, order: Order, scores: Scores, rejected: Mask, ids: Sequence[str], missing: str
) -> tuple[Guard, Pick, Order]:
    """What the guard did, how it chooses, and the order of the candidates with the one that answers first."""
    comparison = evaluation.compare(rejected, order.ahead[0], scores.safest)
    guard = evaluation.explain(comparison, ids, missing)
    if guard.state == "held":
        order = Order(evaluation.score, rejected, comparison.default, scores.best, len(order))
    return guard, evaluation.choose, order


def _missing_default(policy: Policy, inputs: DecisionInputs, rejections: Rejections) -> str:
    """Why the policy's default card is not a candidate; empty where it is one or the policy states none."""
    if policy.default is None:
        return ""
    position = inputs.catalog.position(policy.default)
    if position is None:
        return f"the policy's default card {policy.default} is not in the catalogue"
    rejection = rejections.get(inputs.catalog.ids[position])
    return "" if rejection is None else f"the policy's default card {policy.default} is rejected ({rejection.reason})"


def _check_overrides(policy: Policy, flags: Flags) -> None:
    for kind, stated in (("limits", flags.limits), ("goals", flags.goals)):
        if stated and kind not in policy.overrides:
            allowed = f", only {' and '.join(policy.overrides)}" if policy.overrides else ""
            raise CallerError(f'the policy "{policy.id}" does not let clients set {kind}{allowed}: {flags}')


def _binding(results: Sequence[LimitResult], chosen: int, pick: Pick) -> tuple[str, ...]:
    """The limits without which another card than `chosen` would have been chosen."""
    # What makes a plan impossible is no limit that could be lifted.
    lifted = [n for n, each in enumerate(results) if each.limit is not POSSIBLE and np.count_nonzero(each.fails)]
    if not lifted:
        return ()
    fails = fails_of(results)
    counts = fails.sum(axis=0)
    fail, one_fails = counts > 0, counts == 1
    texts = []
    for number in lifted:
        added = fails[number] & one_fails
        if np.count_nonzero(added) and pick(fail & ~added) != chosen:
            texts.append(results[number].limit.text)
    return tuple(texts)
