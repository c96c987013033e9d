"""Validation of the guard: the effect of its two thresholds on the quality of real answers.

Every forecast is of a prompt that the predictor was not trained on, and the comparisons are those of the engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from msgspec import Struct

from router.cards import Card, Catalog
from router.decide.goals import loss_of
from router.decide.guard import Comparison, GuardEvaluation, GuardRule, uncertainty_of
from router.errors import CallerError
from router.learn.data import RoutingSet
from router.learn.evaluation.metrics import best_single
from router.learn.evaluation.splits import Split
from router.learn.progress import tracked
from router.learn.training.train import fit
from router.perceive.predictor import Predictor
from router.perceive.text.encoder import Encoder
from router.types import Doubles, Features, Floats, Indices, Mask

_RESAMPLES = 1_000


class Trial(Struct, frozen=True, eq=False):
    """The comparisons of best and default card on the prompts of a set; arrays are float64 `(prompts,)`.

    `best_score` and `default_score` are the measured scores of the two cards, `single_score` that of the model that is
    best on the whole set, NaN where it was not run. `advantage` is the forecast advantage of best over default;
    `confidence` and `novelty` are compared with the guard's thresholds.
    """

    data_set: str
    protocol: str
    best_score: Doubles
    default_score: Doubles
    single_score: Doubles
    advantage: Doubles
    confidence: Doubles
    novelty: Doubles


class Interval(Struct, frozen=True):
    """A mean difference over the prompts with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class RuleResult(Struct, frozen=True):
    """The effect of one rule in a trial.

    `quality` is the mean measured score of the cards that answer, `released` the share of prompts for which that is not
    the default card. `over_default` is the difference to always choosing the default card, `promised` the forecast of
    this difference; `over_single` is the difference to the model that is best on the whole set, which is known only in
    hindsight.
    """

    rule: GuardRule
    quality: float
    released: float
    over_default: Interval
    promised: float
    over_single: Interval


def try_out(data: RoutingSet, vectors: Floats, encoder: Encoder, splits: Sequence[Split], protocol: str) -> Trial:
    """Compare best and default card on the test prompts of `splits`, with quality as the only goal.

    `vectors` are `(prompts, width)`. Only models that were run on a prompt take part there; prompts without outcomes
    are left out.
    """
    run = np.isfinite(data.scores)
    rows: list[tuple[float, ...]] = []
    single = best_single(np.asarray(data.scores, dtype=np.float64))
    for split in tracked(splits, f"{data.name}, {protocol}", min_items=2, noun="fold"):
        predictor = fit(vectors[split.train], data.rows(split.train), encoder)
        for row, comparison, novelty in _comparisons(predictor, data.models, vectors, split.test, run):
            scores = data.scores[row]
            measured = scores[comparison.best], scores[comparison.default], scores[single]
            rows.append((*measured, comparison.advantage, comparison.confidence, novelty))
    if not rows:
        raise CallerError(f"{data.name} has no outcomes to try the guard on")
    return Trial(data.name, protocol, *np.array(rows, dtype=np.float64).T)


def apply_rules(trial: Trial, rules: Sequence[GuardRule], seed: int = 0) -> tuple[RuleResult, ...]:
    """One result for each rule, all on the same resamples of the prompts."""
    released = np.column_stack([rule.releases(trial.confidence, trial.novelty) for rule in rules])
    quality = np.where(released, trial.best_score[:, None], trial.default_score[:, None])
    known = np.isfinite(trial.single_score)
    over_single = _intervals((quality - trial.single_score[:, None])[known], seed)
    over_default = _intervals(quality - trial.default_score[:, None], seed)
    # Where best and default are the same card, the default card answers.
    changed = released & (trial.advantage > 0)[:, None]
    return tuple(
        RuleResult(
            rule=rule,
            quality=float(quality[:, n].mean()),
            released=float(changed[:, n].mean()),
            over_default=over_default[n],
            promised=float((changed[:, n] * trial.advantage).mean()),
            over_single=over_single[n],
        )
        for n, rule in enumerate(rules)
    )


def first_safe_rule(results: Iterable[Sequence[RuleResult]]) -> GuardRule | None:
    """The first rule under which no trial's quality is significantly below that of its default card.

    `results` has a row for each trial, all with the same rules, from the least to the most cautious. None where every
    rule loses in some trial. The default card is the best single model of the training prompts: its quality on other
    prompts does not depend on the guard.
    """
    for of_rule in zip(*results, strict=True):
        if all(result.over_default.high >= 0 for result in of_rule):
            rule: GuardRule = of_rule[0].rule
            return rule
    return None


def _comparisons(
    predictor: Predictor, models: Sequence[str], vectors: Floats, test: Indices, run: Mask
) -> Iterator[tuple[int, Comparison, float]]:
    """The row, the comparison of the models that were run on it, and its novelty, for every test row."""
    # Ids in the order of the columns; the name that the predictor knows is an alias.
    cards = [
        Card(id=f"{column:06}", provider="openai", model=name, aliases=(name,)) for column, name in enumerate(models)
    ]
    forecast_of = predictor.bind(Catalog(cards))
    for row in test:
        rejected = ~run[row].astype(np.bool_)
        if rejected.all():
            continue
        forecast = forecast_of(Features(vectors[row], 1, frozenset({"text"}), frozenset()))
        uncertainty = uncertainty_of(forecast.independent_std)
        guard = GuardEvaluation(
            rule=GuardRule(),
            score=loss_of(forecast.quality),
            uncertainty=uncertainty,
            safe_score=loss_of(forecast.mean_quality) + uncertainty,
            novelty=forecast.novelty,
        )
        yield int(row), guard.compare(rejected), forecast.novelty


def _intervals(differences: Doubles, seed: int) -> list[Interval]:
    """For each column of `differences` `(prompts, columns)`, its mean and the bootstrap interval of the mean."""
    rng, prompts = np.random.default_rng(seed), len(differences)
    means = np.empty((_RESAMPLES, differences.shape[1]))
    for resample in range(_RESAMPLES):
        weights = np.bincount(rng.integers(prompts, size=prompts), minlength=prompts)
        means[resample] = weights @ differences / prompts
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    return [Interval(*map(float, ends)) for ends in zip(differences.mean(axis=0), low, high, strict=True)]
