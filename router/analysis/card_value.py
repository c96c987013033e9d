"""What each card adds to the others: marginal values, complementary pairs, and the best few cards for a budget.

Two models each get prompts right that the other does not, whatever their ranks (arXiv:2310.17653). All figures use the
oracle, which takes the best card for every prompt: the most that a router could reach with these cards, not what one
does. A card of which no outcome is known on a prompt cannot be taken there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from router.errors import CallerError
from router.types import Doubles, Mask

_RESAMPLES = 400
_PERCENTILES = (2.5, 97.5)
_RANDOM_STATE = 0
_EQUAL = 1e-12
_NOT_RUN = -1e9
# Costs may come from single-precision numbers.
_TOLERANCE = 1e-6
_STEPS = 40
_LEAST_COMPLETE = 0.5


class CardValue(Struct, frozen=True):
    """One card. `quality` is its mean score where it was run, `value` how much the oracle loses without it, with the
    95 % interval of resampled prompts. `only_right` is the share of prompts on which it scores higher than every other
    card. `cost_usd` is its mean cost of a call, None where unknown. `twin` is a card with the same
    scores.
    """

    card: str
    quality: float
    value: float
    value_ci95: tuple[float, float]
    only_right: float
    cost_usd: float | None = None
    twin: str | None = None

    @property
    def adds_nothing(self) -> bool:
        """Whether the oracle loses nothing without this card."""
        return self.value <= _EQUAL


class Pair(Struct, frozen=True):
    """Two cards on the prompts that both were run on. `gain` is how much their oracle exceeds the better of the two;
    `quality` is that of their oracle; `first_better` and `second_better` are the shares of prompts on which one scores
    higher than the other.
    """

    first: str
    second: str
    gain: float
    quality: float
    first_better: float
    second_better: float


class Chosen(Struct, frozen=True):
    """The best set of this many cards: the quality of its oracle and the mean cost of the oracle's choices."""

    cards: tuple[str, ...]
    quality: float
    cost_usd: float | None = None


class ValueReport(Struct, frozen=True):
    """The values of all cards, best first; all pairs, greatest gain first; and the best sets of 1, 2, 3 … cards.

    `prompts` is how many prompts were used, `left_out` how many were not, since a card was not run on them: where at
    least half of the prompts are complete, only these are compared.
    """

    prompts: int
    left_out: int
    oracle: float
    best_single: str
    cards: tuple[CardValue, ...]
    pairs: tuple[Pair, ...]
    chosen: tuple[Chosen, ...]


def card_values(
    names: Sequence[str],
    scores: Doubles,
    cost_usd: Doubles | None = None,
    *,
    most_cards: int = 5,
    budget_usd: float | None = None,
) -> ValueReport:
    """The report of `scores` `(prompts, cards)`, NaN where a card was not run; `cost_usd` has the same shape.

    `most_cards` is the size of the greatest set. With `budget_usd`, the mean cost of a set's choices may not exceed it.
    Raises CallerError where there is nothing to compare, or no card is cheap enough.
    """
    known: Mask = np.isfinite(scores)
    columns: Mask = np.any(known, axis=0)
    if columns.sum() < 2:
        raise CallerError("the value of cards needs the outcomes of at least two")
    names = [name for name, kept in zip(names, columns, strict=True) if kept]
    complete: Mask = np.all(known[:, columns], axis=1)
    rows: Mask = complete if complete.mean() >= _LEAST_COMPLETE else np.any(known, axis=1)
    scores, known = scores[rows][:, columns], known[rows][:, columns]
    cost = None if cost_usd is None else _filled(cost_usd[rows][:, columns])
    if budget_usd is not None and (cost is None or not np.isfinite(cost).any()):
        raise CallerError("a budget needs costs: a set that records them, or --prices")
    utility = np.where(known, scores, _NOT_RUN)
    order = np.argsort(-_means(scores, known), kind="stable")
    return ValueReport(
        prompts=len(scores),
        left_out=int(len(rows) - rows.sum()),
        oracle=float(utility.max(axis=1).mean()),
        best_single=names[int(order[0])],
        cards=_values(names, scores, utility, cost),
        pairs=_pairs(names, scores, known),
        chosen=_sets(names, utility, cost, min(most_cards, len(names)), budget_usd),
    )


