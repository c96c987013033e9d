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
from router.perceive.encoder import Encoder
from router.types import Doubles, Floats, Indices

OURS = "pulvinar"
SINGLE = "best single"
HINDSIGHT = "best single, in hindsight"
SHUFFLED = "control: shuffled labels"

Baselines = Literal["none", "quick", "all"]
Fit = Callable[[Split], Doubles]
"""Expected scores `(rows to forecast, models)` of one split."""

_SHUFFLED_ROWS = 2_000


class Methods:
    """The table, the folds, and every method fitted on them.

    `costs` float64 `(prompts, models)` in USD; `tested` the rows of all test parts, in order. `std`
    `(prompts, models)` is our doubt once ours has run, `folds` `(prompts,)` the number of each prompt's fold.
    """

    def __init__(
        self,
        data: RoutingSet,
        encoder: Encoder,
        vectors: Floats,
        costs: Doubles | None,
        splits: Sequence[Split],
        tested: Indices,
        random_state: int,
    ) -> None:
        self.data, self.encoder, self.vectors, self.costs = data, encoder, vectors, costs
        self.splits, self.tested, self.random_state = splits, tested, random_state
        self.scores = np.asarray(data.scores, dtype=np.float64)
        self.std: Doubles | None = None
        self.folds: Indices = np.zeros(len(data.prompts), dtype=np.intp)
        for number, split in enumerate(splits):
            self.folds[split.test] = number

    def ours(self) -> MethodScores:
        """Forecasts of the served predictor itself, not of the estimator behind it."""
        self.std = np.full(self.scores.shape, np.nan)
        std = self.std

        def fit(split: Split) -> Doubles:
            predictor = fit_predictor(self.vectors[split.train], self.data.rows(split.train), self.encoder)
            expected = predictor.expect_all(self.vectors[split.test])
            std[split.test] = expected.quality_std[:, :-1]
            return expected.quality[:, :-1]

        return MethodScores(OURS, self._cross_validated(OURS, fit))

    def ablations(self) -> list[MethodScores]:
        """Ours without the embedding, and without the surface features."""
        width = self.encoder.dimensions
        blocks = {"without embedding": slice(0, width), "without surface features": slice(width, None)}
        made = []
        for name, block in blocks.items():
            vectors = self.vectors.copy()
            vectors[:, block] = 0.0

            def fit(split: Split, vectors: Floats = vectors) -> Doubles:
                predictor = fit_predictor(vectors[split.train], self.data.rows(split.train), self.encoder)
                return predictor.expect_all(vectors[split.test]).quality[:, :-1]

            made.append(MethodScores(f"{OURS} {name}", self._cross_validated(name, fit)))
        return made

    def add_baselines(
        self,
        contenders: list[MethodScores],
        wanted: str,
        baseline_encoder: Callable[[], Encoder] | None,
        cache: Path | None,
    ) -> list[str]:
        """Append the trained baselines and the shuffled control; returns what was left out, and why."""
        skipped = []
        static = self.vectors[:, : self.encoder.dimensions]
        for level, family in (("quick", QUICK), ("all", SLOW)):
            for name, make in family.items():
                if wanted == "none" or (level == "all" and wanted != "all"):
                    skipped.append(f"{name} (--baselines {level})")
                    continue
                contenders.append(self._trained(f"{name}, {self.encoder.name}", static, make))
        if baseline_encoder is None:
            skipped.append("kNN and ridge on sentence embeddings (--baselines all)")
        else:
            try:
                other = baseline_encoder()
            except MissingExtraError as error:
                skipped.append(str(error))
            else:
                embeddings = embeddings_of(self.data.prompts, other, cache)
                for name in ("kNN", "ridge"):
                    contenders.append(self._trained(f"{name}, {other.name}", embeddings, QUICK[name]))
        if wanted == "all":
            contenders.append(MethodScores(SHUFFLED, self._cross_validated("shuffled labels", self._shuffled)))
        else:
            skipped.append(f"{SHUFFLED} (--baselines all)")
        return skipped

    def constants(self, pair: tuple[int, int] | None) -> list[MethodScores]:
        """Methods that are not trained on prompts: length alone, random, cheapest, best single, best per domain (knows
        the label), oracle.
        """
        scores, domains = self.scores, np.array(self.data.domains)
        lengths = np.array([len(prompt.turns[-1]) for prompt in self.data.prompts], dtype=np.float64)
        tables = {name: np.zeros(scores.shape) for name in ("length", "cheapest", SINGLE, "domain")}
        for split in self.splits:
            train, test = split.train, split.test
            means = np.nan_to_num(mean_scores(scores[train]))
            tables[SINGLE][test] = means
            usual = None if self.costs is None else self._usual_costs(self.costs, train)
            tables["cheapest"][test] = 0.0 if usual is None else -np.nan_to_num(usual, nan=1e9)
            strong, weak = pair or _strong_and_weak(means, usual)
            tables["length"][test] = longer_to_stronger(lengths, train, test, strong, weak, len(means))
            for domain in set(domains[test]):
                own = train[domains[train] == domain]
                mean = np.nan_to_num(mean_scores(scores[own])) if len(own) else means
                tables["domain"][test[domains[test] == domain]] = mean
        tested = self.tested
        overall = np.nan_to_num(mean_scores(scores[tested]), nan=-1.0)
        rng = np.random.default_rng(self.random_state)
        made = [
            MethodScores("control: prompt length", tables["length"][tested], forecasts=False),
            MethodScores("random", rng.random(scores.shape)[tested], forecasts=False, priced=False),
        ]
        if self.costs is not None:
            made.append(MethodScores("cheapest", tables["cheapest"][tested], forecasts=False))
        return [
            *made,
            MethodScores(SINGLE, tables[SINGLE][tested], forecasts=False),
            MethodScores(HINDSIGHT, np.tile(overall, (len(tested), 1)), forecasts=False),
            MethodScores("best per domain", tables["domain"][tested], forecasts=False),
            MethodScores("oracle", np.nan_to_num(scores, nan=-1.0)[tested], forecasts=False),
        ]

    def _usual_costs(self, costs: Doubles, train: Indices) -> Doubles:
        """Mean cost of each model where ours learns; of the whole table where that part has no costs at all."""
        usual = mean_scores(costs[train])
        return mean_scores(costs) if np.isnan(usual).all() else usual

    def _trained(self, name: str, embeddings: Floats, make: Callable[[int], Any]) -> MethodScores:
        def fit(split: Split) -> Doubles:
            estimator = make(self.random_state)
            estimator.fit(embeddings[split.train], self.scores[split.train], split.copies[split.train])
            return np.asarray(estimator.predict(embeddings[split.test]), dtype=np.float64)

        return MethodScores(name, self._cross_validated(name, fit), trained=True)

    def _shuffled(self, split: Split) -> Doubles:
        """Ours, taught with the outcomes of other prompts: what it gains then, it gains by a leak."""
        rng = np.random.default_rng(self.random_state)
        rows = np.sort(rng.permutation(split.train)[:_SHUFFLED_ROWS])
        data = self.data.rows(rows)
        data = msgspec.structs.replace(data, scores=data.scores[rng.permutation(len(rows))])
        predictor = fit_predictor(self.vectors[rows], data, self.encoder)
        return predictor.expect_all(self.vectors[split.test]).quality[:, :-1]

    def _cross_validated(self, name: str, fit: Fit) -> Doubles:
        """Forecasts of the tested rows, in their order."""
        expected = np.full(self.scores.shape, np.nan)
        for split in tracked(self.splits, name, min_items=2):
            expected[split.test] = fit(split)
        table: Doubles = expected[self.tested]
        return table


def _strong_and_weak(means: Doubles, usual: Doubles | None) -> tuple[int, int]:
    """The best model in training, and the cheapest other one, or the second best where no cost is known."""
    strong = int(np.argmax(means))
    order = -means if usual is None or np.isnan(usual).all() else np.nan_to_num(usual, nan=np.inf)
    weak = next((int(model) for model in np.argsort(order, kind="stable") if model != strong), strong)
    return strong, weak
