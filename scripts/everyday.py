"""Check and describe the everyday prompts in `data/everyday`: `python scripts/everyday.py [--write-scores]`.

Prints the counts, the agreement of the two graders and near-duplicates. `--write-scores` writes `scores.csv` anew: the
mean of the graders' expected shares, in the layout of a routing data set, with a column for each strength of model.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import cohen_kappa_score

FOLDER = Path(__file__).resolve().parent.parent / "data" / "everyday"
STRENGTHS = ("small", "medium", "strong", "frontier")
NEAR = 0.6
"""The cosine of character n-grams (3 to 5) from which on two prompts count as near-duplicates."""

TEMPLATES = "p4-"
"""The beginning of the ids of short prompts from templates, which are alike on purpose."""


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write-scores", action="store_true", help="write scores.csv from grades.csv")
    options = parser.parse_args()
    prompts, grades = read_prompts(), read_grades()
    if options.write_scores:
        write_scores(prompts, grades)
    print(f"{len(prompts)} prompts, {len({row['language'] for row in prompts})} languages")
    print("domains: " + ", ".join(f"{name} {count}" for name, count in Counter(map(domain, prompts)).most_common()))
    first = np.array([grades[row["prompt_id"], "a"]["difficulty"] for row in prompts])
    print("difficulty by grader a: " + ", ".join(f"{level}: {int((first == level).sum())}" for level in range(1, 6)))
    for name, value in agreement(prompts, grades).items():
        print(f"agreement, {name}: {value:.3f}")
    for similarity, one, other in near_duplicates(prompts):
        print(f"near-duplicates ({similarity:.2f}): {one}, {other}")


def domain(row: dict[str, Any]) -> str:
    """The domain of a prompt."""
    return str(row["domain"])


def read_prompts() -> list[dict[str, Any]]:
    """The lines of `prompts.jsonl`."""
    return [json.loads(line) for line in (FOLDER / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]


def read_grades() -> dict[tuple[str, str], dict[str, float]]:
    """The rows of `grades.csv` by prompt and grader (a, b)."""
    with (FOLDER / "grades.csv").open(encoding="utf-8", newline="") as stream:
        return {
            (row["prompt_id"], row["grader"]): {
                name: float(value) for name, value in row.items() if name not in ("prompt_id", "grader")
            }
            for row in csv.DictReader(stream)
        }


def write_scores(prompts: list[dict[str, Any]], grades: dict[tuple[str, str], dict[str, float]]) -> None:
    """Write `scores.csv`: the mean of both graders' expected shares."""
    with (FOLDER / "scores.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["prompt_id", *STRENGTHS])
        for row in prompts:
            one, other = (grades[row["prompt_id"], grader] for grader in "ab")
            writer.writerow([row["prompt_id"], *(f"{(one[name] + other[name]) / 2:.4g}" for name in STRENGTHS)])


def agreement(prompts: list[dict[str, Any]], grades: dict[tuple[str, str], dict[str, float]]) -> dict[str, float]:
    """How far the two graders agree."""
    one, other = (
        {name: np.array([grades[row["prompt_id"], grader][name] for row in prompts]) for name in _names(grades)}
        for grader in "ab"
    )
    apart = np.abs(one["difficulty"] - other["difficulty"])
    shares = {name: np.abs(one[name] - other[name]).mean() for name in STRENGTHS}
    kappa = cohen_kappa_score(one["difficulty"].astype(int), other["difficulty"].astype(int), weights="quadratic")
    return {
        "difficulty, same level": float((apart == 0).mean()),
        "difficulty, at most one level apart": float((apart <= 1).mean()),
        "difficulty, Spearman": float(spearmanr(one["difficulty"], other["difficulty"])[0]),
        "difficulty, quadratic kappa": float(kappa),
        "small_ok, kappa": float(cohen_kappa_score(one["small_ok"].astype(int), other["small_ok"].astype(int))),
        **{f"expected share of {name} models, mean difference": float(value) for name, value in shares.items()},
    }


def near_duplicates(prompts: list[dict[str, Any]]) -> list[tuple[float, str, str]]:
    """Pairs of prompts with nearly the same text, apart from pairs that are meant to look alike."""
    texts = [text_of(row) for row in prompts]
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True).fit_transform(texts)
    similar = (vectors @ vectors.T).tocoo()
    found = []
    for row, column, value in zip(similar.row, similar.col, similar.data, strict=True):
        one, other = prompts[row], prompts[column]
        is_pair = one.get("pair") is not None and one.get("pair") == other.get("pair")
        from_templates = any(prompts[place]["prompt_id"].startswith(TEMPLATES) for place in (row, column))
        if row < column and value > NEAR and not is_pair and not from_templates:
            found.append((float(value), str(one["prompt_id"]), str(other["prompt_id"])))
    return sorted(found, reverse=True)


def text_of(row: dict[str, Any]) -> str:
    """All text of a prompt or conversation."""
    if "prompt" in row:
        return str(row["prompt"])
    return "\n".join(f"{message.get('content') or ''}{message.get('tool_calls') or ''}" for message in row["messages"])


def _names(grades: dict[tuple[str, str], dict[str, float]]) -> list[str]:
    return list(next(iter(grades.values())))


if __name__ == "__main__":
    main()
