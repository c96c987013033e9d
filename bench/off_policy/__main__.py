"""Off-policy estimates and exploration on real outcomes: `python -m bench.off_policy`.

`coverage`: a policy that always takes the best forecast explores 2 or 5 % of its requests, a tenth of whose answers are
judged; other policies are estimated from 200 logs of 20,000 requests each. `limits`: 100,000 decisions with random
limits and unavailable cards explore as much as possible, and are checked. `improved`: a card that is not chosen becomes
better, and `learning: apply` with and without exploration notices it or does not. `--tune` uses the prompts and cards
on which constants may be chosen.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.learn.streams import Outcomes, load
from bench.off_policy.coverage import METHODS, replay
from bench.off_policy.decisions import actions_of, logging_policy
from bench.off_policy.improved import improved
from bench.off_policy.limits import check_limits
from router import settings
from router.commands.render import console, table
from router.decide.policy import Policy
from router.errors import PulvinarError
from router.loading import load_encoder
from router.types import Indices

SETS = ("mmlu_pro", "llmrouter_default")
PARTS = ("coverage", "limits", "improved")
_BEST = Policy(id="best", description="The best forecast.")


def main() -> None:
    """Print the tables of the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=PARTS)
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--only", nargs="*", default=(), help="of the policies that are estimated, only these")
    parser.add_argument("--tune", action="store_true", help="on prompts and cards that judge nothing")
    arguments = parser.parse_args()
    if "limits" in arguments.parts:
        check_limits(arguments.decisions)
    encoder = load_encoder(settings.STATIC_ENCODER)
    for name in arguments.sets if {"coverage", "improved"} & set(arguments.parts) else ():
        start = time.monotonic()
        outcomes = load(arguments.data / name, encoder, "tune" if arguments.tune else "judge")
        if "coverage" in arguments.parts:
            coverage(outcomes, arguments.replays, arguments.requests, arguments.only)
        if "improved" in arguments.parts:
            improved(outcomes, arguments.streams, arguments.requests)
        print(f"{name}: {time.monotonic() - start:.0f} s\n", flush=True)


def coverage(outcomes: Outcomes, replays: int, requests: int, only: Sequence[str]) -> None:
    """Print how often intervals cover the truth, for each target."""
    targets = {name: target for name, target in _targets(outcomes).items() if not only or name in only}
    for share, judged in ((0.02, 0.1), (0.05, 0.5)):
        logging = logging_policy(outcomes, _BEST, share)
        shown = table("NEW", "supported", "judged", "truth", "gain", "gain covered", "±", *METHODS, "direct")
        for name, target in targets.items():
            seed = 1 + int(1000 * share)
            found = replay(outcomes, logging, target, requests=requests, judged=judged, replays=replays, seed=seed)
            covered, width, _ = found.of_gain.texts()
            methods = (" ".join(found.by_method[method].texts()) for method in METHODS)
            shown.add_row(
                name,
                f"{found.supported:.0%}",
                f"{found.deviating:.0f}",
                f"{found.truth:.3f}",
                f"{found.gain:+.3f}",
                covered,
                width,
                *methods,
                f"{found.direct_error:.4f}",
            )
            print(name, share, judged, covered, width, file=sys.stderr, flush=True)
        console().print(
            f"[bold]{outcomes.name}[/]: {len(outcomes.cards)} cards, {len(outcomes.scores)} prompts; {share:.0%} "
            f"explored, {judged:.0%} judged, {replays} logs of {requests} requests; of each method: covered, half "
            "width, root mean square error"
        )
        console().print(shown)


def _targets(outcomes: Outcomes) -> dict[str, Indices]:
    level = outcomes.expected.mean(axis=0)
    favourite, second = np.argsort(-level, kind="stable")[:2].tolist()
    size = len(outcomes.scores)
    runner_up = np.argsort(-outcomes.compared, axis=1, kind="stable")[:, 1]
    return {
        "as today": actions_of(outcomes, _BEST),
        "with a guard": actions_of(outcomes, Policy(id="guard", description="d", guard="on")),
        "cheapest*0.05": actions_of(outcomes, _BEST, "cheapest*0.05"),
        "mistake_usd: 1": actions_of(outcomes, Policy(id="cost", description="d", mistake_usd=1.0)),
        "one card for all": np.full(size, favourite),
        "another card for all": np.full(size, second),
        "always the second forecast": runner_up,
    }


if __name__ == "__main__":
    try:
        main()
    except PulvinarError as error:
        raise SystemExit(f"bench.off_policy: {error} (--data names the folder of the sets)") from None
