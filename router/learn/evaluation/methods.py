"""Every method of an evaluation, fitted on the same folds: ours, the baselines, the controls, the constants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from router.errors import MissingExtraError
from router.learn.data import RoutingSet
from router.learn.data.vectors import embeddings_of
from router.learn.engine import Arrays, Engine
from router.learn.evaluation.baselines import QUICK, SLOW
from router.learn.evaluation.bootstrap import MethodScores
from router.learn.evaluation.metrics import mean_scores
from router.learn.evaluation.splits import Split
from router.learn.training.train import fit as fit_predictor
from router.perceive.text.encoder import Encoder
from router.types import Doubles, Floats, Indices

OURS = "pulvinar"
SINGLE = "best single"
HINDSIGHT = "best single, in hindsight"
SHUFFLED = "control: shuffled labels"

Baselines = Literal["none", "quick", "all"]
FitAndForecast = Callable[[Split], Arrays]
"""Fits on the training part of a split and gives tables of the test part `(test prompts, models)`: the expected scores,
and of the served predictor those that choices compare, and the standard deviation.
"""

_SHUFFLED_ROWS = 2_000
_UNKNOWN_COST = 1e9


class Trial(NamedTuple):
    """A method that is fitted on every fold: the name in the report and in progress, and whether it is a baseline."""

    name: str
    label: str
    fit: FitAndForecast
    trained: bool = False


class Methods:
    """Fits every method on the same table and folds.

    `costs` float64 `(prompts, models)` in USD; `tested` are the rows of all test parts, sorted; `folds` `(prompts,)`
    is the fold of each prompt. `std` `(prompts, models)` is the standard deviation of our forecasts, NaN until
    `ours` has run.
    """

    def __init__(
        self,
        data: RoutingSet,
        encoder: Encoder,
        vectors: Floats,
        costs: Doubles | None,
        splits: Sequence[Split],
        random_state: int,
        engine: Engine,
    ) -> None:
        # A memory map would be copied to a worker element by element.
        self._data, self._encoder, self._vectors, self._costs = data, encoder, np.asarray(vectors), costs
        self._splits, self._random_state, self._engine = splits, random_state, engine
        self.scores = np.asarray(data.scores, dtype=np.float64)
        self.std: Doubles = np.full(self.scores.shape, np.nan)
        self.tested: Indices = np.sort(np.concatenate([split.test for split in splits]))
        self.folds: Indices = np.zeros(len(data.prompts), dtype=np.intp)
        for number, split in enumerate(splits):
            self.folds[split.test] = number

    def ours(self) -> Trial:
        """Forecasts of the served predictor itself, not of the estimator behind it."""
        vectors, data, encoder = self._vectors, self._data, self._encoder

        def fit(split: Split) -> Arrays:
            predictor = fit_predictor(vectors[split.train], data.rows(split.train), encoder)
            expected = predictor.expect_all(vectors[split.test])
            return expected.quality[:, :-1], expected.compared[:, :-1], expected.quality_std[:, :-1]

        return Trial(OURS, OURS, fit)

    def ablations(self) -> list[Trial]:
        """Ours without the embedding, and without the surface features."""
        width, data, encoder = self._encoder.dimensions, self._data, self._encoder
        blocks = {"without embedding": slice(0, width), "without surface features": slice(width, None)}
        trials = []
        for name, block in blocks.items():
            vectors = self._vectors.copy()
            vectors[:, block] = 0.0

            def fit(split: Split, vectors: Floats = vectors) -> Arrays:
                predictor = fit_predictor(vectors[split.train], data.rows(split.train), encoder)
                return (predictor.expect_all(vectors[split.test]).quality[:, :-1],)

            trials.append(Trial(f"{OURS} {name}", name, fit))
        return trials

    def baselines(
        self, wanted: str, baseline_encoder: Callable[[], Encoder] | None, cache: Path | None
    ) -> tuple[list[Trial], list[str]]:
        """The trained baselines and the shuffled-label control, and what was skipped, with the reason."""
        methods: list[Trial] = []
        skipped: list[str] = []
        static = self._vectors[:, : self._encoder.dimensions]
        for level, family in (("quick", QUICK), ("all", SLOW)):
            for name, make in family.items():
                if wanted == "none" or (level == "all" and wanted != "all"):
                    skipped.append(f"{name} (--baselines {level})")
                    continue
                methods.append(self._trained(f"{name}, {self._encoder.name}", static, make))
        if baseline_encoder is None:
            skipped.append("kNN and ridge on sentence embeddings (--baselines all)")
        else:
            try:
                other = baseline_encoder()
            except MissingExtraError as error:
                skipped.append(str(error))
            else:
                embeddings = embeddings_of(self._data.prompts, other, cache)
                methods += [
                    self._trained(f"{name}, {other.name}", embeddings, QUICK[name]) for name in ("kNN", "ridge")
                ]
        if wanted == "all":
            methods.append(Trial(SHUFFLED, "shuffled labels", self._shuffled()))
        else:
            skipped.append(f"{SHUFFLED} (--baselines all)")
        return methods, skipped

    def constants(self, pair: tuple[int, int] | None) -> list[MethodScores]:
        """Methods that are not trained on prompts: prompt length alone, random, cheapest, best single, best per domain
        (which knows the domain), oracle.
        """
        scores, domains = self.scores, np.array(self._data.domains)
        lengths = np.array([len(prompt.turns[-1]) for prompt in self._data.prompts], dtype=np.float64)
        tables = {name: np.zeros(scores.shape) for name in ("length", "cheapest", SINGLE, "domain")}
        for split in self._splits:
            train, test = split.train, split.test
            means = np.nan_to_num(mean_scores(scores[train]))
            tables[SINGLE][test] = means
            costs = None if self._costs is None else _mean_costs(self._costs, train)
            tables["cheapest"][test] = 0.0 if costs is None else -np.nan_to_num(costs, nan=_UNKNOWN_COST)
            strong, weak = pair or _strong_and_weak(means, costs)
            tables["length"][test] = longer_to_stronger(lengths, train, test, strong, weak, len(means))
            for domain in set(domains[test]):
                same = train[domains[train] == domain]
                mean = np.nan_to_num(mean_scores(scores[same])) if len(same) else means
                tables["domain"][test[domains[test] == domain]] = mean
        tested = self.tested
        overall = np.nan_to_num(mean_scores(scores[tested]), nan=-1.0)
        rng = np.random.default_rng(self._random_state)
        methods = [
            MethodScores("control: prompt length", tables["length"][tested], forecasts=False),
            MethodScores("random", rng.random(scores.shape)[tested], forecasts=False, priced=False),
        ]
        if self._costs is not None:
            methods.append(MethodScores("cheapest", tables["cheapest"][tested], forecasts=False))
        return [
            *methods,
            MethodScores(SINGLE, tables[SINGLE][tested], forecasts=False),
            MethodScores(HINDSIGHT, np.tile(overall, (len(tested), 1)), forecasts=False),
            MethodScores("best per domain", tables["domain"][tested], forecasts=False),
            MethodScores("oracle", np.nan_to_num(scores, nan=-1.0)[tested], forecasts=False),
        ]

    def fitted(self, trials: Sequence[Trial]) -> list[MethodScores]:
        """The trials on the tested rows, in their order; the folds of all of them are known to the engine at once."""
        folds = [
            self._engine.map(trial.fit, self._splits, f"{self._data.name}, {trial.label}", min_items=2, noun="fold")
            for trial in trials
        ]
        return [self._assembled(trial, results) for trial, results in zip(trials, folds, strict=True)]

    def _assembled(self, trial: Trial, results: Iterator[Arrays]) -> MethodScores:
        """The next results, one a fold, as a table."""
        tables: list[Doubles] = []
        for split, parts in zip(self._splits, results, strict=True):
            tables = tables or [np.full(self.scores.shape, np.nan) for _ in parts]
            for table, part in zip(tables, parts, strict=True):
                table[split.test] = part
        expected, *more = tables
        if not more:
            return MethodScores(trial.name, expected[self.tested], trained=trial.trained)
        compared, self.std = more
        return MethodScores(trial.name, expected[self.tested], compared=compared[self.tested])

    def _trained(self, name: str, embeddings: Floats, make: Callable[[int], Any]) -> Trial:
        scores, random_state = self.scores, self._random_state

        def fit(split: Split) -> Arrays:
            estimator = make(random_state)
            estimator.fit(embeddings[split.train], scores[split.train], split.groups[split.train])
            return (np.asarray(estimator.predict(embeddings[split.test]), dtype=np.float64),)

        return Trial(name, name, fit, trained=True)

    def _shuffled(self) -> FitAndForecast:
        """Ours, trained on outcomes of other prompts: any gain would indicate a leak."""
        vectors, of_all, encoder, random_state = self._vectors, self._data, self._encoder, self._random_state

        def fit(split: Split) -> Arrays:
            rng = np.random.default_rng(random_state)
            rows = np.sort(rng.permutation(split.train)[:_SHUFFLED_ROWS])
            data = of_all.rows(rows)
            data = msgspec.structs.replace(data, scores=data.scores[rng.permutation(len(rows))])
            predictor = fit_predictor(vectors[rows], data, encoder)
            return (predictor.expect_all(vectors[split.test]).quality[:, :-1],)

        return fit


def longer_to_stronger(lengths: Doubles, train: Indices, test: Indices, strong: int, weak: int, models: int) -> Doubles:
    """A control that depends on the prompt length only: values `(test, models)` that send the longer half to the strong
    model.

    The value of the strong model is the share of training prompts that are shorter, that of the weak model a half, that
    of the others -1, so that a sweep of λ moves the threshold.
    """
    values = np.full((len(test), models), -1.0)
    values[:, weak] = 0.5
    values[:, strong] = np.searchsorted(np.sort(lengths[train]), lengths[test]) / max(len(train), 1)
    return values


def _mean_costs(costs: Doubles, train: Indices) -> Doubles:
    """Mean cost of each model in the training part; in the whole table where that part has no costs."""
    means = mean_scores(costs[train])
    return mean_scores(costs) if np.isnan(means).all() else means


def _strong_and_weak(means: Doubles, costs: Doubles | None) -> tuple[int, int]:
    """The best model in training, and the cheapest other one, or the second best where no cost is known."""
    strong = int(np.argmax(means))
    order = -means if costs is None or np.isnan(costs).all() else np.nan_to_num(costs, nan=np.inf)
    weak = next((int(model) for model in np.argsort(order, kind="stable") if model != strong), strong)
    return strong, weak