def _values(names: Sequence[str], scores: Doubles, utility: Doubles, cost: Doubles | None) -> tuple[CardValue, ...]:
    prompts = len(scores)
    ordered = np.sort(utility, axis=1)
    best, second = ordered[:, -1], ordered[:, -2]
    # Where only one card was run, the prompt would be left without an answer.
    lost = best - np.maximum(second, 0.0)
    losses = np.where(utility == best[:, None], lost[:, None], 0.0)
    generator = np.random.default_rng(_RANDOM_STATE)
    weights = generator.multinomial(prompts, np.full(prompts, 1 / prompts), size=_RESAMPLES) / prompts
    intervals = np.percentile(weights @ losses, _PERCENTILES, axis=0)
    quality = _means(scores, np.isfinite(scores))
    cards = [
        CardValue(
            card=name,
            quality=float(quality[column]),
            value=float(losses[:, column].mean()),
            value_ci95=(float(intervals[0, column]), float(intervals[1, column])),
            only_right=float((losses[:, column] > _EQUAL).mean()),
            cost_usd=_mean_cost(cost, column),
            twin=_twin(names, scores, column),
        )
        for column, name in enumerate(names)
    ]
    return tuple(sorted(cards, key=lambda card: (-card.value, -card.quality, card.card)))


def _twin(names: Sequence[str], scores: Doubles, column: int) -> str | None:
    """The first other card with the same outcome on every prompt."""
    own = scores[:, [column]]
    same = ((scores == own) | (np.isnan(scores) & np.isnan(own))).all(axis=0)
    same[column] = False
    return names[int(same.argmax())] if same.any() else None


def _pairs(names: Sequence[str], scores: Doubles, known: Mask) -> tuple[Pair, ...]:
    pairs = []
    for first in range(len(names)):
        for second in range(first + 1, len(names)):
            both = known[:, first] & known[:, second]
            if not both.any():
                continue
            one, other = scores[both, first], scores[both, second]
            quality = float(np.maximum(one, other).mean())
            gain = quality - float(max(one.mean(), other.mean()))
            better = float((one > other).mean()), float((other > one).mean())
            pairs.append(Pair(names[first], names[second], gain, quality, *better))
    return tuple(sorted(pairs, key=lambda pair: (-pair.gain, pair.first, pair.second)))


def _sets(
    names: Sequence[str], utility: Doubles, cost: Doubles | None, most_cards: int, budget_usd: float | None
) -> tuple[Chosen, ...]:
    """The best sets of 1 to `most_cards` cards, without those that no longer raise the quality."""
    sets: list[Chosen] = []
    for size in range(1, most_cards + 1):
        chosen = _best_set(names, utility, cost, size, budget_usd)
        if sets and chosen.quality <= sets[-1].quality + _EQUAL:
            break
        sets.append(chosen)
    return tuple(sets)


