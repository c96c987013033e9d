"""What a second choice of the card gains, on real answers: `python -m bench.compose --reroute`.

The texts of the answers are not in any set, so a draft is the final answer with the option that it names, as the prompt
states it: `The answer is (C) 12`. Forecasts are linear in the feature vector and calibrated, both fitted on the prompts
of other folds, without drafts, as the router's are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from bench.compose.measure import Fitted
from router.learn.data.prompts import Prompt, read_prompts
from router.learn.data.score_table import read_texts
from router.learn.data.text_file import required_file
from router.learn.data.vectors import vectors_of
from router.learn.plans.out_of_fold import fit_logistic, logit
from router.loading import load_encoder
from router.perceive.ability.acceptance import probability
from router.types import Doubles, Floats, Indices

MARGINS = (0.0, 0.02, 0.05, 0.1)
_PENALTY = 300.0
_LEAST = 0.03
_DRAWS = 1000


class Forecaster:
    """Forecasts of the models for prompts with and without a draft, each fitted on the other folds."""

    def __init__(self, vectors: Floats, scores: Doubles, folds: Indices) -> None:
        """`vectors` `(prompts, width)`, `scores` `(prompts, models)`, `folds` `(prompts,)`."""
        self._center, deviation = vectors.mean(axis=0), vectors.std(axis=0)
        self._scale = np.where(deviation > 1e-9, deviation, 1.0)
        self._folds = folds
        rows = self._rows(vectors)
        penalties = np.diag([_PENALTY] * (rows.shape[1] - 1) + [0.0])
        self._weights = []
        for fold in np.unique(folds):
            train = rows[folds != fold]
            self._weights.append(np.linalg.solve(train.T @ train + penalties, train.T @ scores[folds != fold]))
        linear = self._linear(rows)
        self._calibrations = [
            [
                _calibration(linear[folds != fold, model], scores[folds != fold, model])
                for model in range(scores.shape[1])
            ]
            for fold in np.unique(folds)
        ]

    def __call__(self, vectors: Floats) -> Doubles:
        """Forecasts `(prompts, models)` for `vectors` `(prompts, width)`, in the order of the prompts."""
        linear, result = self._linear(self._rows(vectors)), np.empty((len(vectors), self._weights[0].shape[1]))
        for fold, calibrations in zip(np.unique(self._folds), self._calibrations, strict=True):
            rows = self._folds == fold
            for model, (slope, constant) in enumerate(calibrations):
                result[rows, model] = probability(slope * linear[rows, model] + constant)
        return result.clip(_LEAST, 1.0 - _LEAST)

    def _rows(self, vectors: Floats) -> Doubles:
        standard = (vectors.astype(np.float64) - self._center) / self._scale
        return np.append(standard, np.ones((len(standard), 1)), axis=1)

    def _linear(self, rows: Doubles) -> Doubles:
        result = np.empty((len(rows), self._weights[0].shape[1]))
        for fold, weights in zip(np.unique(self._folds), self._weights, strict=True):
            result[self._folds == fold] = rows[self._folds == fold] @ weights
        return logit(result, _LEAST)


def _calibration(linear: Doubles, scores: Doubles) -> Doubles:
    rows = np.stack([linear, np.ones(len(linear))], axis=1)
    return fit_logistic(rows, scores, 1.0, np.zeros(2), 6)


def measure(given: Fitted, folder: Path) -> dict[str, Any]:
    """By pool and margin, with the three models of the pool that are best on average as members: quality of the first
    card and of the plan, its gain with a 95 % interval, the share of prompts with a second forecast and with a
    handover, and the mean number of calls.
    """
    data = given.data
    prompts = read_prompts(required_file(folder, "prompts.jsonl"))
    found = read_texts(required_file(folder, "answers.csv"), prompts, data.models)
    texts = {prompt.id: answers for prompt, answers in zip(prompts, found, strict=True)}
    forecaster = Forecaster(given.vectors, data.scores, given.folds)
    before, rng = forecaster(given.vectors), np.random.default_rng(0)
    everyone = np.arange(len(data.prompts))
    result: dict[str, Any] = {}
    for pool, models in data.pools.items():
        members = sorted(models, key=lambda model: -float(data.scores[:, model].mean()))[:3]
        first = np.array(members)[before[:, members].argmax(axis=1)]
        drafted = [
            Prompt(each.id, (f"{each.turns[-1]}\n\n{draft_of(each.turns[-1], texts[each.id][first[row]])}",))
            for row, each in enumerate(data.prompts)
        ]
        after = forecaster(vectors_of(drafted, load_encoder("static")))
        others = np.array([[model for model in members if model != each] for each in first])
        lead = before[everyone, first] - np.take_along_axis(before, others, axis=1).max(axis=1)
        gains = np.take_along_axis(after, others, axis=1) - after[everyone, first][:, None]
        moved = gains - (np.take_along_axis(before, others, axis=1) - before[everyone, first][:, None])
        other = others[everyone, gains.argmax(axis=1)]
        quality = data.scores[everyone, first]
        result[pool] = {"moved": round(float(moved.std()), 4), "drift": round(float(moved.mean()), 4)}
        for margin in MARGINS:
            again = lead <= margin
            over = again & (gains.max(axis=1) > margin)
            gain = np.where(over, data.scores[everyone, other] - quality, 0.0)
            draws = [float(gain[rng.integers(0, len(gain), len(gain))].mean()) for _ in range(_DRAWS)]
            result[pool][str(margin)] = {
                "first": round(float(quality.mean()), 4),
                "plan": round(float((quality + gain).mean()), 4),
                "gain": round(float(gain.mean()), 4),
                "gain_ci95": [round(float(each), 4) for each in np.quantile(draws, [0.025, 0.975])],
                "again": round(float(again.mean()), 4),
                "over": round(float(over.mean()), 4),
                "calls": round(1.0 + float(over.mean()), 4),
            }
    return result


def draft_of(prompt: str, answer: str) -> str:
    """The final answer as a text, with the option that it names."""
    option = re.search(rf"^\({re.escape(answer)}\) *(.*)$", prompt, re.MULTILINE) if answer else None
    return f"The answer is ({answer}) {option.group(1)}" if option else f"The answer is {answer}" if answer else ""


def table(results: dict[str, dict[str, Any]]) -> str:
    """The figures of every set as a Markdown table."""
    columns = ("set", "pool", "margin", "first card", "gain, 95 %", "forecast again", "handed over", "a draft moves")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, pools in results.items():
        for pool, found in pools.items():
            for margin in map(str, MARGINS):
                row: dict[str, Any] = found[margin]
                low, high = row["gain_ci95"]
                gain = f"{row['gain']:+.4f} ({low:+.4f} to {high:+.4f})"
                shares = f"{row['again']:.1%} | {row['over']:.2%} | {found['moved']:.3f}"
                lines.append(f"| {name} | {pool} | {margin} | {row['first']:.3f} | {gain} | {shares} |")
    return "\n".join(lines)
