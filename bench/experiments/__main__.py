"""How often experiments err, and how soon they end: `python -m bench.experiments`.

Replays of real outcomes (`router.learn.data`): keys that ask about different domains, some much more than others, are
sent to one of two arms, and every judged answer is looked at. Without a difference (one card in both arms), a test that
says otherwise errs: 5 % may. With one, the share that finds it is the power, and how many judged answers that takes is
put beside the number that a test needs which is looked at once. Intervals are Wilson's, 95 %.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from bench.experiments.replays import (
    By,
    Scores,
    Test,
    always_valid,
    at_the_end,
    fixed_size,
    interval,
    load,
    peeking,
    replay,
    units_at_the_end,
)
from router.commands.render import console, table
from router.errors import PulvinarError

SETS = ("mmlu_pro", "llmrouter_default")
TESTS: dict[str, Test] = {
    "route experiment": always_valid,
    "t-test after every answer": peeking,
    "t-test of answers, once": at_the_end,
    "t-test of units, once": units_at_the_end,
}
_KEYS = 300


def main() -> None:
    """Print both tables for each set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--replays", type=int, default=1_000)
    parser.add_argument("--powered", type=int, default=100, help="replays with a difference")
    parser.add_argument("--judged", type=int, default=2_000, help="judged answers of a replay without a difference")
    parser.add_argument("--most-judged", type=int, default=6_000, help="judged answers of a replay with one, at most")
    arguments = parser.parse_args()
    for name in arguments.sets:
        start = time.monotonic()
        scores = load(arguments.data / name)
        print(f"{scores.name}: {len(scores.scores):,} prompts, {len(scores.cards)} cards", flush=True)
        errors(scores, arguments.replays, arguments.judged)
        power(scores, arguments.powered, arguments.most_judged)
        print(f"{scores.name}: {time.monotonic() - start:.0f} s\n", flush=True)


def errors(scores: Scores, replays: int, judged: int) -> None:
    """Print how often each test says that equal arms differ."""
    shown = table("arms by", "test", "errs", "95 %", right=("errs", "95 %"))
    kinds: tuple[By, ...] = ("key", "conversation")
    for by in kinds:
        hits = dict.fromkeys(TESTS, 0)
        for seed in range(replays):
            card = seed % len(scores.cards)
            stream = replay(scores, (card, card), by, judged, _KEYS, seed)
            for name, test in TESTS.items():
                hits[name] += test(stream) is not None
            if seed % 100 == 99:
                print(f"{by}: {seed + 1} of {replays}, {hits}", file=sys.stderr, flush=True)
        for name, count in hits.items():
            low, high = interval(count, replays)
            shown.add_row(by, name, f"{100 * count / replays:.1f}%", f"{100 * low:.1f}% to {100 * high:.1f}%")
    console().print(f"{replays} replays of {judged} judged answers by {_KEYS} keys, without a difference")
    console().print(shown)


def power(scores: Scores, replays: int, judged: int) -> None:
    """Print how often, and after how many judged answers, a difference is found."""
    numbers = ("difference", "found", "95 %", "median", "90 % within", "once, for 80 %")
    shown = table("arms by", "cards", *numbers, right=numbers)
    kinds: tuple[By, ...] = ("key", "conversation")
    for by in kinds:
        for cards in _pairs(scores):
            ends = [always_valid(replay(scores, cards, by, judged, _KEYS, 10_000 + seed)) for seed in range(replays)]
            found = [end for end in ends if end is not None]
            low, high = interval(len(found), replays)
            sorted_ends = sorted(end if end is not None else np.inf for end in ends)
            difference = float((scores.scores[:, cards[1]] - scores.scores[:, cards[0]]).mean())
            size = fixed_size(scores, cards, by, _KEYS, range(20_000, 20_010))
            shown.add_row(
                by,
                f"{scores.cards[cards[0]]}, {scores.cards[cards[1]]}",
                f"{difference:+.3f}",
                f"{100 * len(found) / replays:.0f}%",
                f"{100 * low:.0f}% to {100 * high:.0f}%",
                _count(sorted_ends[len(sorted_ends) // 2]),
                _count(sorted_ends[int(0.9 * len(sorted_ends))]),
                f"{size:,}",
            )
            print(f"{by}, {cards}: {len(found)} of {replays}", file=sys.stderr, flush=True)
    console().print(f"{replays} replays of {judged} judged answers by {_KEYS} keys, with a difference")
    console().print(shown)


def _pairs(scores: Scores) -> list[tuple[int, int]]:
    """The best card beside those that are nearest to being worse by .05, .1 and .2."""
    means = scores.scores.mean(axis=0)
    others = range(1, len(means))
    return [
        (0, min(others, key=lambda card, wanted=wanted: abs(means[0] - wanted - means[card])))  # type: ignore[misc]
        for wanted in (0.05, 0.1, 0.2)
    ]


def _count(number: float) -> str:
    return f"{number:,.0f}" if np.isfinite(number) else "not found"


if __name__ == "__main__":
    try:
        main()
    except PulvinarError as error:
        raise SystemExit(f"bench.experiments: {error} (--data names the folder of the sets)") from None