def _best_set(
    names: Sequence[str], utility: Doubles, cost: Doubles | None, size: int, budget_usd: float | None
) -> Chosen:
    """The best set of `size` cards, within the budget where there is one.

    A price of money λ stands for the budget: the oracle takes `argmax score - λ · cost`. The smallest λ whose choices
    are within the budget is found by bisection.
    """
    if budget_usd is None or cost is None:
        # Between cards that score the same, the oracle takes the cheaper one.
        return _outcome(names, utility, cost, _greedy(_net(utility, cost, 0.0), size), 0.0)
    budget_usd *= 1 + _TOLERANCE
    priced = np.isfinite(cost).all(axis=0)
    free = _outcome(names, utility, cost, _greedy(_net(utility, cost, 0.0), size), 0.0)
    if free.cost_usd is not None and free.cost_usd <= budget_usd:
        return free
    cheapest = float(cost[:, priced].mean(axis=0).min())
    if cheapest > budget_usd:
        raise CallerError(f"no card costs at most {budget_usd:g}$ a call; the cheapest costs {cheapest:.3g}$")
    if size == 1:
        affordable = priced & (cost.mean(axis=0) <= budget_usd)
        return _outcome(names, utility, cost, _greedy(np.where(affordable, utility, 2 * _NOT_RUN), 1), 0.0)
    low, high, best = 0.0, 1e3 / max(float(np.nanmean(cost)), _EQUAL), None
    for _ in range(_STEPS):
        price = (low * high) ** 0.5 if low else high / 1e6
        found = _outcome(names, utility, cost, _greedy(_net(utility, cost, price), size), price)
        if found.cost_usd is not None and found.cost_usd <= budget_usd:
            high = price
            best = found if best is None or found.quality > best.quality else best
        else:
            low = price
    if best is None:
        column = int(np.where(priced, cost.mean(axis=0), np.inf).argmin())
        return _outcome(names, utility, cost, [column], 0.0)
    return best


def _net(utility: Doubles, cost: Doubles | None, price: float) -> Doubles:
    """What the oracle maximises. An unknown cost counts as too high where money counts."""
    if cost is None:
        return utility
    net: Doubles = utility - max(price, _EQUAL) * np.where(np.isfinite(cost), cost, 1e6 if price else 0.0)
    return net


def _greedy(net: Doubles, size: int) -> list[int]:
    """Columns whose best per row has a high mean: greedily, then by exchanges. The value is submodular, so greedy sets
    reach at least 1 - 1/e of the best one (Nemhauser et al., 1978).
    """
    chosen: list[int] = []
    covered = np.full(len(net), -np.inf)
    while len(chosen) < size:
        values = np.maximum(net, covered[:, None]).mean(axis=0)
        values[chosen] = -np.inf
        chosen.append(int(values.argmax()))
        covered = np.maximum(covered, net[:, chosen[-1]])
    value, improved = float(covered.mean()), True
    while improved and size < net.shape[1]:
        improved = False
        for place in range(size):
            others = [column for number, column in enumerate(chosen) if number != place]
            rest = net[:, others].max(axis=1) if others else np.full(len(net), -np.inf)
            values = np.maximum(net, rest[:, None]).mean(axis=0)
            values[others] = -np.inf
            column = int(values.argmax())
            if values[column] > value + _EQUAL:
                chosen[place], value, improved = column, float(values[column]), True
    return chosen


def _outcome(names: Sequence[str], utility: Doubles, cost: Doubles | None, columns: list[int], price: float) -> Chosen:
    net = _net(utility, cost, price)[:, columns]
    taken = np.array(columns)[net.argmax(axis=1)]
    rows = np.arange(len(utility))
    quality = float(np.maximum(utility[rows, taken], 0.0).mean())
    cards = tuple(names[column] for column in columns)
    if cost is None:
        return Chosen(cards, quality)
    spent = cost[rows, taken]
    return Chosen(cards, quality, float(spent.mean()) if np.isfinite(spent).all() else None)


def _filled(cost: Doubles) -> Doubles:
    """The costs, where unknown the card's mean; NaN for a card without any."""
    means = np.array([column[np.isfinite(column)].mean() if np.isfinite(column).any() else np.nan for column in cost.T])
    return np.where(np.isfinite(cost), cost, means[None, :])


def _mean_cost(cost: Doubles | None, column: int) -> float | None:
    if cost is None or not np.isfinite(cost[:, column]).all():
        return None
    return float(cost[:, column].mean())


def _means(scores: Doubles, known: Mask) -> Doubles:
    means: Doubles = np.where(known, scores, 0.0).sum(axis=0) / known.sum(axis=0)
    return means
