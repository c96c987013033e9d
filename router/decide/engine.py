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
from router.decide.fallbacks import fallbacks_of
from router.decide.fields import DecisionInputs
from router.decide.flags import Flags
from router.decide.goals import LOSS, assumptions, loss_of, loss_weight, parts_of
from router.decide.guard import GuardEvaluation, GuardRule, uncertainty_of
from router.decide.limits import LimitResult, among, evaluate, gap
from router.decide.plans.catalog import NO_PLANS, Plans
from router.decide.plans.members import Chooser
from router.decide.plans.rows import POSSIBLE, Outlooks, PlanRows, Weights
from router.decide.plans.shape import cards_named_in
from router.decide.plans.spec import KINDS, PREFIX, PlanSpec
from router.decide.policy import Policy
from router.decide.ranking import AVAILABLE, DISPATCHABLE, HIDDEN, MEASURED, TRIED, Ranking, Rejections
from router.decide.requirements import Requirement, hints, needed_tokens, room_results, word_requirements
from router.errors import CallerError, NoCandidateError, did_you_mean
from router.perceive.text.dependence import DEPENDENT, INDEPENDENT
from router.types import NO_GUARD, Decision, Doubles, Features, Forecast, Indices, Mask, Plan, SinglePlan

# Stricter than a policy's guard: changing the model within a conversation loses the prompt cache and the style. The
# forecast of a turn unlike the training prompts says little about whether the turn belongs to the conversation.
_CONVERSATION_GUARD = GuardRule(confidence=0.9, novelty=0.95)
# No forecast releases a follow-up: it is about the answer that the conversation's card gave.
_FOLLOW_UP_GUARD = GuardRule(confidence=1.0, novelty=1.0)

Pick = Callable[[Indices], int]
"""Maps the positions of candidate cards, in ascending order, to the position of the chosen one."""


class RequestContext(Struct, frozen=True):
    """What a decision depends on besides the request, the catalogue and the policy.

    `unavailable` maps the ids of cards that cannot be called now to the reason. `today` is the date (UTC) from which
    `age` is counted. `kept` is the id of the card that answered the conversation so far. `plan` is the id of the plan
    that the client named, with which nothing but this plan is a candidate, unless there is nothing for it to do.
    `hidden` are ids, all in `unavailable` too, of cards that do not exist for the client: no explanation names them.
    """

    unavailable: Mapping[str, str] = {}
    today: datetime.date | None = None
    kept: str | None = None
    plan: str | None = None
    hidden: frozenset[str] = frozenset()


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
    _check_overrides(policy, flags)
    combined = policy.flags.overridden_by(flags)
    inputs = DecisionInputs(catalog, forecast, request_context.today, features.input_tokens)
    words = word_requirements(features)
    required = [
        *among(DISPATCHABLE, catalog, catalog.withheld),
        *among(TRIED, catalog, catalog.untried),
        *among(AVAILABLE, catalog, request_context.unavailable),
        *among(HIDDEN, catalog, request_context.hidden),
        *_evidence(forecast, policy),
        *room_results(features, inputs),
        *_evaluated([each for each in words if not each.is_wanted], inputs),
    ]
    requested = [evaluate(limit, inputs, unknown_passes=policy.unknown == "allow") for limit in combined.limits]
    remaining, relaxed = _relaxed(required, requested, policy)
    wanted, unmet = _met([*required, *remaining], _evaluated([each for each in words if each.is_wanted], inputs))
    results = [*required, *remaining, *wanted]
    parts = parts_of(inputs, combined.goals, policy.mistake_usd)
    named = (request_context.plan,) if request_context.plan is not None else policy.plans
    if named and request_context.hidden:
        named = tuple(name for name in named if request_context.hidden.isdisjoint(cards_named_in(plans.named(name))))
    rows = None
    if named:
        rows = _plan_rows(
            [plans.named(name) for name in named], features, inputs, policy, combined, results, parts, request_context
        )
        results, parts, forecast = rows.results(results), rows.parts(parts), rows.forecast(forecast)
        if request_context.plan is not None and (only := rows.only_named()) is not None:
            results.append(only)
    fails = _fails(results)
    rejected: Mask = np.logical_or.reduce(fails)
    rejections = Rejections(results, rejected, inputs, request_context.unavailable, rows)
    candidates = np.flatnonzero(~rejected)
    if not len(candidates):
        if request_context.plan is not None and rows is not None and not rows.all_needless:
            raise NoCandidateError(_explain_named(request_context.plan, rejections))
        advice = [*hints(words, results), *_plan_hints(results, named, plans, rejections)]
        raise NoCandidateError(_explain_empty(results, fails, inputs, rejections, advice))
    score = functools.reduce(np.add, parts.values())
    # The cards are sorted by id and the sort is stable: the id breaks ties.
    order = candidates[np.argsort(score[candidates], kind="stable")]
    chosen, guard, pick = int(order[0]), NO_GUARD, _argmin(score)
    independent = features.dependence <= INDEPENDENT
    current = None if independent else _conversation_card(policy, request_context.kept, catalog, rejected)
    evaluation = _guard_evaluation(policy, combined, inputs, forecast, parts, score, current, features.dependence)
    ids = catalog.ids if rows is None else rows.ids
    if evaluation is not None:
        comparison = evaluation.compare(candidates)
        missing = "" if current is not None else _missing_default(policy, inputs, rejections)
        guard = evaluation.explain(comparison, ids, missing)
        pick = evaluation.choose
        if guard.state == "held":
            chosen = comparison.default
            rank = int((order == chosen).argmax())
            order[1 : rank + 1] = order[:rank]
            order[0] = chosen
    assumed = functools.partial(assumptions, inputs, parts)
    return Decision(
        plan=_plan(catalog, rows, order, policy.fallbacks, needed_tokens(features)),
        candidates=Ranking(ids, order, score, parts, forecast, functools.partial(_assumed, rows, parts, assumed)),
        rejections=rejections,
        policy=policy.id,
        artifact=artifact,
        flags=str(flags),
        binding=() if len(order) == len(score) else _binding(results, fails, chosen, pick),
        relaxed=(*relaxed, *unmet),
        guard=guard,
        plans={} if rows is None else Outlooks(rows, inputs.forecast),
    )


