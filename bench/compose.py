"""Several models for one request against the best single choice: `python -m bench.compose --data FOLDER SET…`.

Every set needs the answers of several models (`answers.csv`) and their prices (`prices.json` with pools). Prior, gate
and the rule to stop are fitted on other folds; the plan, its price of money and the guard are chosen on one half of the
prompts and scored on the other, and the reverse. The alternative is the best of all single models, of routing among
them and of guarded routing, chosen in the same way at the same budget. A plan is preferred only where its advantage on
the choosing half exceeds two standard errors.

`--by domain` leaves whole domains out of the fit. `--control shuffled` permutes the answers' signals over prompts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from router.learn.data.answers import AnswerSet, load_answers
from router.learn.data.routing_set import RoutingSet
from router.learn.data.vectors import vectors_of
from router.learn.evaluation.splits import k_folds, leave_domain_out
from router.learn.plans.answer_gate import fit_gate, text_signals
from router.learn.plans.committee import Committees
from router.learn.plans.search import best_within, choices, confirmed, find_plans
from router.loading import load_encoder
from router.types import Doubles, Indices

BUDGETS = (0.2, 0.35, 0.5, 0.75, 1.0)
"""Mean cost of a request, in multiples of what the best single model costs."""
_PRICES = np.geomspace(40.0, 12_000.0, 48)
_STANDARD_ERRORS = 2.0
_FOLDS = 5
_SEED = 0


def folds_of(data: AnswerSet, by: str) -> Indices:
    """The fold of each prompt: random ones, or whole domains."""
    as_set = RoutingSet(data.name, "", "", data.prompts, data.models, data.scores.astype(np.float32))
    folds = np.zeros(len(data.prompts), dtype=np.intp)
    splits = leave_domain_out(as_set) if by == "domain" else k_folds(as_set, _FOLDS, _SEED)
    for number, split in enumerate(splits):
        folds[split.test] = number
    return folds


def measure(data: AnswerSet, by: str = "prompt", control: str = "none") -> dict[str, dict[str, dict[str, Any]]]:
    """For every pool and budget: mean quality of single choice and with plans, the gain and its interval."""
    vectors = vectors_of(data.prompts, load_encoder("static"))
    folds = folds_of(data, by)
    rng = np.random.default_rng(_SEED)
    halves = rng.integers(0, 2, len(data.prompts))
    signals = text_signals(data)
    if control == "shuffled":
        order = rng.permutation(len(data.prompts))
        signals = signals[order]
        # Those of other prompts: who agrees with whom says nothing about this one.
        data = msgspec.structs.replace(data, answers=data.answers[order])
    committees = Committees(data, fit_gate(data, vectors, folds, signals), folds, _PRICES)
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for name, pool in data.pools.items():
        plans = find_plans(committees, data, pool)
        single = choices(data, vectors, folds, pool, _PRICES)
        composed = choices(data, vectors, folds, pool, _PRICES, plans)
        best = max(pool, key=lambda model: float(data.scores[:, model].mean()))
        usual = float(data.cost_usd[:, best].mean())
        result[name] = {}
        for budget in BUDGETS:
            rows = []
            for half in (0, 1):
                chosen_on, scored_on = np.flatnonzero(halves == half), np.flatnonzero(halves != half)
                alone = best_within(single, chosen_on, budget * usual)
                among = best_within(composed, chosen_on, budget * usual)
                if alone is None or among is None:
                    continue
                kept = confirmed(alone, among, chosen_on, _STANDARD_ERRORS)
                rows.append(
                    np.stack([alone.quality, kept.quality, kept.is_plan, alone.cost_usd, kept.cost_usd])[:, scored_on]
                )
            if rows:
                result[name][f"{budget:g}"] = _figures(np.concatenate(rows, axis=1), usual, rng)
    return result


def _figures(rows: Doubles, usual_usd: float, rng: np.random.Generator) -> dict[str, Any]:
    single, plans, chosen, single_usd, plans_usd = rows
    difference = plans - single
    draws = rng.integers(0, len(difference), (1000, len(difference)))
    low, high = np.percentile(difference[draws].mean(axis=1), (2.5, 97.5))
    return {
        "single": round(float(single.mean()), 4),
        "plans": round(float(plans.mean()), 4),
        "gain": round(float(difference.mean()), 4),
        "gain_ci95": [round(float(low), 4), round(float(high), 4)],
        "chosen": round(float(chosen.mean()), 3),
        "single_cost": round(float(single_usd.mean()) / usual_usd, 3),
        "plans_cost": round(float(plans_usd.mean()) / usual_usd, 3),
    }


def _text(results: dict[str, dict[str, dict[str, dict[str, Any]]]]) -> str:
    lines = [
        "| set | pool | budget | single choice | with plans | gain, 95 % | plans chosen |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, pools in results.items():
        for pool, budgets in pools.items():
            for budget, figures in budgets.items():
                low, high = figures["gain_ci95"]
                lines.append(
                    f"| {name} | {pool} | {budget} | {figures['single']:.3f} | {figures['plans']:.3f} | "
                    f"{figures['gain']:+.3f} [{low:+.3f}, {high:+.3f}] | {figures['chosen']:.0%} |"
                )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m bench.compose", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that contains the sets")
    parser.add_argument("sets", nargs="+", metavar="SET", help="folders with answers.csv and prices.json")
    parser.add_argument("--by", choices=("prompt", "domain"), default="prompt", help="what the folds leave out")
    parser.add_argument(
        "--control", choices=("none", "shuffled"), default="none", help="a check that must gain nothing"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args(arguments)
    results = {name: measure(load_answers(given.data / name), given.by, given.control) for name in given.sets}
    sys.stdout.write(msgspec.json.encode(results).decode() if given.json else _text(results))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
