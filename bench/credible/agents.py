"""Money: a coding agent whose runs were paid in real dollars, at the quality of the best single model.

For each task the shipped predictor forecasts the cards of the models, made from published facts; the card with the
least `mistake_usd · (1 - quality) + cost` runs it. `mistake_usd` is chosen on one half of the tasks: the cheapest that
is as good there as the model that is best there. The other half tells the quality and the cost. The cost of a card is
its forecast cost by list prices, or what its runs cost on the first half.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from bench.credible.known_facts import KnownFacts
from bench.credible.placement import OWN_FACTS, forecasts_of
from bench.credible.statistics import Interval
from router.learn.data import load_set
from router.perceive.linear import tokens_of
from router.perceive.predictor import Predictor
from router.types import Doubles, Indices

SET = "openhands_swe"
MISTAKES_USD = np.logspace(-4, 3, 57)
_SPLITS = 200
_NOT_WORSE = 0.01
"""How much worse the answers may be and still count as equally good."""


class Way(Struct, frozen=True):
    """One way to choose, on the halves that did not choose it: its quality less that of the best single model, its cost
    as a fraction, how many cards answer at least one task in a hundred, and which card answers most.
    """

    name: str
    quality_gain: Interval
    cost_fraction: Interval
    cards: float
    most: str


class Money(Struct, frozen=True):
    """The results over these models. `best` is the best single model over all tasks with its quality and cost."""

    models: int
    best: str
    best_quality: float
    best_cost_usd: float
    ways: tuple[Way, ...]


class Trial(Struct, frozen=True, eq=False):
    """`scores`, `cost_usd` (of the run) and `quality` (forecast) are `(tasks, models)`; `price_usd` `(models,)` is the
    forecast cost by list prices.
    """

    models: tuple[str, ...]
    scores: Doubles
    cost_usd: Doubles
    quality: Doubles
    price_usd: Doubles


def measure(data: Path, predictor: Predictor, facts: KnownFacts) -> tuple[Money, ...]:
    """Over all models, and without the best one."""
    trial = load(data / SET, predictor, facts)
    best = int(trial.scores.mean(axis=0).argmax())
    return money(trial), money(_columns(trial, [m for m in range(len(trial.models)) if m != best]))


def verdict(found: Money) -> str:
    """Whether routing pays, in plain words."""
    routed = [way for way in found.ways if way.name.startswith("routed")]
    constant = next(way for way in found.ways if way.name.startswith("constant"))
    good = [way for way in routed if way.quality_gain.high >= 0 and way.quality_gain.value > -_NOT_WORSE]
    if not good:
        return f"Routing does not pay: its answers are worse than those of {found.best} alone."
    cheapest = min(good, key=lambda way: way.cost_fraction.value)
    cost = f"{cheapest.cost_fraction.value:.0%} of the cost"
    if cheapest.cost_fraction.high < min(constant.cost_fraction.value, 1.0):
        return f"Routing pays: {cost} of {found.best} at its quality ({cheapest.name})."
    return f"Routing does not pay significantly: {cost} of {found.best} at its quality, within the interval of 100 %."


def load(folder: Path, predictor: Predictor, facts: KnownFacts) -> Trial:
    """The tasks of all models; an outcome or a cost that is missing counts as the model's usual one."""
    outcomes = load_set(folder)
    assert outcomes.cost_usd is not None
    cards = [facts.card(model, OWN_FACTS[SET]) for model in outcomes.models]
    vectors = predictor.vectors([prompt.turns for prompt in outcomes.prompts])
    tokens = tokens_of(predictor.profile(vectors).log_tokens + predictor.head.length_offset[-1]).mean()
    prices = [card.price.output_usd if card.price else np.nan for card in cards]
    price_usd = np.where(np.array(prices) > 0, prices, np.nanmedian(prices)) * float(tokens) / 1e6
    return Trial(
        models=outcomes.models,
        scores=_filled(outcomes.scores.astype(np.float64)),
        cost_usd=_filled(outcomes.cost_usd.astype(np.float64)),
        quality=forecasts_of(cards, predictor, vectors),
        price_usd=price_usd,
    )


