"""Records on their way into a database: `python -m bench.records [--records N] [--database postgresql://…]`.

SQLite, and PostgreSQL where an empty database is named. Printed are, for each, what a request waits for its record
(the journal, which is the same for both), the records a second that arrive in the database, and the CPU time of the
gateway's process for each, in which the request's own part and the move are added.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from msgspec import Struct

from router import Router
from router.store import open_store
from router.store.records.journal import Journal, sqlite_in
from router.store.records.postgres.address import read_address
from router.store.records.record import Record
from router.store.records.snapshots import Snapshots, catalogue_snapshot
from router.types import Attempt, Outcome, Usage
from router.wire import ChatRequest

_MB = 2**20


class Measured(Struct, frozen=True):
    """Microseconds that `append` takes and CPU microseconds in all, of each record; and records a second."""

    append_us: float
    cpu_us: float
    moved_per_s: float


def measure(folder: Path, database: str | None, count: int) -> Measured:
    """Append `count` records of a real decision, and move them."""
    if database is None:
        destination = sqlite_in(folder)
    else:
        from router.store.records.postgres.queue import destination as postgres

        destination = postgres(read_address(database))
    journal = Journal.open(folder, destination, limit_bytes=4096 * _MB, interval_s=3600)
    records = _records(journal, count)
    cpu_s, started_s = time.process_time(), time.perf_counter()
    for record in records:
        journal.append(record)
    appended_s = time.perf_counter() - started_s
    journal.flush()
    ended_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    journal.close()
    store = open_store(folder, records=database).read_records()
    assert store is not None
    with store:
        assert sum(hour.requests for hour in store.totals(["hour"], 0, 1e11, ["chat"])) == count
    return Measured(appended_s / count * 1e6, cpu_s / count * 1e6, count / (ended_s - appended_s))


def _records(journal: Journal, count: int) -> list[Record]:
    router = Router.default()
    snapshots = Snapshots(catalogue_snapshot(router.catalog, router.evidence), journal.keep)
    routed = router.route(ChatRequest.from_prompt("What is 17*23?"), unavailable={})
    card = routed.decision.card
    outcome = Outcome(200, 900.0, card, (Attempt(card, card, 200, 300.0),), Usage(100, 200), 0.002, 210.0, 2.5)
    decision, now_s = snapshots.decision_record(routed), time.time()
    return [
        Record(f"req_{number:032x}", now_s, "chat", "auto", False, outcome, "team", decision=decision)
        for number in range(count)
    ]


def main() -> None:
    """Print a line for each database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--database", help="An empty PostgreSQL database.")
    arguments = parser.parse_args()
    print(f"{'':12s}{'append, us':>12s}{'CPU, us':>12s}{'records/s':>12s}")
    for name, database in (("SQLite", None), ("PostgreSQL", arguments.database)):
        if database is None and name != "SQLite":
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder), database, arguments.records)
        print(f"{name:12s}{found.append_us:12.1f}{found.cpu_us:12.1f}{found.moved_per_s:12,.0f}", flush=True)


if __name__ == "__main__":
    main()
