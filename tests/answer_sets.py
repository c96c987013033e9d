"""Made sets with answers, as folders: what a user's own set may look like."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

MODELS = ("tiny", "small", "middle", "large")
_RIGHT = (0.55, 0.6, 0.65, 0.8)
_PRICES = (0.1, 0.2, 0.4, 4.0)
_WORDS = ("Canberra", "1,200", "42", "yes", "the red one", "B")


def write_answer_set(
    folder: Path,
    prompts: int = 300,
    *,
    tables: Sequence[str] = (),
    unknown_scores: int = 0,
    pools: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> Path:
    """A set whose right answers are of several kinds. `tables` are the signals that it has; `unknown_scores` prompts
    lack the score of one model each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    ids = [f"p{number}" for number in range(prompts)]
    right = rng.random((prompts, len(MODELS))) < np.array(_RIGHT)
    scores = [[str(float(cell)) for cell in row] for row in right]
    for row in range(unknown_scores):
        scores[row][row % len(MODELS)] = ""
    answers = []
    for row in range(prompts):
        truth = _WORDS[row % len(_WORDS)]
        wrong = [f"wrong {rng.integers(3)}" if rng.random() < 0.9 else "" for _ in MODELS]
        answers.append([truth if right[row, column] else wrong[column] for column in range(len(MODELS))])
    documents = [
        json.dumps({"prompt_id": each, "prompt": f"question {number} about {number % 7}", "domain": f"d{number % 3}"})
        for number, each in enumerate(ids)
    ]
    (folder / "prompts.jsonl").write_text("\n".join(documents) + "\n", "utf-8")
    _write(folder / "scores.csv", ids, scores)
    _write(folder / "answers.csv", ids, answers)
    for name in tables:
        _write(folder / f"{name}.csv", ids, [[str(cell) for cell in row] for row in rng.integers(1, 90, right.shape)])
    prices = {model: {"input": price, "output": price} for model, price in zip(MODELS, _PRICES, strict=True)}
    document = {"prices": prices, "pools": {"A": list(MODELS)} if pools is None else pools}
    (folder / "prices.json").write_text(json.dumps(document), "utf-8")
    return folder


def _write(file: Path, ids: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["prompt_id", *MODELS])
        writer.writerows([each, *row] for each, row in zip(ids, rows, strict=True))
