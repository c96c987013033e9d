"""Routing quality of the predictor: `python -m bench.quality [--data DIR] [--out FILE] [--baselines LEVEL] [--times]
[SET …]`.

For each routing data set, by folds and by domain, the report of `route eval` with the baselines on the same folds;
then means over the sets, and how often ours is better, level or worse.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from bench.forked import Forked
from router import settings
from router.commands.render import console, print_report, table
from router.errors import CallerError, MissingExtraError, PulvinarError
from router.learn.data import RoutingSet, load_set, read_aliases
from router.learn.data.list_prices import read_prices
from router.learn.data.vectors import embeddings_of
from router.learn.engine import LOCAL, Arrays, Engine
from router.learn.evaluation.evaluate import EvaluationSettings, evaluate, with_outcomes
from router.learn.evaluation.methods import OURS
from router.learn.evaluation.report import Report
from router.learn.evaluation.splits import MAX_DOMAIN_FOLDS
from router.learn.progress import MIN_ITEMS
from router.loading import load_encoder
from router.perceive.text.encoder import Encoder

T = TypeVar("T")
FIGURES = (("auc", "AUC"), ("quality", "quality"), ("captured", "captured"), ("aiq", "AIQ"), ("ece", "ECE"))
PROTOCOLS: dict[str, str | None] = {"folds": None, "domain": "domain"}

# What a fold costs apart from its prompts, and what each model costs, in prompts.
_ROWS_OF_A_FIT, _ROWS_OF_A_MODEL = 500, 30


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
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="protocols of sets, or folds of one set, at a time"
    )
    parser.add_argument("--times", action="store_true", help="print the CPU time of each method after the report")
    parser.add_argument("--out", type=Path, help="write every report to this file, as JSON")
    arguments = parser.parse_args()
    start = time.monotonic()
    names = arguments.sets or _sets_in(arguments.data)
    reports: dict[str, list[Report]] = {protocol: [] for protocol in arguments.protocols}
    for name, done in zip(names, _evaluated(names, arguments), strict=True):
        for protocol, trial in done.items():
            if trial.report is None:
                print(f"{name}: one domain only, none can be left out\n")
                continue
            reports[protocol].append(trial.report)
            print_report(trial.report)
            print(f"({trial.wall_s:.0f} s, {trial.cpu_s:.0f} s of CPU)")
            if arguments.times:
                _print_times(trial)
            print(flush=True)
        if arguments.out is not None:
            # After each set, so that an interrupted run leaves its results.
            arguments.out.write_bytes(msgspec.json.format(msgspec.json.encode(reports), indent=1))
    for protocol, of_sets in reports.items():
        if of_sets:
            _print_means(protocol, of_sets)
    print(f"{(time.monotonic() - start) / 60:.1f} minutes, {_cpu_s() / 60:.1f} minutes of CPU")


class Trial(NamedTuple):
    """A set evaluated with one protocol: the report, None where the set has no domains to leave out, and the time;
    `cpu_s_of` is the CPU time of each method on all folds.
    """

    report: Report | None
    wall_s: float
    cpu_s: float
    cpu_s_of: Mapping[str, float] = {}


class Timed:
    """An engine that runs units on another one, and adds up in `cpu_s_of` the CPU time of what each description names
    after the name of the set.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.cpu_s_of: dict[str, float] = {}

    def map(
        self,
        unit: Callable[[T], Arrays],
        items: Sequence[T],
        description: str,
        min_items: int = MIN_ITEMS,
        noun: str = "",
    ) -> Iterator[Arrays]:
        """See `Engine.map`."""

        def timed(item: T) -> Arrays:
            start = time.process_time()
            result = unit(item)
            return (*result, np.array(time.process_time() - start))

        name = description.partition(", ")[2] or description
        for *result, used in self._engine.map(timed, items, description, min_items, noun):
            self.cpu_s_of[name] = self.cpu_s_of.get(name, 0.0) + float(used)
            yield tuple(result)