def _argmin(score: Doubles) -> Pick:
    return lambda candidates: int(candidates[score[candidates].argmin()])


def _plan_rows(
    specs: Sequence[PlanSpec],
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
        specs,
        features,
        inputs,
        Weights(flags.goals, policy.mistake_usd),
        Chooser(inputs, results, score, functools.partial(_part_score, inputs, policy), unknown_passes=lenient),
        first=None if kept is None else inputs.catalog.position(kept),
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


def _plan(catalog: Catalog, rows: PlanRows | None, order: Indices, fallbacks: int, needed: int) -> Plan:
    """What the first of `order` is: a card with its fallbacks, or a plan with those that answer if no member does."""
    chosen, cards = int(order[0]), (order if rows is None else order[order < len(catalog)]).tolist()
    if rows is None or chosen < len(catalog):
        return SinglePlan(catalog.ids[chosen], fallbacks_of(catalog, cards, fallbacks, needed))
    members = rows.members_of(chosen)
    others = [rows.answerer(chosen), *[card for card in cards if card not in members]]
    return rows.composed(chosen, fallbacks_of(catalog, others, fallbacks, needed))


def _assumed(
    rows: PlanRows | None, parts: Mapping[str, Doubles], of_card: Callable[[int], tuple[str, ...]], position: int
) -> tuple[str, ...]:
    if rows is not None and position >= len(rows.ids) - len(rows.rows):
        return rows.assumptions(parts, position)
    return of_card(position)


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


def _conversation_card(policy: Policy, card: str | None, catalog: Catalog, rejected: Mask) -> int | None:
    """The position of the conversation's card where the policy keeps it and it passes every limit; else None."""
    position = None if card is None or policy.conversations == "free" else catalog.position(card)
    return None if position is None or rejected[position] else position


def _guard_evaluation(
    policy: Policy,
    flags: Flags,
    inputs: DecisionInputs,
    forecast: Forecast,
    parts: Mapping[str, Doubles],
    score: Doubles,
    current: int | None,
    dependence: float,
) -> GuardEvaluation | None:
    """The guard of this request, None where it has none; `current` is the conversation's card if it may be kept."""
    follows_up = current is not None and dependence >= DEPENDENT
    rule = policy.guard_rule if current is None else _FOLLOW_UP_GUARD if follows_up else _CONVERSATION_GUARD
    if rule is None:
        return None
    weight = loss_weight(flags.goals)
    uncertainty = weight * uncertainty_of(forecast.independent_std)
    average_prompt_parts = {**parts, LOSS: weight * loss_of(forecast.mean_quality)}
    return GuardEvaluation(
        rule=rule,
        score=score,
        uncertainty=uncertainty,
        safe_score=functools.reduce(np.add, average_prompt_parts.values()) + uncertainty,
        novelty=forecast.novelty,
        stated_default=_stated_default(policy, inputs.catalog) if current is None else current,
        role="default" if current is None else "conversation's",
        kept_because=f"the turn depends on what went before it ({dependence:.2f})" if follows_up else "",
    )


def _stated_default(policy: Policy, catalog: Catalog) -> int | None:
    return None if policy.default is None else catalog.position(policy.default)


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


def _evidence(forecast: Forecast, policy: Policy) -> list[LimitResult]:
    """Cards of which the artifact knows no outcomes are left out, unless it knows those of none."""
    measured = forecast.measured
    if policy.unmeasured == "include" or measured is None or not measured.any() or measured.all():
        return []
    return [LimitResult(MEASURED, ~measured, np.zeros_like(measured))]


def _evaluated(requirements: Sequence[Requirement], inputs: DecisionInputs) -> list[LimitResult]:
    return [evaluate(each.limit, inputs, unknown_passes=each.unknown_passes) for each in requirements]


def _met(others: Sequence[LimitResult], wanted: Sequence[LimitResult]) -> tuple[list[LimitResult], tuple[str, ...]]:
    """Of the wanted limits, those that leave a candidate, and the texts of the others."""
    met: list[LimitResult] = []
    unmet: list[str] = []
    for result in wanted:
        if _fails([*others, *met, result]).any(axis=0).all():
            unmet.append(result.limit.text)
        else:
            met.append(result)
    return met, tuple(unmet)


def _relaxed(
    required: Sequence[LimitResult], requested: list[LimitResult], policy: Policy
) -> tuple[list[LimitResult], tuple[str, ...]]:
    """The requested limits that remain once relaxing has found a candidate, and the texts of the dropped ones.

    What the request itself requires is never relaxed: a card that fails it could not serve the request.
    """
    relaxed: list[str] = []
    for field in policy.relax if policy.on_empty == "relax" else ():
        if not _fails([*required, *requested]).any(axis=0).all():
            break
        relaxed += [result.limit.text for result in requested if result.limit.field == field]
        requested = [result for result in requested if result.limit.field != field]
    return requested, tuple(relaxed)


def _fails(results: Sequence[LimitResult]) -> Mask:
    """Of shape `(limits, cards)`. Never empty: every request requires some context."""
    return np.array([result.fails for result in results])


def _binding(results: Sequence[LimitResult], fails: Mask, chosen: int, pick: Pick) -> tuple[str, ...]:
    """The limits without which another card than `chosen` would have been chosen."""
    counts = fails.sum(axis=0)
    passing, one_fails = counts == 0, counts == 1
    texts = []
    for result, failing in zip(results, fails, strict=True):
        added = failing & one_fails
        # What makes a plan impossible is no limit that could be lifted.
        if result.limit is not POSSIBLE and added.any() and pick(np.flatnonzero(added | passing)) != chosen:
            texts.append(result.limit.text)
    return tuple(texts)


def _explain_empty(
    results: Sequence[LimitResult],
    fails: Mask,
    inputs: DecisionInputs,
    rejections: Rejections,
    advice: Sequence[str],
) -> str:
    """Which limits reject how many cards, which card comes nearest, the `advice`, and which words occur on no card."""
    if not len(inputs.catalog):
        return "the catalogue has no cards"
    hidden = next((result.fails for result in results if result.limit is HIDDEN), None)
    shown = np.arange(len(inputs.catalog)) if hidden is None else np.flatnonzero(~hidden[: len(inputs.catalog)])
    if not len(shown):
        return "the catalogue has no cards"
    results = [result for result in results if result.limit is not HIDDEN]
    counts = fails.sum(axis=0)
    distance = {
        card: sum(gap(result, card, inputs) for result in results if result.fails[card]) for card in shown.tolist()
    }
    nearest = min(distance, key=lambda card: (int(counts[card]), distance[card], card))
    rejection = rejections[inputs.catalog.ids[nearest]]
    by_effect = sorted(
        ((rejected, result.limit.text) for result in results if (rejected := int(result.fails[shown].sum()))),
        reverse=True,
    )
    effects = ", ".join(f"{text} (rejects {count} of {len(shown)})" for count, text in by_effect)
    reasons = "; ".join((rejection.reason, *rejection.also))
    lines = [f"no card meets every limit: {effects}", f"nearest is {inputs.catalog.ids[nearest]}: {reasons}", *advice]
    for result in results:
        limit = result.limit
        if (
            isinstance(limit.value, str)
            and limit.op == "="
            and limit.field != "plan"
            and limit.field in inputs.catalog.facets
        ):
            words = inputs.catalog.facets[limit.field].cards_of
            stated = words if hidden is None else {word for word, cards in words.items() if cards[shown].any()}
            if limit.value not in stated:
                known = f"; known: {', '.join(sorted(stated)[:12])}" if stated else ""
                hint = did_you_mean(limit.value, stated) or known
                lines.append(f"no card has {limit.field} {limit.value}{hint}")
    return "\n  ".join(lines)
