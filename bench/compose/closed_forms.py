"""The forecasts of plans, by closed form and by column, next to what the plans really achieve on common answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bench.compose.measure import Fitted
from router import settings
from router.compose.learned import load_gate
from router.decide.plans.forecast import expected
from router.decide.plans.forecast.columns import Measured
from router.learn.data.answers import NO_ANSWER
from router.learn.plans.columns import Achieved, carried_out, out_of_fold
from router.learn.plans.pooled_gate import answered
from router.types import Doubles

_THRESHOLDS = (0.4, 0.5, 0.6, 0.7)
_PAIRS, _TRIPLES, _OWN = 12, 12, 6
_PRICES = (0.005, 0.02, 0.08)

Checks = list[dict[str, Any]]
Members = tuple[int, ...]


def measure(given: Fitted) -> Checks:
    """Quality and calls, real, by the closed form and by a column, of cascades of two and of votes of three, and of
    plans with a gate of their own.

    The constants are those of the shipped gate; forecasts of the members are out of fold, and columns are fitted to the
    other folds.
    """
    file = load_gate(settings.shipped_artifact_folder())
    assert file is not None
    found = file.closed_forms
    # Every prompt of such a set asks for an answer that can be compared.
    constants = expected.Constants(
        auc=found.auc, correlation=found.correlation, wrong_agreement=found.wrong_agreement, readable=1.0
    )
    cost, mean = given.data.cost_usd.mean(axis=0), given.data.scores.mean(axis=0)
    pool = sorted({model for pool in given.data.pools.values() for model in pool}, key=lambda model: cost[model])
    pairs = [pair for pair in itertools.combinations(pool, 2) if mean[pair[0]] < mean[pair[1]]]
    triples = list(itertools.combinations(pool, 3))
    return [
        *(_cascade(given, pair, least, constants) for pair in _evenly(pairs, _PAIRS) for least in _THRESHOLDS),
        *(_vote(given, triple, constants) for triple in _evenly(triples, _TRIPLES)),
        *_with_own_gates(given, _evenly(pairs, _OWN), _evenly(triples, _OWN), constants),
    ]


def _with_own_gates(
    given: Fitted, pairs: Sequence[Members], triples: Sequence[Members], constants: expected.Constants
) -> Iterator[dict[str, Any]]:
    """Plans with the gate that `route train --plans` fits to their members, carried out at several prices of money."""
    seen, costs = answered(given.data, given.gate.prior), given.data.cost_usd.mean(axis=0)
    plans = [
        *(("cascade", members, 0) for members in (*pairs, *triples)),
        *(("committee", each, 2) for each in triples),
    ]
    for kind, members, agree in plans:
        measured = Measured(kind, tuple(given.data.models[each] for each in members), agree, None)
        shares = costs[list(members)]
        achieved = carried_out(measured, seen, members, given.folds, shares, _PRICES)
        for number, price in enumerate(_PRICES):
            prices = (0.0, *(price * shares[1:] / shares[1:].sum()).tolist())
            prior = given.gate.prior[:, list(members)].tolist()
            if kind == "cascade":
                apart = constants.separation
                forecast = [expected.cascade([row], prices, constants, separation=apart) for row in prior]
            else:
                forecast = [
                    expected.committee([row], prices, constants, agree=agree, separation=constants.separation)
                    for row in prior
                ]
            name = f"own gate, {kind} of {len(members)}"
            yield _row(given, name, members, achieved.quality[:, number], achieved.calls[:, number], forecast)


def _evenly(items: Sequence[Members], count: int) -> list[Members]:
    last = len(items) - 1
    return [items[round(each)] for each in np.linspace(0, last, min(count, len(items)))]


def _cascade(given: Fitted, pair: Members, threshold: float, constants: expected.Constants) -> dict[str, Any]:
    first, second = pair
    asks = given.gate.posterior[:, first] < threshold
    quality = np.where(asks, given.data.scores[:, second], given.data.scores[:, first])
    apart = constants.separation
    forecast = [
        expected.cascade([row], (0.0, 0.0), constants, separation=apart, threshold=threshold)
        for row in given.gate.prior[:, list(pair)].tolist()
    ]
    return _row(given, f"cascade, P < {threshold:g}", pair, quality, np.where(asks, 2.0, 1.0), forecast)


def _vote(given: Fitted, members: Members, constants: expected.Constants) -> dict[str, Any]:
    """Until two answers are the same; else the answer of the member with the highest forecast."""
    columns = list(members)
    answers, prior = given.data.answers[:, columns], given.gate.prior[:, columns]
    agree = (answers[:, 0] == answers[:, 1]) & (answers[:, 0] != NO_ANSWER)
    later = [(answers[:, each] == answers[:, 2]) & (answers[:, 2] != NO_ANSWER) for each in (0, 1)]
    taken = np.where(agree, 0, np.where(later[0] | later[1], 2, prior.argmax(axis=1)))
    quality = given.data.scores[:, columns][np.arange(len(taken)), taken]
    # No answer is accepted by itself.
    forecast = [
        expected.committee([row], (0.0, 0.0, 0.0), constants, agree=2, separation=0.0, threshold=1.0)
        for row in prior.tolist()
    ]
    return _row(given, "vote, two agree", members, quality, np.where(agree, 2.0, 3.0), forecast)


def _row(
    given: Fitted, plan: str, members: Members, quality: Doubles, calls: Doubles, forecast: list[expected.Expected]
) -> dict[str, Any]:
    prior = given.gate.prior[:, list(members)]
    column = out_of_fold(prior, Achieved(quality[:, None], calls[:, None]), given.folds)
    return {
        "plan": plan,
        "members": [given.data.models[member] for member in members],
        "quality": round(float(quality.mean()), 4),
        "expected_quality": round(float(np.mean([each.quality[0] for each in forecast])), 4),
        "calls": round(float(calls.mean()), 3),
        "expected_calls": round(float(np.mean([sum(each.reach) for each in forecast])), 3),
        "column_quality": round(float(column.quality.mean()), 4),
        "column_calls": round(float(column.calls.mean()), 3),
        "squared_error": round(
            float(np.mean([(each.quality[0] - y) ** 2 for each, y in zip(forecast, quality, strict=True)])), 4
        ),
        "column_squared_error": round(float(np.square(column.quality[:, 0] - quality).mean()), 4),
    }


def table(results: dict[str, Checks]) -> str:
    """The mean and the greatest differences as a table in Markdown."""
    lines = [
        "| set | plan | plans | closed form, quality: mean difference, its size, greatest | calls "
        "| column, quality | calls | squared error by prompt: closed form, column |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in results.items():
        kinds = sorted({row["plan"] for row in rows}), {row["plan"].split(",")[0] for row in rows}
        for kind in [*sorted(kinds[1]), *kinds[0]]:
            chosen = [row for row in rows if row["plan"].startswith(kind)]
            cells = [_differences(chosen, by, what) for by in ("expected", "column") for what in ("quality", "calls")]
            squared = [np.mean([row[key] for row in chosen]) for key in ("squared_error", "column_squared_error")]
            cells.append(f"{squared[0]:.4f}, {squared[1]:.4f}")
            lines.append(f"| {name} | {kind} | {len(chosen)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _differences(rows: Checks, by: str, what: str) -> str:
    differences = np.array([row[f"{by}_{what}"] - row[what] for row in rows])
    sizes = np.abs(differences)
    return f"{differences.mean():+.4f}, {sizes.mean():.4f}, {sizes.max():.4f}"
