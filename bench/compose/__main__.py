"""Several models for one request against the best single choice: `python -m bench.compose --data FOLDER SET…`.

Every set needs the answers of several models (`answers.csv`) and their prices (`prices.json` with pools). Prior, gate
and the rule to stop are fitted on other folds; the plan, its price of money and the guard are chosen on one half of the
prompts and scored on the other, and the reverse. The alternative is the best of all single models, of routing among
them and of guarded routing, chosen in the same way at the same budget. A plan is preferred only where its advantage on
the choosing half exceeds two standard errors. Prices of money and budgets are relative to what the best model of a pool
costs; where no model is within a budget, the cheapest one is taken, and `single_cost` is above the budget.

`plans` has a gate fitted to the models of each committee. `shipped` is the gate that is shipped, for cards it never
saw: fitted to other models and other prompts, with the code that answers requests. `own` is the gate that
`route train --plans` fits to the answers of a plan's own members, to other prompts, with the same code. `rule` is the
fixed rule "two cheap ones agree, else the best model", the best pair that the budget allows.

`--by domain` leaves whole domains out of every fit. `--control shuffled` permutes the answers and their signals over
prompts: nothing must be gained. `--control oracle` has a gate that knows the truth: `rule` is then the cascade that
stops at the first right answer. `--gate` prints how well P(right) is calibrated; `--closed-forms` compares the
forecasts of plans, by closed form and by column, with real answers; `--reroute` measures plans that forecast again with
an answer beside the prompt; `--picture FILE` draws quality against cost.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.compose import calibration, closed_forms, picture, reroute
from bench.compose.measure import BUDGETS, MORE_BUDGETS, Pools, fitted, measure
from router.errors import PulvinarError
from router.learn.data.answers import load_answers


def table(results: dict[str, Pools]) -> str:
    """The figures as a table in Markdown."""
    lines = [
        "| set | pool | budget | single | with plans | gain, 95 % | chosen | shipped gate: gain, 95 % | chosen "
        "| trained gate: gain, 95 % | chosen | rule (cost) | plans at that cost | trained at that cost |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, pools in results.items():
        for pool, budgets in pools.items():
            for budget, each in budgets.items():
                shipped = trained = "–"
                if "shipped" in each:
                    shipped = _gain(each["shipped_gain"], each["shipped_gain_ci95"])
                    trained = _gain(each["own_gain"], each["own_gain_ci95"])
                cells: list[str] = [name, pool, budget, f"{each['single']:.3f}", f"{each['plans']:.3f}"]
                cells += [_gain(each["gain"], each["gain_ci95"]), f"{each['chosen']:.0%}", shipped]
                cells += [f"{each.get('shipped_chosen', 0):.0%}", trained, f"{each.get('own_chosen', 0):.0%}"]
                cells += [f"{each['rule']:.3f} ({each['rule_cost']:.2f})", f"{each['plans_at_rule_cost']:.3f}"]
                cells.append(f"{each.get('own_at_rule_cost', 0):.3f}")
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _gain(value: float, interval: Sequence[float]) -> str:
    return f"{value:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.compose", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder that contains the sets")
    parser.add_argument("sets", nargs="+", metavar="SET", help="folders with answers.csv and prices.json")
    parser.add_argument("--by", choices=("prompt", "domain"), default="prompt", help="what the folds leave out")
    controls = ("none", "shuffled", "oracle")
    parser.add_argument("--control", choices=controls, default="none", help="a check with a known result")
    parser.add_argument("--no-shipped", action="store_true", help="leave out the gate that is shipped: faster")
    parser.add_argument("--gate", action="store_true", help="print the calibration of the gate instead")
    parser.add_argument(
        "--closed-forms", action="store_true", help="compare the closed forms with real answers instead"
    )
    parser.add_argument("--reroute", action="store_true", help="measure second choices with a draft instead")
    parser.add_argument("--picture", type=Path, help="also draw quality against cost into this SVG file")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    given = parser.parse_args(arguments)
    results: dict[str, Any] = {}
    # All are read first: an hour of fits should not end at a mistake in the last set.
    sets = {name: load_answers(given.data / name) for name in given.sets}
    for name, data in sets.items():
        for model in data.unanswered:
            sys.stderr.write(f'{name}: "{model}" has no answers in answers.csv, so it agrees with no other model\n')
        ready = fitted(data, given.by, given.control)
        if given.gate:
            results[name] = calibration.measure(ready)
        elif given.closed_forms:
            results[name] = closed_forms.measure(ready)
        elif given.reroute:
            results[name] = reroute.measure(ready, given.data / name)
        else:
            budgets = MORE_BUDGETS if given.picture is not None else BUDGETS
            measured = measure(ready, given.control, not given.no_shipped, budgets)
            if given.picture is not None:
                given.picture.write_text(picture.draw(measured), "utf-8")
            asked = [str(budget) for budget in BUDGETS]
            results[name] = {
                pool: {budget: found[budget] for budget in asked if budget in found} for pool, found in measured.items()
            }
    if given.json:
        text = msgspec.json.encode(results).decode()
    elif given.gate:
        text = calibration.table(results)
    elif given.reroute:
        text = reroute.table(results)
    else:
        text = closed_forms.table(results) if given.closed_forms else table(results)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    try:
        main()
    except PulvinarError as error:
        raise SystemExit(f"bench.compose: {error} (--data names the folder of the sets)") from None