def money(trial: Trial) -> Money:
    """Every way to choose, over many halves."""
    rng = np.random.default_rng(0)
    tasks = len(trial.scores)
    found: dict[str, list[tuple[float, float, Indices]]] = {}
    for _ in range(_SPLITS):
        order = rng.permutation(tasks)
        tuning, rest = order[: tasks // 2], order[tasks // 2 :]
        # A sample with replacement of the half, so that the interval has its sampling error too.
        tested = rng.choice(rest, len(rest))
        best = int(trial.scores[tuning].mean(axis=0).argmax())
        quality, cost = trial.scores[tested, best].mean(), trial.cost_usd[tested, best].mean()
        for name, chosen in _choices(trial, tuning, tested, best).items():
            gain = float(trial.scores[tested, chosen].mean() - quality)
            found.setdefault(name, []).append((gain, float(trial.cost_usd[tested, chosen].mean() / cost), chosen))
    best = int(trial.scores.mean(axis=0).argmax())
    return Money(
        models=len(trial.models),
        best=trial.models[best],
        best_quality=float(trial.scores[:, best].mean()),
        best_cost_usd=float(trial.cost_usd[:, best].mean()),
        ways=tuple(_way(name, rows, trial.models) for name, rows in found.items()),
    )


def _choices(trial: Trial, tuning: Indices, tested: Indices, best: int) -> dict[str, Indices]:
    """The card of each tested task, by name of the way."""
    scores, costs = trial.scores[tuning], trial.cost_usd[tuning].mean(axis=0)
    ways: dict[str, Indices] = {}
    for name, cost in (("routed, list prices", trial.price_usd), ("routed, usual cost of a run", costs)):
        routed = [_routed(trial.quality, cost, mistake) for mistake in MISTAKES_USD]
        reached = [scores[range(len(tuning)), chosen[tuning]].mean() for chosen in routed]
        spent = [trial.cost_usd[tuning, chosen[tuning]].mean() for chosen in routed]
        enough = [n for n, quality in enumerate(reached) if quality >= scores[:, best].mean()]
        pick = min(enough, key=lambda n: spent[n]) if enough else int(np.argmax(reached))
        ways[name] = routed[pick][tested]
    for slack in (0.0, 0.02, 0.05):
        good = np.flatnonzero(scores.mean(axis=0) >= scores[:, best].mean() - slack)
        name = "constant: cheapest as good" if not slack else f"constant: cheapest within {slack:g}"
        ways[name] = np.full(len(tested), good[costs[good].argmin()])
    return ways


def _routed(quality: Doubles, cost_usd: Doubles, mistake_usd: float) -> Indices:
    chosen: Indices = (mistake_usd * (1.0 - quality) + cost_usd).argmin(axis=1)
    return chosen


def _way(name: str, rows: Sequence[tuple[float, float, Indices]], models: Sequence[str]) -> Way:
    counts = np.array([np.bincount(chosen, minlength=len(models)) / len(chosen) for _, _, chosen in rows])
    return Way(
        name=name,
        quality_gain=_interval([row[0] for row in rows]),
        cost_fraction=_interval([row[1] for row in rows]),
        cards=float((counts >= 0.01).sum(axis=1).mean()),
        most=models[int(counts.sum(axis=0).argmax())],
    )


def _interval(values: Sequence[float]) -> Interval:
    low, middle, high = np.percentile(values, (2.5, 50, 97.5))
    return Interval(float(middle), float(low), float(high))


def _filled(table: Doubles) -> Doubles:
    filled: Doubles = np.where(np.isfinite(table), table, np.nanmean(table, axis=0))
    return filled


def _columns(trial: Trial, columns: Sequence[int]) -> Trial:
    columns = list(columns)
    return Trial(
        models=tuple(trial.models[column] for column in columns),
        scores=trial.scores[:, columns],
        cost_usd=trial.cost_usd[:, columns],
        quality=trial.quality[:, columns],
        price_usd=trial.price_usd[columns],
    )
