"""Which adapter is loaded where, simulated: `python -m bench.residency [--json]`.

S-LoRA's synthetic trace (arXiv:2311.03285: gamma arrivals with cv 1, adapters by a power law with α = 0.1 to 1, inputs
and outputs of 8 to 512 tokens) over 2,000 adapters and four servers that run eight calls at once each, at 90 % of what
they could do without loading. The policy is the gateway's own (`router.dispatch.residency`). Speeds are assumed: 0.5
seconds to load an adapter, 5,000 tokens a second to read, 50 to write.

`--served` sends a shorter trace, of 40 adapters and two servers, through the gateway's dispatcher to scripted servers
over HTTP instead, and compares what they saw with the simulation of the same trace.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import msgspec

from bench.residency.measure import Fairness, Hits, fairness, hits
from bench.residency.served import Served, served
from bench.residency.simulator import Options

ALPHAS = (0.1, 0.3, 1.0)
SLOTS = (8, 16, 32, 64)
SERVED_SLOTS = (4, 8)


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=6000, help="the length of each trace")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--served", type=int, metavar="REQUESTS", help="send so many requests to scripted servers")
    parser.add_argument("--rate", type=float, default=12.0, help="of --served: requests a second")
    arguments = parser.parse_args()
    if arguments.served is not None:
        count, rate = arguments.served, arguments.rate
        _print_served([served(alpha, slots, count, rate=rate) for alpha in ALPHAS for slots in SERVED_SLOTS])
        return
    rows = [hits(alpha, Options(slots=slots), arguments.requests) for alpha in ALPHAS for slots in SLOTS]
    shares = fairness(Options(), max(arguments.requests // 40, 20))
    if arguments.json:
        print(json.dumps({"hits": msgspec.to_builtins(rows), "fairness": msgspec.to_builtins(shares)}, indent=1))
    else:
        _print(rows, shares)


COLUMNS: tuple[tuple[str, Callable[[Hits], str]], ...] = (
    ("α", lambda row: f"{row.alpha:g}"),
    ("slots", lambda row: str(row.slots)),
    ("FIFO", lambda row: f"{row.fifo:.3f}"),
    ("LRU", lambda row: f"{row.lru:.3f}"),
    ("ours", lambda row: f"{row.ours:.3f}"),
    ("Belady", lambda row: f"{row.belady:.3f}"),
    ("ours, no queue", lambda row: f"{row.no_looking:.3f}"),
    ("adapters in 32: FIFO", lambda row: f"{row.distinct_first_come:.1f}"),
    ("ours", lambda row: f"{row.distinct:.1f}"),
    ("mean wait: FIFO", lambda row: f"{row.wait_first_come_s:.2f} s"),
    ("ours", lambda row: f"{row.wait_s:.2f} s"),
    ("most passed", lambda row: str(row.most_passed)),
    ("most extra wait", lambda row: f"{row.most_extra_wait_s:.1f} s"),
)


def _print(rows: list[Hits], shares: Fairness) -> None:
    print("| " + " | ".join(name for name, _ in COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    for row in rows:
        print("| " + " | ".join(show(row) for _, show in COLUMNS) + " |")
    print(
        f"\none tenant floods with {shares.flood:g} times what the servers can do: token counters at most"
        f" {shares.most_apart:,.0f} apart (bound {shares.bound:,.0f}); the other tenant's requests wait"
        f" {shares.wait_s:.1f} s (p95 {shares.wait_p95_s:.1f} s), first come, first served"
        f" {shares.wait_first_come_s:.1f} s (p95 {shares.wait_p95_first_come_s:.1f} s)"
    )


def _print_served(rows: list[Served]) -> None:
    print("| α | slots | loads | simulated | hits | simulated | LRU | Belady | most held | answered by their adapter |")
    print("|" + "---|" * 10)
    for row in rows:
        print(
            f"| {row.alpha:g} | {row.slots} | {row.loads} | {row.simulated_loads} | {row.hits:.3f}"
            f" | {row.simulated_hits:.3f} | {row.lru:.3f} | {row.belady:.3f} | {row.held} | {100 * row.right:.1f} % |"
        )


if __name__ == "__main__":
    main()
