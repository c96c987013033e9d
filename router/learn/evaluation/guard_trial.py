"""Validation of the guard: what its confidence and its limit of novelty do to the quality of real answers.

Every forecast is of a prompt that the predictor has not seen, and the contests are those of the engine itself.
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
from router.perceive.encoder import Encoder
from router.perceive.predictor import Predictor
from router.types import Doubles, Features, Floats, Indices, Mask

_RESAMPLES = 1_000


class Trial(Struct, frozen=True, eq=False):
    """The contests of a set's prompts; float64 of shape `(prompts,)`.

    `best_score` and `default_score` are what the two cards really scored, `single_score` what the model did that is
    best on the whole set, NaN where it was not run. `advantage` is the forecast one of best over default, `confidence`
    and `novelty` are what the guard compares.
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


class Line(Struct, frozen=True):
    """What one rule makes of a trial.

    `quality` is the mean real score of the cards that answer, `released` the share of prompts on which that is not the
    default card. `over_default` is the difference to always taking the default card, `promised` what the forecasts said
    that it would be; `over_single` is the difference to the model that is best on the whole set, which nobody could
    know beforehand.
    """

    rule: GuardRule
    quality: float
    released: float
    over_default: Interval
    promised: float
    over_single: Interval


def try_out(data: RoutingSet, vectors: Floats, encoder: Encoder, splits: Sequence[Split], protocol: str) -> Trial:
    """The contests of the prompts in `splits`, with no goal but quality; `vectors` `(prompts, width)`.

    Only models that were run on a prompt take part there; prompts on which none was are left out.
    """
    run = np.isfinite(data.scores)
    found: list[tuple[float, ...]] = []
    single = best_single(np.asarray(data.scores, dtype=np.float64))
    for split in tracked(splits, f"{data.name}, {protocol}", min_items=2):
        predictor = fit(vectors[split.train], data.rows(split.train), encoder)
        for row, contest, novelty in _contests(predictor, data.models, vectors, split.test, run):
            scores = data.scores[row]
            real = scores[contest.best], scores[contest.default], scores[single]
            found.append((*real, contest.advantage, contest.confidence, novelty))
    if not found:
        raise CallerError(f"{data.name} has no outcomes to try the guard on")
    return Trial(data.name, protocol, *np.array(found, dtype=np.float64).T)


def outcomes(trial: Trial, rules: Sequence[GuardRule], seed: int = 0) -> tuple[Line, ...]:
    """One line a rule, all on the same resamples of the prompts."""
    released = np.column_stack([rule.releases(trial.confidence, trial.novelty) for rule in rules])
    got = np.where(released, trial.best_score[:, None], trial.default_score[:, None])
    known = np.isfinite(trial.single_score)
    over_single = _intervals((got - trial.single_score[:, None])[known], seed)
    over_default = _intervals(got - trial.default_score[:, None], seed)
    # Where both are one card nothing is left.
    left = released & (trial.advantage > 0)[:, None]
    return tuple(
        Line(
            rule=rule,
            quality=float(got[:, n].mean()),
            released=float(left[:, n].mean()),
            over_default=over_default[n],
            promised=float((left[:, n] * trial.advantage).mean()),
            over_single=over_single[n],
        )
        for n, rule in enumerate(rules)
    )


def least_safe(lines: Iterable[Sequence[Line]]) -> GuardRule | None:
    """The first rule under which no trial's quality is significantly below that of its default card.

    `lines` has a row a trial, each with the same rules, from the most daring to the most careful. None where every rule
    loses somewhere. The default card is the best single model of the prompts that were learned from: how that does on
    other prompts is not the guard's doing.
    """
    for of_rule in zip(*lines, strict=True):
        if all(line.over_default.high >= 0 for line in of_rule):
            rule: GuardRule = of_rule[0].rule
            return rule
    return None


def _contests(
    predictor: Predictor, models: Sequence[str], vectors: Floats, test: Indices, run: Mask
) -> Iterator[tuple[int, Comparison, float]]:
    """Row, the contest of that row's models, novelty."""
    # Ids in the order of the columns, and the name that the predictor knows as an alias.
    cards = [
        Card(id=f"{column:06}", provider="openai", model=name, aliases=(name,)) for column, name in enumerate(models)
    ]
    forecast_of = predictor.bind(Catalog(cards))
    for row in test:
        candidates = np.flatnonzero(run[row])
        if not len(candidates):
            continue
        forecast = forecast_of(Features(vectors[row], 1, frozenset({"text"}), frozenset()))
        uncertainty = uncertainty_of(forecast.independent_std)
        guarding = GuardEvaluation(
            rule=GuardRule(),
            score=loss_of(forecast.quality),
            uncertainty=uncertainty,
            safe_score=loss_of(forecast.mean_quality) + uncertainty,
            novelty=forecast.novelty,
        )
        yield int(row), guarding.compare(candidates), forecast.novelty


def _intervals(differences: Doubles, seed: int) -> list[Interval]:
    """For each column of `(prompts, columns)`, its mean and the interval of the mean over resampled prompts."""
    rng, prompts = np.random.default_rng(seed), len(differences)
    means = np.empty((_RESAMPLES, differences.shape[1]))
    for resample in range(_RESAMPLES):
        weights = np.bincount(rng.integers(prompts, size=prompts), minlength=prompts)
        means[resample] = weights @ differences / prompts
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    return [Interval(*map(float, each)) for each in zip(differences.mean(axis=0), low, high, strict=True)]
