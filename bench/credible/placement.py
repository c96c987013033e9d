"""Cards placed by facts alone: does their mean forecast order them as their real scores do?

For each model of a set that has recent models, a card is made from published facts (`bench.credible.known_facts`),
never from its scores on the set, and has no outcomes. Its mean forecast over the prompts is compared with its real
level: the mean score, corrected for which prompts the model was run on.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from bench.credible.known_facts import KnownFacts
from bench.credible.statistics import Interval, bootstrap, ranks, spearman
from router.cards.catalog import Catalog
from router.cards.schema import Card
from router.learn.data import load_set
from router.learn.training.outcome_table import additive_effects
from router.perceive.predictor import Predictor
from router.types import Doubles, Floats, Indices, Mask

SETS = (
    "sql_bench",
    "openhands_swe",
    "pm_llm",
    "svelte_bench",
    "bullshit_bench",
    "thematic_generalization",
    "shaberi_ja",
    "eq_longform",
    "eq_creative",
    "epam_js",
)
"""Sets with models of 2025 and 2026 whose columns are models."""

OWN_FACTS = {"openhands_swe": ("openhands_swt",)}
"""Benchmarks that are run on the prompts of a set: not facts where the set is the test."""

TARGET = 0.8
_PROMPTS, _LEAST_SHARE = 200, 0.25
_GROUPS = ((0, 0), (1, 4), (5, 12), (13, 999))
_WORST = 12
_HALVES = 20
_LEAST_SHARED = 8


class Placed(Struct, frozen=True):
    """A model of a set: how many benchmarks are known of it, its real level, its mean forecast, and the ranks of both
    in the set as shares, 1 for the best.
    """

    data_set: str
    model: str
    facts: int
    real: float
    forecast: float
    real_rank: float
    forecast_rank: float

    @property
    def miss(self) -> float:
        """By how much of the set's models the forecast's rank is wrong; above 0 where it is too high."""
        return self.forecast_rank - self.real_rank


class SetResult(Struct, frozen=True):
    """The rank correlation on one set, over all its models and over those with at least one known benchmark. `ceiling`
    is what a perfect forecast of the true levels would reach, since the prompts of a set are few.
    """

    data_set: str
    models: int
    with_benchmarks: int
    all_models: Interval
    known: Interval
    ceiling: float


class Placement(Struct, frozen=True):
    """The results by set; the mean of their correlations; the correlation of ranks over all sets by number of known
    benchmarks `least-most`; and the models that are furthest from their rank. `agreement` is how well one set's real
    levels order the models of another: the mean rank correlation of all `agreeing` pairs of sets with enough models in
    common. What is known of a model elsewhere can hardly place it better.
    """

    sets: tuple[SetResult, ...]
    mean: float
    mean_known: float
    by_facts: dict[str, tuple[int, float]]
    worst: tuple[Placed, ...]
    agreement: float
    agreeing: int


def measure(data: Path, predictor: Predictor, facts: KnownFacts, names: Sequence[str] = SETS) -> Placement:
    """Place every model of the sets."""
    results, placed = [], []
    for name in names:
        of_set = place(data / name, predictor, facts)
        placed += of_set
        real, forecast = (np.array([getattr(one, field) for one in of_set]) for field in ("real", "forecast"))
        known = np.flatnonzero([one.facts > 0 for one in of_set])
        results.append(
            SetResult(
                data_set=name,
                models=len(of_set),
                with_benchmarks=len(known),
                all_models=_correlation(real, forecast, np.arange(len(of_set))),
                known=_correlation(real, forecast, known),
                ceiling=ceiling(load_set(data / name).scores),
            )
        )
    by_facts = {}
    for least, most in _GROUPS:
        group = [one for one in placed if least <= one.facts <= most]
        pairs = np.array([[one.real_rank, one.forecast_rank] for one in group]).reshape(-1, 2)
        by_facts[f"{least}-{most}"] = len(group), round(spearman(pairs[:, 0], pairs[:, 1]), 3)
    between = agreements(placed, facts)
    return Placement(
        sets=tuple(results),
        mean=float(np.mean([result.all_models.value for result in results])),
        mean_known=float(np.mean([result.known.value for result in results])),
        by_facts=by_facts,
        worst=tuple(sorted((one for one in placed if one.facts), key=lambda one: -abs(one.miss))[:_WORST]),
        agreement=float(np.mean(between)) if between else 0.0,
        agreeing=len(between),
    )


def agreements(placed: Sequence[Placed], facts: KnownFacts) -> list[float]:
    """The rank correlations of the real levels of the models that two sets share, for each pair of sets."""
    levels: dict[str, dict[tuple[str, str], list[float]]] = {}
    for one in placed:
        levels.setdefault(one.data_set, {}).setdefault(facts.key(one.model), []).append(one.real)
    found = []
    for one_set, other_set in itertools.combinations(levels.values(), 2):
        shared = sorted(one_set.keys() & other_set.keys())
        if len(shared) >= _LEAST_SHARED:
            found.append(spearman(*(np.array([np.mean(of[key]) for key in shared]) for of in (one_set, other_set))))
    return found


def place(folder: Path, predictor: Predictor, facts: KnownFacts) -> list[Placed]:
    """The models of one set with enough outcomes."""
    data = load_set(folder)
    known: Mask = np.isfinite(data.scores).mean(axis=0) >= _LEAST_SHARE
    kept = data.columns([model for model, enough in zip(data.models, known, strict=True) if enough])
    real, _ = additive_effects(kept.scores)
    cards = [facts.card(model, OWN_FACTS.get(folder.name, ())) for model in kept.models]
    rows = np.linspace(0, len(kept.prompts) - 1, min(_PROMPTS, len(kept.prompts))).astype(int)
    vectors = predictor.vectors([kept.prompts[row].turns for row in rows])
    forecast = forecasts_of(cards, predictor, vectors).mean(axis=0)
    shares = [(ranks(values) - 0.5) / len(values) for values in (real, forecast)]
    return [
        Placed(
            data_set=folder.name,
            model=model,
            facts=len(cards[row].benchmarks),
            real=round(float(real[row]), 4),
            forecast=round(float(forecast[row]), 4),
            real_rank=round(float(shares[0][row]), 3),
            forecast_rank=round(float(shares[1][row]), 3),
        )
        for row, model in enumerate(kept.models)
    ]


def ceiling(scores: Floats) -> float:
    """The square root of the reliability of the models' levels: of the correlation of halves of the prompts, corrected
    for their length (Spearman and Brown).
    """
    rng = np.random.default_rng(0)
    halves = []
    for _ in range(_HALVES):
        order = rng.permutation(len(scores))
        parts = (scores[order[: len(order) // 2]], scores[order[len(order) // 2 :]])
        kept = np.flatnonzero(np.all([np.isfinite(part).mean(axis=0) >= _LEAST_SHARE / 2 for part in parts], axis=0))
        halves.append(spearman(*(additive_effects(part[:, kept])[0] for part in parts)))
    half = max(float(np.mean(halves)), 0.0)
    return float(np.sqrt(2 * half / (1 + half)))


def forecasts_of(cards: Sequence[Card], predictor: Predictor, vectors: Floats) -> Doubles:
    """The expected qualities `(prompts, cards)`, in the order of `cards`."""
    catalog = Catalog(cards)
    positions = [catalog.ids.index(card.id) for card in cards]
    qualities: Doubles = predictor.bind(catalog).qualities(vectors)[:, positions]
    return qualities


def _correlation(real: Doubles, forecast: Doubles, rows: Indices) -> Interval:
    if len(rows) < 3:
        return Interval(0.0, -1.0, 1.0)
    return bootstrap(len(rows), lambda sample: spearman(real[rows[sample]], forecast[rows[sample]]))
