"""What plans add to the time of a decision: `OMP_NUM_THREADS=1 python -m bench.compose.overhead`.

A catalogue of 44 cards, the shipped plans and one cascade of three. Each prompt, of about 100 tokens, is decided
with plans and without, in turn; each counts with the least CPU time of some tries, so that other work on the machine
matters little. `plans off` is the difference between a router that has plans, which the policy does not name, and one
that has none.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import msgspec

from bench.decision import many_cards, texts
from router import Router
from router.decide.plans.catalog import Plans, load_plans
from router.decide.plans.spec import Best, Cascade
from router.decide.policy import Policy
from router.settings import shipped_plans_folder
from router.wire.chat.request import ChatRequest

CARDS = 44
WARM_UP = 30
_LADDER = Cascade(
    id="ladder",
    description="Two cheaper cards, then the policy's best.",
    members=(Best(1, ("price<1$",)), Best(1, ("price<3$",)), Best(1)),
)


def main() -> None:
    """Print the times of decisions, and the differences, in milliseconds of CPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--tries", type=int, default=5, help="of each decision; the fastest counts")
    arguments = parser.parse_args()
    shipped = Router.default()
    plans = Plans([*load_plans(shipped_plans_folder()).values(), _LADDER])
    catalog = many_cards(shipped.catalog, CARDS)
    without = Router(catalog, shipped.policies, shipped.predictor)
    router = Router(catalog, shipped.policies, shipped.predictor, plans=plans)
    off = shipped.policies.named("default")
    on = msgspec.structs.replace(off, plans=plans.ids)
    cases = {"no plans": (without, off), "plans off": (router, off), f"{len(plans)} plans": (router, on)}
    requests = [ChatRequest.from_prompt(text) for text in texts(arguments.prompts + WARM_UP)]
    times = measured(list(cases.values()), requests, arguments.tries)
    base = times[0]
    print(f"{CARDS} cards, {arguments.prompts} prompts, one thread: ms of CPU, median (least)")
    for name, found in zip(cases, times, strict=True):
        more = [each - first for each, first in zip(found, base, strict=True)]
        print(
            f"{name:12s}{statistics.median(found):8.3f} ({min(found):.3f})"
            f"   more: {statistics.median(more):.3f} ({statistics.median(found) / statistics.median(base):.2f} ×)"
        )


def measured(cases: Sequence[tuple[Router, Policy]], requests: Sequence[ChatRequest], tries: int) -> list[list[float]]:
    """For each case the times of all requests but the first ones, in ms; the cases take turns."""
    times: list[list[float]] = [[] for _ in cases]
    for request in requests:
        least = [float("inf")] * len(cases)
        for turn in range(tries * len(cases)):
            # After another case the caches of the processor are cold, so the order changes.
            for number in sorted(range(len(cases)), key=lambda number: number * (turn % 2 or -1)):
                router, policy = cases[number]
                start = time.thread_time_ns()
                router.route(request, policy=policy)
                least[number] = min(least[number], (time.thread_time_ns() - start) / 1e6)
        for found, each in zip(times, least, strict=True):
            found.append(each)
    return [found[WARM_UP:] for found in times]


if __name__ == "__main__":
    main()