def _evaluated(names: Sequence[str], arguments: argparse.Namespace) -> Iterator[dict[str, Trial]]:
    """Each set with every protocol, in the order of `names`. Of several sets, as many protocols as there are processes
    are evaluated at a time, each with one thread; of a single set, several folds. Several sets are all loaded before
    the first one is evaluated, so that a file with errors ends the run at once.
    """
    several = arguments.processes > 1 and hasattr(os, "fork")
    if len(names) == 1 or not several:
        engine = Forked(arguments.processes) if several else LOCAL
        for name in names:
            yield {protocol: _evaluate(name, protocol, arguments, engine) for protocol in arguments.protocols}
        return
    work = {(name, protocol): _work(name, protocol, arguments) for name in names for protocol in arguments.protocols}
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(arguments.processes, context, _use_one_thread) as processes:
        # What takes longest begins first, so that no process waits for it at the end.
        if arguments.baseline != "none":
            # Before the fits, since both protocols of a set need the same embeddings.
            needed = {name for (name, _), rows in work.items() if rows}
            longest_first = sorted(needed, key=lambda name: -_text_bytes(arguments.data / name))
            cpu_s = sum(processes.map(functools.partial(_embed, arguments), longest_first))
            print(f"embeddings of {arguments.baseline}: {cpu_s:.0f} s of CPU\n", flush=True)
        trials = sorted(work, key=lambda trial: -work[trial])
        running = {trial: processes.submit(_evaluate, *trial, arguments) for trial in trials}
        try:
            for name in names:
                yield {protocol: running[name, protocol].result() for protocol in arguments.protocols}
        except BaseException:
            # The error is seen at once, and not when the trials that run have ended.
            processes.shutdown(wait=False, cancel_futures=True)
            raise


def _use_one_thread() -> None:
    # torch, which is imported later, reads the variable.
    os.environ["OMP_NUM_THREADS"] = "1"
    threadpool_limits(1)


def _text_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("prompts.jsonl*"))


def _work(name: str, protocol: str, arguments: argparse.Namespace) -> float:
    """About how long the trial takes compared with others: what is fitted for each prompt, and for each model. 0 where
    the set has one domain, and none can be left out.
    """
    data = _loaded(arguments.data, name)
    if protocol == "domain" and _domains(data) < 2:
        return 0.0
    folds = min(_domains(data), MAX_DOMAIN_FOLDS) if protocol == "domain" else arguments.folds
    return folds * (_ROWS_OF_A_FIT + len(data.prompts) + _ROWS_OF_A_MODEL * len(data.models))


def _embed(arguments: argparse.Namespace, name: str) -> float:
    """Write the embeddings of the second encoder to the cache; return the CPU time in seconds."""
    start = time.process_time()
    prompts = with_outcomes(_loaded(arguments.data, name)).prompts
    # Where the extra is missing, the report says so.
    with contextlib.suppress(MissingExtraError):
        embeddings_of(prompts, _encoder(arguments.baseline), _cache())
    return time.process_time() - start


def _evaluate(name: str, protocol: str, arguments: argparse.Namespace, engine: Engine = LOCAL) -> Trial:
    """The set of this name with one protocol."""
    data, models = _loaded(arguments.data, name), arguments.data / "models.json"
    if protocol == "domain" and _domains(data) < 2:
        return Trial(None, 0.0, 0.0)
    wall_s, cpu_s = time.monotonic(), _cpu_s()
    timed = Timed(engine)
    report = evaluate(
        data,
        _encoder(settings.STATIC_ENCODER),
        EvaluationSettings(
            folds=arguments.folds,
            by=PROTOCOLS[protocol],
            baselines=arguments.baselines,
            draws=arguments.draws,
        ),
        baseline_encoder=None if arguments.baseline == "none" else functools.partial(_encoder, arguments.baseline),
        cache=_cache(),
        prices=read_prices(models) if models.is_file() else None,
        engine=timed,
    )
    return Trial(report, time.monotonic() - wall_s, _cpu_s() - cpu_s, timed.cpu_s_of)


def _cache() -> Path:
    return settings.cache_folder() / "embeddings"


@functools.cache
def _loaded(folder: Path, name: str) -> RoutingSet:
    """The set of this name. Processes have what was loaded before they were forked."""
    models = folder / "models.json"
    return load_set(folder / name, read_aliases(models) if models.is_file() else None)


@functools.cache
def _encoder(name: str) -> Encoder:
    """The encoder of this name, which a process loads once."""
    return load_encoder(name)


def _cpu_s() -> float:
    """The CPU time of this process and of the processes that it has waited for, in seconds."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _sets_in(folder: Path) -> list[str]:
    names = sorted(file.parent.name for file in folder.glob("*/scores.csv*"))
    if not names:
        raise CallerError(f"{folder} has no routing data set")
    return names


def _domains(data: RoutingSet) -> int:
    return len(set(data.domains))


def _print_times(trial: Trial) -> None:
    """Print the CPU time of each method, then the rest: loading an encoder, its embeddings, and the intervals."""
    rest = trial.cpu_s - sum(trial.cpu_s_of.values())
    times = {**trial.cpu_s_of, "embeddings, intervals and the rest": rest}
    for name, cpu_s in sorted(times.items(), key=lambda item: -item[1]):
        print(f"{cpu_s:8.1f} s of CPU  {name}")


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
