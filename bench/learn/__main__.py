"""The error memory beside no learning and a plain running mean, on real outcomes: `python -m bench.learn`.

Streams of real prompts and outcomes of a set; a tenth of the answers are judged, by five tenants. After a third of each
stream something happens to the card that answers most. Quality is the mean real score of honest tenants' answers: of
all requests after the change, of those until 200 votes after it, and of the rest; with 95 % intervals over the streams.
`removed` knows what happens and leaves the card out from then on; *half way* is after how many votes the quality is
above the mean of this and of no learning. `--tune` prints a grid of the memory's constants on
other prompts, cards and streams, which is how they were chosen.
"""

from __future__ import annotations

import functools
import itertools
import sys
import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from bench.learn.methods import ErrorMemory, Method, NoLearning, Run, RunningMean, half_way, noticed, run
from bench.learn.options import parser_of
from bench.learn.streams import SCENARIOS, TRAINING_SCENARIOS, Outcomes, Stream, load, stream_of, without_favourites
from router import settings
from router.commands.render import console, table
from router.errors import PulvinarError
from router.loading import load_encoder
from router.perceive.memory.card import RULE

SETS = ("mmlu_pro", "llmrouter_default")
_METHODS: dict[str, Callable[[int], Method]] = {
    "no learning": NoLearning,
    "running mean": RunningMean,
    "error memory": ErrorMemory,
}
_SOON_VOTES = 200
_WORLDS = 6


def main() -> None:
    """Print one table for each set."""
    parser = parser_of(__doc__, SETS, streams=4, requests=4_000)
    parser.add_argument("--tune", action="store_true", help="a grid of constants, on what judges nothing")
    arguments = parser.parse_args()
    encoder = load_encoder(settings.STATIC_ENCODER)
    for name in arguments.sets:
        start = time.monotonic()
        outcomes = load(arguments.data / name, encoder, "tune" if arguments.tune else "judge")
        if arguments.tune:
            tune(outcomes, arguments.streams, arguments.requests)
        else:
            judge(outcomes, arguments.streams, arguments.requests)
        print(f"{name}: {time.monotonic() - start:.0f} s\n", flush=True)


def judge(outcomes: Outcomes, streams: int, requests: int) -> None:
    """Print every scenario with every method."""
    shown = table(
        "what happens",
        "method",
        "after",
        "95 %",
        "first 200 votes",
        "later",
        "over none, 95 %",
        "noticed after",
        "half way",
    )
    for scenario in SCENARIOS:
        all_streams = [stream_of(outcomes, scenario, seed, requests) for seed in range(streams)]
        results = {name: [run(stream, make) for stream in all_streams] for name, make in _METHODS.items()}
        if scenario.fault in ("drop", "replaced"):
            results["removed"] = [run(stream, NoLearning, stream.favourite) for stream in all_streams]
        removed = results.get("removed")
        none = np.array(
            [_after(stream, result) for stream, result in zip(all_streams, results["no learning"], strict=True)]
        )
        for name, runs in results.items():
            after = np.array([_after(stream, result) for stream, result in zip(all_streams, runs, strict=True)])
            soon, later = _soon_and_later(all_streams, runs)
            votes = [noticed(stream, result) for stream, result in zip(all_streams, runs, strict=True)]
            print(f"{scenario.name}, {name}: {after.mean():.4f}", file=sys.stderr, flush=True)
            is_found = scenario.fault != "none" and name not in ("no learning", "removed")
            shown.add_row(
                scenario.name if name == "no learning" else "",
                name,
                f"{after.mean():.4f}",
                _interval(after),
                f"{soon:.4f}",
                f"{later:.4f}",
                "" if name == "no learning" else f"{(after - none).mean():+.4f} {_interval(after - none)}",
                _votes(votes) if is_found else "",
                _votes([half_way(all_streams, runs, results["no learning"], removed)]) if removed and is_found else "",
            )
    console().print(
        f"[bold]{outcomes.name}[/]: {len(outcomes.cards)} cards, {len(outcomes.scores)} prompts, {streams} streams of "
        f"{requests} requests"
    )
    console().print(shown)


def tune(outcomes: Outcomes, streams: int, requests: int) -> None:
    """Print the quality of a grid of constants, over no learning, in the scenarios that pull in opposite directions.

    The streams are those of several catalogues: with all cards, and without the best ones.
    """
    scenarios, worlds = TRAINING_SCENARIOS, without_favourites(outcomes, _WORLDS)
    shown = table("constants", *(each.name for each in scenarios), "sum")
    prepared = {
        each.name: [stream_of(world, each, 100 + seed, requests) for world in worlds for seed in range(streams)]
        for each in scenarios
    }
    none = {name: [_after(stream, run(stream, NoLearning)) for stream in of] for name, of in prepared.items()}
    for changes in _grid():
        rule = msgspec.structs.replace(RULE, **changes)
        make = functools.partial(ErrorMemory, rule=rule)
        gains = [
            np.mean([_after(stream, run(stream, make)) for stream in of]) - np.mean(none[name])
            for name, of in prepared.items()
        ]
        label = ", ".join(f"{name} {value:g}" for name, value in changes.items()) or "as they are"
        shown.add_row(label, *(f"{gain:+.4f}" for gain in gains), f"{sum(gains):+.4f}")
        print(label, *(f"{gain:+.4f}" for gain in gains), flush=True)
    console().print(shown)


def _grid() -> Sequence[dict[str, float]]:
    values = {
        "doubt": (0.5, 1.5, 2.5),
        "worth": (0.0, 0.002, 0.004),
        "least_scored": (0.0, 15.0),
        "half_life": (100.0, 400.0),
        "fast_half_life": (6.0, 25.0),
        "score_half_life": (25.0, 100.0),
        "prior": (2.0, 10.0),
        "sketch_prior": (8.0, 30.0),
    }
    # One constant at a time around what is chosen: the full grid takes days.
    single = [{name: value} for name, tried in values.items() for value in tried]
    return [{}, *single]


def _after(stream: Stream, result: Run) -> float:
    return float(np.nanmean(result.scores[stream.change_at :]))


def _soon_and_later(streams: Sequence[Stream], runs: Sequence[Run]) -> tuple[float, float]:
    soon, later = [], []
    for stream, result in zip(streams, runs, strict=True):
        votes = list(itertools.accumulate(stream.votes[stream.change_at :].tolist()))
        end = stream.change_at + next((n for n, count in enumerate(votes) if count >= _SOON_VOTES), len(votes))
        soon.append(np.nanmean(result.scores[stream.change_at : end]))
        later.append(np.nanmean(result.scores[end:]))
    return float(np.mean(soon)), float(np.mean(later))


def _votes(votes: Sequence[float]) -> str:
    median = float(np.median(votes))
    found = sum(np.isfinite(votes))
    return f"{median:.0f} votes" if np.isfinite(median) else f"in {found} of {len(votes)}"


def _interval(values: np.ndarray) -> str:
    """The 95 % bootstrap interval of a mean over streams."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (1_000, len(values)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return f"[{low:+.4f} {high:+.4f}]"


if __name__ == "__main__":
    try:
        main()
    except PulvinarError as error:
        raise SystemExit(f"bench.learn: {error} (--data names the folder of the sets)") from None
