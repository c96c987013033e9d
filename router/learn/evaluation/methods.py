"""Every method of an evaluation, fitted on the same folds: ours, the baselines, the controls, the constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from router.errors import MissingExtraError
from router.learn.data import RoutingSet
from router.learn.data.vectors import embeddings_of
from router.learn.evaluation.baselines import QUICK, SLOW, longer_to_stronger
from router.learn.evaluation.bootstrap import MethodScores
from router.learn.evaluation.metrics import mean_scores
from router.learn.evaluation.splits import Split
from router.learn.progress import tracked
from router.learn.training.train import fit as fit_predictor
from router.perceive.text.encoder import Encoder
from router.types import Doubles, Floats, Indices

OURS = "pulvinar"
SINGLE = "best single"
HINDSIGHT = "best single, in hindsight"
SHUFFLED = "control: shuffled labels"

Baselines = Literal["none", "quick", "all"]
FitAndForecast = Callable[[Split], Doubles]
"""Fits on the training part of a split and gives expected scores `(test prompts, models)`."""

_SHUFFLED_ROWS = 2_000
_UNKNOWN_COST = 1e9


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
    ) -> None:
        self._data, self._encoder, self._vectors, self._costs = data, encoder, vectors, costs
        self._splits, self._random_state = splits, random_state
        self.scores = np.asarray(data.scores, dtype=np.float64)
        self.std: Doubles = np.full(self.scores.shape, np.nan)
        self.tested: Indices = np.sort(np.concatenate([split.test for split in splits]))
        self.folds: Indices = np.zeros(len(data.prompts), dtype=np.intp)
        for number, split in enumerate(splits):
            self.folds[split.test] = number

    def ours(self) -> MethodScores:
        """Forecasts of the served predictor itself, not of the estimator behind it."""

        compared = np.full(self.scores.shape, np.nan)

        def fit(split: Split) -> Doubles:
            predictor = fit_predictor(self._vectors[split.train], self._data.rows(split.train), self._encoder)
            expected = predictor.expect_all(self._vectors[split.test])
            self.std[split.test] = expected.quality_std[:, :-1]
            compared[split.test] = expected.compared[:, :-1]
            return expected.quality[:, :-1]

        values = self._cross_validated(OURS, fit)
        return MethodScores(OURS, values, compared=compared[self.tested])

    def ablations(self) -> list[MethodScores]:
        """Ours without the embedding, and without the surface features."""
        width = self._encoder.dimensions
        blocks = {"without embedding": slice(0, width), "without surface features": slice(width, None)}
        methods = []
        for name, block in blocks.items():
            vectors = self._vectors.copy()
            vectors[:, block] = 0.0

            def fit(split: Split, vectors: Floats = vectors) -> Doubles:
                predictor = fit_predictor(vectors[split.train], self._data.rows(split.train), self._encoder)
                return predictor.expect_all(vectors[split.test]).quality[:, :-1]

            methods.append(MethodScores(f"{OURS} {name}", self._cross_validated(name, fit)))
        return methods

    def baselines(
        self, wanted: str, baseline_encoder: Callable[[], Encoder] | None, cache: Path | None
    ) -> tuple[list[MethodScores], list[str]]:
        """The trained baselines and the shuffled-label control, and what was skipped, with the reason."""
        methods: list[MethodScores] = []
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
            methods.append(MethodScores(SHUFFLED, self._cross_validated("shuffled labels", self._shuffled)))
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

    def _trained(self, name: str, embeddings: Floats, make: Callable[[int], Any]) -> MethodScores:
        def fit(split: Split) -> Doubles:
            estimator = make(self._random_state)
            estimator.fit(embeddings[split.train], self.scores[split.train], split.groups[split.train])
            return np.asarray(estimator.predict(embeddings[split.test]), dtype=np.float64)

        return MethodScores(name, self._cross_validated(name, fit), trained=True)

    def _shuffled(self, split: Split) -> Doubles:
        """Ours, trained on outcomes of other prompts: any gain would indicate a leak."""
        rng = np.random.default_rng(self._random_state)
        rows = np.sort(rng.permutation(split.train)[:_SHUFFLED_ROWS])
        data = self._data.rows(rows)
        data = msgspec.structs.replace(data, scores=data.scores[rng.permutation(len(rows))])
        predictor = fit_predictor(self._vectors[rows], data, self._encoder)
        return predictor.expect_all(self._vectors[split.test]).quality[:, :-1]

    def _cross_validated(self, name: str, fit: FitAndForecast) -> Doubles:
        """Forecasts of the tested rows, in their order."""
        expected = np.full(self.scores.shape, np.nan)
        for split in tracked(self._splits, f"{self._data.name}, {name}", min_items=2, noun="fold"):
            expected[split.test] = fit(split)
        table: Doubles = expected[self.tested]
        return table


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
