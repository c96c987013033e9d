"""Routing quality of the predictor: `python -m bench.quality [--data DIR] [--out FILE] [--baselines LEVEL] [SET …]`.

For each routing data set, by folds and by domain, the report of `route eval` with the baselines on the same folds;
then means over the sets, and how often ours is better, level or worse.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.forked import Forked
from router import settings
from router.commands.render import console, print_report, table
from router.errors import CallerError, PulvinarError
from router.learn.data import RoutingSet, load_set, read_aliases
from router.learn.data.list_prices import read_prices
from router.learn.engine import LOCAL
from router.learn.evaluation.evaluate import EvaluationSettings, evaluate
from router.learn.evaluation.methods import OURS
from router.learn.evaluation.report import Report
from router.loading import load_encoder

FIGURES = (("auc", "AUC"), ("quality", "quality"), ("captured", "captured"), ("aiq", "AIQ"), ("ece", "ECE"))
PROTOCOLS: dict[str, str | None] = {"folds": None, "domain": "domain"}


def main() -> None:
    """Print a table for each set and protocol, then the means; write all reports where a file is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", help="names of sets in --data; default: all that have outcomes")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--baselines", choices=["none", "quick", "all"], default="all")
    parser.add_argument("--baseline", default="all-MiniLM-L6-v2", help="a second encoder for kNN and ridge, or none")
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="folds computed at a time")
    parser.add_argument("--out", type=Path, help="write every report to this file, as JSON")
    arguments = parser.parse_args()
    encoder = load_encoder(settings.STATIC_ENCODER)
    models = arguments.data / "models.json"
    aliases, prices = (read_aliases(models), read_prices(models)) if models.is_file() else (None, None)
    second = None if arguments.baseline == "none" else lambda: load_encoder(arguments.baseline)
    engine = Forked(arguments.processes) if arguments.processes > 1 and hasattr(os, "fork") else LOCAL
    reports: dict[str, list[Report]] = {protocol: [] for protocol in arguments.protocols}
    for name in arguments.sets or _sets_in(arguments.data):
        data = load_set(arguments.data / name, aliases)
        for protocol in arguments.protocols:
            if protocol == "domain" and _domains(data) < 2:
                print(f"{name}: one domain only, none can be left out\n")
                continue
            start = time.monotonic()
            report = evaluate(
                data,
                encoder,
                EvaluationSettings(
                    folds=arguments.folds,
                    by=PROTOCOLS[protocol],
                    baselines=arguments.baselines,
                    draws=arguments.draws,
                ),
                baseline_encoder=second,
                cache=settings.cache_folder() / "embeddings",
                prices=prices,
                engine=engine,
            )
            reports[protocol].append(report)
            print_report(report)
            print(f"({time.monotonic() - start:.0f} s)\n", flush=True)
            if arguments.out is not None:
                # After each set, so that an interrupted run leaves its results.
                arguments.out.write_bytes(msgspec.json.format(msgspec.json.encode(reports), indent=1))
    for protocol, done in reports.items():
        if done:
            _print_means(protocol, done)


def _sets_in(folder: Path) -> list[str]:
    names = sorted(file.parent.name for file in folder.glob("*/scores.csv*"))
    if not names:
        raise CallerError(f"{folder} has no routing data set")
    return names


def _domains(data: RoutingSet) -> int:
    return len(set(data.domains))


def _print_means(protocol: str, reports: Sequence[Report]) -> None:
    """Print the mean of each method over the sets, and the paired verdicts."""
    methods = [line.method for line in reports[0].methods]
    shared = [name for name in methods if all(name in {line.method for line in report.methods} for report in reports)]
    heads = [head for _, head in FIGURES]
    verdicts = ["AUC: ours + = -", "quality: ours + = -"]
    shown = table(f"means over {len(reports)} sets", *heads, *verdicts, right=heads)
    for name in shared:
        lines = [next(line for line in report.methods if line.method == name) for report in reports]
        cells = []
        for figure, _ in FIGURES:
            # Without costs no method has an AIQ, so the sets in a column are the same for all methods.
            values = [value for line in lines if (value := getattr(line, figure)) is not None]
            cells.append(f"{statistics.fmean(values):.4f}" if values else "")
        for figure in ("auc", "quality"):
            differences = [line.minus_ours[figure] for line in lines if figure in line.minus_ours]
            better = sum(difference.high < 0 for difference in differences)
            worse = sum(difference.low > 0 for difference in differences)
            level = len(differences) - better - worse
            cells.append(f"{better} {level} {worse}" if differences and name != OURS else "")
        shown.add_row(name, *cells)
    console().print(f"[bold]{protocol}[/]")
    console().print(shown)
    print()


if __name__ == "__main__":
    try:
        main()
    except PulvinarError as error:
        raise SystemExit(f"bench.quality: {error} (--data names the folder of the sets)") from None
