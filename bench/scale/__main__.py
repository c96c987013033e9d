"""Machines for 1,000, 10,000 and 100,000 requests a second: `python -m bench.scale [--quick] [--json FILE]`.

First it measures, here: CPU and throughput of one and two workers, shared operations of SQLite, Redis and PostgreSQL
(where Debian's packages are installed), decisions among 56, 1,000 and 10,000 cards, files of 1,000 to 100,000 keys.
From these it computes the machines for each rate, by utilisation targets and a queueing formula, simulates each, and
compares the formula with the simulation and with the measured gateways. Less than five minutes; `--quick` is for a
test. Linux only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.scale.catalogue import measure_cards, measure_keys
from bench.scale.plan import Costs, Size, predicted_ms, size_for, stations
from bench.scale.queueing import wait_percentile_ms
from bench.scale.report import Check, Measured, report
from bench.scale.simulation import simulate
from bench.scale.stores import (
    MissingServerError,
    RecordCosts,
    postgres_record,
    redis_operation_ms,
    skipped,
    sqlite_costs,
)
from bench.scale.workers import measure_workers

T = TypeVar("T")
RATES = (1_000.0, 10_000.0, 100_000.0)
_SIMULATED_WORKERS = 400


class Amounts(msgspec.Struct, frozen=True):
    """How much is measured."""

    requests: int = 3_000
    operations: int = 2_000
    batches: int = 30
    rounds: int = 300
    cards: tuple[int, ...] = (0, 1_000, 10_000)
    tenants: tuple[int, ...] = (1_000, 7_000, 100_000)
    simulated: int = 40_000
    workers: tuple[int, ...] = (1, 2)


QUICK = Amounts(150, 50, 1, 10, (0, 1_000), (1_000,), 4_000, (1,))


def measure(amounts: Amounts, scratch: Path) -> Measured:
    """Everything that is measured on this machine."""
    workers = _timed("workers", lambda: measure_workers(scratch, amounts.requests, amounts.workers))
    sqlite = _timed("SQLite", lambda: sqlite_costs(scratch / "store", amounts.operations))
    redis: float | None = None
    postgres: RecordCosts | None = None
    try:
        redis = _timed("Redis", lambda: redis_operation_ms(amounts.requests))
    except MissingServerError as problem:
        skipped(problem)
    try:
        postgres = _timed("PostgreSQL", lambda: postgres_record(scratch / "postgres", amounts.batches))
    except MissingServerError as problem:
        skipped(problem)
    cards = _timed("cards", lambda: [measure_cards(count, amounts.rounds) for count in amounts.cards])
    keys = _timed("keys", lambda: [measure_keys(count, scratch) for count in amounts.tenants])
    costs = Costs(
        routed_ms=workers[0].cpu_ms,
        named_ms=workers[1].cpu_ms,
        cs2=min(workers[0].cs2, 1.0),
        sqlite_reserve_ms=sqlite.reserve_ms,
        sqlite_record_ms=sqlite.record_ms,
        reserve_ms=redis,
        copied_row_ms=None if postgres is None else postgres.row_ms,
        record_bytes=None if postgres is None else postgres.row_bytes,
    )
    return Measured(costs, workers, cards, keys)


def check(sizes: list[Size], costs: Costs, simulated: int) -> list[Check]:
    """Formula beside simulation at every station of sizes that are not too large."""
    checks = []
    for size in sizes:
        if size.workers > _SIMULATED_WORKERS:
            continue
        places = stations(size, costs)
        for place, found in zip(places, simulate(places, size.rate, simulated), strict=True):
            formula, busy = predicted_ms(place, size.rate)
            p99 = wait_percentile_ms(99, place.servers, busy, place.service_ms, place.cs2)
            name = f"{place.name} at {size.rate:,.0f}/s"
            checks.append(Check(name, busy, found.utilisation, formula, found.mean_ms, p99, found.p99_ms))
    return checks


def main() -> None:
    """Read the command line, measure, compute, simulate, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="hardly any measurement: for a test")
    parser.add_argument("--json", type=Path, help="write all figures to this file, too")
    options = parser.parse_args()
    amounts = QUICK if options.quick else Amounts()
    # PostgreSQL's user must be able to enter it.
    with tempfile.TemporaryDirectory(prefix="pulvinar-scale-") as folder:
        scratch = Path(folder)
        scratch.chmod(0o755)
        measured = measure(amounts, scratch)
    sizes = [size_for(rate, measured.costs) for rate in RATES]
    checks = check(sizes, measured.costs, amounts.simulated)
    print(report(measured, sizes, checks))
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode((measured, sizes, checks)), indent=1))


def _timed(name: str, call: Callable[[], T]) -> T:
    start = time.perf_counter()
    result = call()
    print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return result


if __name__ == "__main__":
    main()
