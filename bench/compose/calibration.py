"""Whether answers are right as often as the gate says: of prompts, domains and models that it never saw."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.compose.measure import Fitted
from router.learn.evaluation.calibration import reliability
from router.learn.evaluation.metrics import mean_auc
from router.learn.plans.held_out import HeldOutCommittees
from router.learn.plans.pooled_gate import answered
from router.types import Doubles

_COMMITTEES = {1: 0, 2: 8, 3: 8, 5: 4}
"""How many committees are drawn, by their number of members; of one member, every model is one."""
_SEED = 1

Calibrations = list[dict[str, Any]]


def measure(given: Fitted) -> Calibrations:
    """ECE over all answers, the mean and the greatest one of a model, and the AUC, by what the gate never saw."""
    data = given.data
    held_out = HeldOutCommittees(answered(data, given.gate.prior), data.cost_usd, given.folds, np.array([1.0]))
    rows = [_row("fitted to each model", 1, [(data.scores, given.gate.posterior)])]
    rng = np.random.default_rng(_SEED)
    for unseen in (False, True):
        for members, count in _COMMITTEES.items():
            if members > len(data.models):
                continue
            drawn = [tuple(map(int, rng.permutation(len(data.models))[:members])) for _ in range(count)]
            found = []
            for each in drawn or [(model,) for model in range(len(data.models))]:
                found.append((data.scores[:, list(each)], held_out.rights(each, unseen=unseen)))
            rows.append(_row("shipped, models it never saw" if unseen else "shipped, models it knows", members, found))
    return rows


def ece(scores: Doubles, right: Doubles) -> float:
    """The expected calibration error over fifteen bins of equal width."""
    bins = reliability(scores, right)
    return sum(abs(each.forecast - each.score) * each.outcomes for each in bins) / sum(each.outcomes for each in bins)


def _row(gate: str, members: int, found: list[tuple[Doubles, Doubles]]) -> dict[str, Any]:
    scores = np.concatenate([each.ravel() for each, _ in found])
    right = np.concatenate([each.ravel() for _, each in found])
    by_model = [
        ece(each[:, [column]], forecast[:, [column]]) for each, forecast in found for column in range(each.shape[1])
    ]
    areas = [mean_auc(each, forecast) for each, forecast in found]
    return {
        "gate": gate,
        "members": members,
        "ece": round(ece(scores[:, None], right[:, None]), 4),
        "ece_of_a_model": round(float(np.mean(by_model)), 4),
        "greatest_ece": round(max(by_model), 4),
        "auc": round(float(np.mean([area for area in areas if area is not None])), 4),
    }


def table(results: dict[str, Calibrations]) -> str:
    """The figures as a table in Markdown."""
    lines = ["| set | gate | answers | ECE | ECE of a model, mean | greatest | AUC |", "|---|---|---|---|---|---|---|"]
    for name, rows in results.items():
        for row in rows:
            figures = [f"{row[key]:.3f}" for key in ("ece", "ece_of_a_model", "greatest_ece", "auc")]
            lines.append(f"| {name} | {row['gate']} | {row['members']} | {' | '.join(figures)} |")
    return "\n".join(lines)
