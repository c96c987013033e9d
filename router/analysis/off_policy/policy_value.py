"""What a policy would be worth on logged requests, beside today's, by judged answers and logged propensities."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from msgspec import Struct

from router.analysis.off_policy.estimators import (
    Estimate,
    Estimates,
    Log,
    corrected_forecasts,
    difference,
    estimate,
    known_shares,
)
from router.decide.exploration.rule import USED_UP
from router.store.records.feedback import OPERATOR, Feedback
from router.store.records.record import Record
from router.types import Doubles, Mask

ENOUGH = 20
"""So many judged answers of explored requests, at least, before a difference counts as shown."""
_UNEQUAL = 2.0
_MOST_CARDS = 5


class Logged(Struct, frozen=True):
    """A recorded request: what answered (`action`), with which probabilities what could have, the judgement of its
    answer and its cost, None where unknown, and the quality that was forecast. `is_lost`: another card was drawn, and
    could not be paid. `explores`: its policy explored at the time; `prevented` is why not this request.
    """

    action: str
    choice: str
    propensities: Mapping[str, float]
    value: float | None
    cost_usd: float | None
    forecast: float
    is_lost: bool = False
    explores: bool = False
    prevented: str = ""


class Target(Struct, frozen=True):
    """What a policy decides for a request, and what is forecast of that."""

    action: str
    quality: float
    cost_usd: float | None


class Worth(Struct, frozen=True):
    """What a policy is worth on the requests that tell about it: its quality, and the cost of a request in dollars;
    None where no cost is known.
    """

    quality: Estimates
    cost_usd: Estimates | None


class Unseen(Struct, frozen=True):
    """Requests that NEW would send where nothing like them was ever tried: how many, their share, to which cards, and
    what the forecasts say that NEW gains there, on average.
    """

    requests: int
    share: float
    cards: tuple[tuple[str, int], ...]
    reasons: tuple[tuple[str, int], ...]
    forecast_gain: float | None


class PolicyValue(Struct, frozen=True):
    """NEW beside today's policies.

    `requests` are those that both decide; `judged` of them have a value, `changed` would go elsewhere. `supported` are
    those whose propensities support both (all but `unseen`), on which `new` and `today` are compared; these are None
    where there are none, or no answer was judged. `gain` and `gain_usd` are how much more NEW is worth, per request.
    `explored` requests were answered by a drawn card. `left_out` counts others by reason. `judged_shares` is how often
    the answers of each card were judged. `verdict` is one of `better`, `worse`, `same`, `unclear` and `unknown`;
    `sentences` explain it.
    """

    requests: int
    judged: int
    explored: int
    changed: int
    supported: int
    new: Worth | None
    today: Worth | None
    gain: Estimate | None
    gain_usd: Estimate | None
    unseen: Unseen
    left_out: tuple[tuple[str, int], ...]
    judged_shares: tuple[tuple[str, float], ...]
    verdict: str
    sentences: tuple[str, ...]


def logged_of(record: Record, value: float | None) -> Logged | None:
    """What a record logs; None where the client named what answers."""
    decision = record.decision
    if decision is None or decision.named_plan is not None:
        return None
    action = decision.card if decision.plan is None else decision.plan.id
    exploration = decision.exploration
    served = record.outcome.status < 400 and record.outcome.card is not None
    cost_usd = record.outcome.cost_usd if served else None
    if exploration is None:
        return Logged(action, action, {action: 1.0}, value, cost_usd, decision.quality)
    return Logged(
        action,
        exploration.choice,
        exploration.propensities,
        value,
        cost_usd,
        decision.quality,
        is_lost=exploration.refused,
        explores=True,
        prevented=exploration.prevented,
    )


def values_of(feedback: Iterable[Feedback]) -> dict[str, float]:
    """The value of each judged answer by its record's id: the operator's, else the mean of all sources."""
    given: dict[str, list[Feedback]] = {}
    for each in feedback:
        given.setdefault(each.record, []).append(each)
    values = {}
    for record, judgements in given.items():
        own = [each for each in judgements if each.source == OPERATOR]
        values[record] = sum(each.value for each in own or judgements) / len(own or judgements)
    return values


def evaluate(
    logged: Sequence[Logged], new: Sequence[Target], today: Sequence[Target], left_out: Mapping[str, int]
) -> PolicyValue:
    """Compare what the two policies decide for the same requests; `left_out` counts further ones by reason."""
    left = Counter(dict(left_out))
    open_ = [row for row, each in enumerate(logged) if each.prevented not in USED_UP]
    if len(open_) < len(logged):
        left["exploration was used up, or could not be counted"] += len(logged) - len(open_)
    logged, new, today = ([rows[row] for row in open_] for rows in (logged, new, today))  # type: ignore[assignment]
    changed = _mask(one.action != two.action for one, two in zip(new, today, strict=True))
    supported = _mask(
        each.propensities.get(one.action, 0.0) > 0 and each.propensities.get(two.action, 0.0) > 0
        for each, one, two in zip(logged, new, today, strict=True)
    )
    values = _numbers(each.value for each in logged)
    unseen = _unseen(logged, new, today, supported)
    worth_new = worth_today = gain = gain_usd = None
    if supported.any() and np.isfinite(values).any():
        logs = [_quality_log(logged, targets, values).rows(supported) for targets in (new, today)]
        costs = [_cost_log(logged, targets, supported) for targets in (new, today)]
        of_costs = [None if log is None else estimate(log) for log, _ in costs]
        worth_new, worth_today = (Worth(estimate(log), cost) for log, cost in zip(logs, of_costs, strict=True))
        gain = difference(logs[0], logs[1], changed[supported])
        both = costs[0][1] & costs[1][1]
        if both.any():
            one, two = (_of_rows(log, known, both) for log, known in costs)
            gain_usd = difference(one, two, changed[both])
    verdict, sentences = _verdict(logged, values, changed, supported, worth_new, gain, unseen)
    return PolicyValue(
        requests=len(logged),
        judged=int(np.isfinite(values).sum()),
        explored=sum(each.action != each.choice for each in logged),
        changed=int(changed.sum()),
        supported=int(supported.sum()),
        new=worth_new,
        today=worth_today,
        gain=gain,
        gain_usd=gain_usd,
        unseen=unseen,
        left_out=tuple(left.most_common()),
        judged_shares=_judged_shares(logged, values),
        verdict=verdict,
        sentences=sentences,
    )


def _quality_log(logged: Sequence[Logged], targets: Sequence[Target], values: Doubles) -> Log:
    actions, takes = [each.action for each in logged], [each.action for each in targets]
    residual = values - _numbers(each.forecast for each in logged)
    forecast = corrected_forecasts(_numbers(each.quality for each in targets), takes, actions, residual)
    return Log(*_agreement(logged, targets), values, known_shares(actions, values), forecast)


def _cost_log(logged: Sequence[Logged], targets: Sequence[Target], supported: Mask) -> tuple[Log | None, Mask]:
    """What the requests say about the cost of a policy, and which of them (`(requests,)`) have a forecast of it."""
    costs, forecast = _numbers(each.cost_usd for each in logged), _numbers(each.cost_usd for each in targets)
    rows = supported & np.isfinite(forecast)
    if not (rows & np.isfinite(costs)).any():
        return None, np.zeros_like(rows)
    actions, takes = [each.action for each in logged], [each.action for each in targets]
    most = float(np.nanmax(np.concatenate([costs, forecast[rows]])))
    residual = costs - np.where(_mask(one == two for one, two in zip(actions, takes, strict=True)), forecast, np.nan)
    corrected = corrected_forecasts(np.nan_to_num(forecast), takes, actions, residual, most)
    log = Log(
        *_agreement(logged, targets),
        costs,
        known_shares(actions, costs),
        corrected,
        spread=float(np.nanstd(costs)),
        most=most,
    )
    return log.rows(rows), rows


def _of_rows(log: Log | None, known: Mask, rows: Mask) -> Log:
    assert log is not None
    return log.rows(rows[known])


def _agreement(logged: Sequence[Logged], targets: Sequence[Target]) -> tuple[Mask, Mask, Doubles]:
    pairs = list(zip(logged, targets, strict=True))
    return (
        _mask(each.action == target.action and not each.is_lost for each, target in pairs),
        _mask(each.choice == target.action for each, target in pairs),
        _numbers(each.propensities.get(target.action, 0.0) for each, target in pairs),
    )


def _unseen(logged: Sequence[Logged], new: Sequence[Target], today: Sequence[Target], supported: Mask) -> Unseen:
    rows = np.flatnonzero(~supported).tolist()
    cards = Counter(new[row].action for row in rows if not logged[row].propensities.get(new[row].action))
    reasons = Counter(
        "the policy did not explore"
        if not logged[row].explores
        else logged[row].prevented or "the forecast excluded that it is better"
        for row in rows
    )
    gains = [new[row].quality - today[row].quality for row in rows]
    return Unseen(
        len(rows),
        len(rows) / max(len(logged), 1),
        tuple(cards.most_common(_MOST_CARDS)),
        tuple(reasons.most_common()),
        sum(gains) / len(gains) if gains else None,
    )


def _judged_shares(logged: Sequence[Logged], values: Doubles) -> tuple[tuple[str, float], ...]:
    counts = Counter(each.action for each in logged)
    judged = Counter(each.action for each, value in zip(logged, values, strict=True) if np.isfinite(value))
    return tuple((action, judged[action] / count) for action, count in counts.most_common(_MOST_CARDS))


def _verdict(
    logged: Sequence[Logged],
    values: Doubles,
    changed: Mask,
    supported: Mask,
    new: Worth | None,
    gain: Estimate | None,
    unseen: Unseen,
) -> tuple[str, tuple[str, ...]]:
    sentences = []
    explored = any(each.action != each.choice for each in logged)
    if unseen.requests:
        share = f"{unseen.share:.1%} of the requests would go where nothing like them was ever tried"
        names = ", ".join(f"{name} ({count})" for name, count in unseen.cards)
        sentences.append(f"{share}{f': {names}' if names else ''}; only forecasts speak for these")
    if not explored and changed.any():
        sentences.append(
            "nothing was explored, so these records cannot tell what other cards would have answered; set `explore` in "
            "the policy, and ask again after some time"
        )
    shares = [share for _, share in _judged_shares(logged, values) if share]
    if shares and max(shares) > _UNEQUAL * min(shares):
        sentences.append(
            "answers of some cards are judged more than twice as often as those of others; this is corrected by card, "
            "but not where the judged answers of a card are better or worse than its others"
        )
    if not np.isfinite(values).any():
        return "unknown", ("no answer of these requests was judged", *sentences)
    if not changed.any():
        return "same", ("NEW decides every one of these requests as today's policy does", *sentences)
    if gain is None or new is None or not (changed & supported).any():
        return "unknown", tuple(sentences)
    compared = new.quality.deviating
    if compared < ENOUGH:
        few = f"only {compared} judged answers are of cards that NEW takes and the policy did not"
        return "unclear", (f"{few}; wait for {ENOUGH}", *sentences)
    if math.copysign(1.0, gain.low) == math.copysign(1.0, gain.high) and gain.value:
        word = "better" if gain.value > 0 else "worse"
        return word, (f"NEW is {word}, by {abs(gain.value):.3f} [{gain.low:+.3f} {gain.high:+.3f}]", *sentences)
    return "unclear", (f"no difference is shown: between {gain.low:+.3f} and {gain.high:+.3f}", *sentences)


def _mask(values: Iterable[bool]) -> Mask:
    return np.fromiter(values, dtype=np.bool_)


def _numbers(values: Iterable[float | None]) -> Doubles:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
