"""The effect of the guard on the quality of real answers: `python -m bench.guard [--data DIR] [SET …]`.

For each routing data set and protocol, one line for every confidence: how often another card than the default one
answers, the quality of the answers, the difference to always choosing the default card and the forecast of this
difference, and the difference to the model that is best on the whole set; with 95 % intervals over the prompts. Then
the same for thresholds of novelty. The rule named under each table is the least cautious one under which no set's
answers are significantly worse than those of the default card.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.guard_trial import Interval, RuleResult, Trial, apply_rules, first_safe_rule, try_out
from router import settings
from router.commands.render import console, table
from router.decide.guard import GuardRule
from router.errors import CallerError, PulvinarError
from router.learn.data import load_set
from router.learn.data.vectors import vectors_of
from router.learn.evaluation.splits import Split, k_folds, leave_domain_out
from router.loading import load_encoder
from router.perceive.text.encoder import Encoder

SETS = ("mmlu_pro", "llmrouter_default", "mmlu_helm", "mint", "arena_bench_v1", "routerbench_part")
CONFIDENCES = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99)
NOVELTIES = (1.0, 0.99, 0.98, 0.95, 0.9, 0.75, 0.5)


def main() -> None:
    """Print one table for each set and protocol."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=2_000, help="maximum number of prompts of a set; 0 uses all")
    arguments = parser.parse_args()
    encoder = load_encoder(settings.STATIC_ENCODER)
    start = time.monotonic()
    trials = [
        trial
        for name in arguments.sets
        for trial in trials_of(arguments.data / name, encoder, arguments.folds, arguments.prompts)
    ]
    print(f"({time.monotonic() - start:.0f} s of fitting and forecasting)\n")
    safe = compare(trials, [GuardRule(confidence=confidence, novelty=1.0) for confidence in CONFIDENCES], "confidence")
    confidence = GuardRule().confidence if safe is None else safe.confidence
    print(f"With confidence {confidence:g}:\n")
    compare(trials, [GuardRule(confidence, novelty) for novelty in NOVELTIES], "novelty", detailed=False)
    by_novelty(trials)


def trials_of(folder: Path, encoder: Encoder, folds: int, most: int) -> Iterator[Trial]:
    """Trials on at most `most` prompts of a set: with random folds, and with one fold per domain where possible."""
    data = load_set(folder)
    order = np.random.default_rng(0).permutation(len(data.prompts))
    data = data.rows(np.sort(order[:most]) if most else order)
    vectors = vectors_of(data.prompts, encoder)
    protocols: dict[str, Callable[[], Iterator[Split]]] = {
        f"{folds} folds": lambda: k_folds(data, folds, 0),
        "domains out": lambda: leave_domain_out(data),
    }
    for protocol, split in protocols.items():
        start = time.monotonic()
        try:
            splits = tuple(split())
        except CallerError as error:
            print(f"skipped: {error}")
            continue
        yield try_out(data, vectors, encoder, splits, protocol)
        seconds = time.monotonic() - start
        print(f"{data.name}, {len(data.prompts)} prompts, {protocol}: {len(splits)} fits, {seconds:.0f} s", flush=True)


def compare(
    trials: Sequence[Trial], rules: Sequence[GuardRule], field: str, *, detailed: bool = True
) -> GuardRule | None:
    """Print one table for each trial, with one line for each rule; then the first safe rule, which is returned."""
    results = {f"{trial.data_set}, {trial.protocol}": apply_rules(trial, rules) for trial in trials}
    headers = (field, "released", "quality", "over default", "95 %", "promised", "over best single", "95 %")
    for name, of_trial in results.items() if detailed else ():
        shown = table(*headers, right=headers)
        for result in of_trial:
            default, single = result.over_default, result.over_single
            shown.add_row(
                f"{getattr(result.rule, field):g}",
                f"{result.released:.1%}",
                f"{result.quality:.4f}",
                f"{default.value:+.4f}",
                span(default),
                f"{result.promised:+.4f}",
                f"{single.value:+.4f}",
                span(single),
            )
        console().print(f"[bold]{name}[/]")
        console().print(shown)
        print()
    summarise(results, rules, field)
    safe = first_safe_rule(results.values())
    print(f"least cautious safe {field}: {'none' if safe is None else getattr(safe, field)}\n")
    return safe


def summarise(results: Mapping[str, Sequence[RuleResult]], rules: Sequence[GuardRule], field: str) -> None:
    """Print the mean and the least gain of each rule, and the trials where it loses significantly."""
    headers = (field, "mean over default", "worst", "loses to default", "loses to best single")
    shown = table(*headers, right=headers[:3])
    for number, rule in enumerate(rules):
        of_rule = {name: of_trial[number] for name, of_trial in results.items()}
        gains = [result.over_default.value for result in of_rule.values()]
        shown.add_row(
            f"{getattr(rule, field):g}",
            f"{np.mean(gains):+.4f}",
            f"{min(gains):+.4f}",
            "; ".join(name for name, result in of_rule.items() if result.over_default.high < 0) or "never",
            "; ".join(name for name, result in of_rule.items() if result.over_single.high < 0) or "never",
        )
    console().print(shown)


def by_novelty(trials: Sequence[Trial]) -> None:
    """Print the gain of the best card over the default card, by the novelty of the prompt."""
    bands = ((0.0, 0.5), (0.5, 0.9), (0.9, 0.95), (0.95, 0.98), (0.98, 0.99), (0.99, 1.0))
    headers = [f"{low:g}-{high:g}" for low, high in bands]
    shown = table("gain of the best card over the default card, by novelty", *headers, right=headers)
    for trial in trials:
        gain = trial.best_score - trial.default_score
        cells = []
        for low, high in bands:
            inside = (trial.novelty > low) & (trial.novelty <= high) if low else trial.novelty <= high
            cells.append(f"{gain[inside].mean():+.3f} ({inside.sum()})" if inside.any() else "")
        shown.add_row(f"{trial.data_set}, {trial.protocol}", *cells)
    console().print(shown)


def span(interval: Interval) -> str:
    """The two ends of the interval, for a table."""
    return f"{interval.low:+.4f} {interval.high:+.4f}"


if __name__ == "__main__":
    try:
        main()
    except PulvinarError as error:
        raise SystemExit(f"bench.guard: {error} (--data names the folder of the sets)") from None
