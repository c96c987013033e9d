"""The dashboard over many records: `python -m bench.dashboard [--records N] [--database postgresql://…]`.

The records are those of decisions by the shipped cards, over thirty days, each many times with another id and time. A
real `route serve` answers; printed is how long it takes, from the request to the last byte on loopback, and the
processor time of the gateway, which other programs of the machine do not change (Linux only).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import msgspec

from router import Router
from router.store import Backend, open_store
from router.store.records.feedback import Feedback
from router.store.records.record import Record, Snapshot
from router.store.records.snapshots import Snapshots, catalogue_snapshot
from router.types import Attempt, Outcome, Usage
from router.wire import ChatRequest

_PROMPTS = (
    "What is 17*23?",
    "Write a haiku about rain.",
    "Prove that there are infinitely many primes.",
    "Summarise it.",
)
_DAYS_S = 30 * 86_400.0
_BATCH = 5000
_TRIES = 5
_FEEDBACK = 2000
_PATHS = (
    *("setup", "cards", "traffic?hours=24", "traffic?hours=720", "savings?hours=720", "routing?hours=720"),
    *("values?hours=720", "what-if?hours=720&cost=2"),
    *(
        "requests?limit=100",
        "requests?limit=100&errors=1",
        "requests?limit=100&card=gpt-4o-mini",
        "requests?limit=100&before={id}",
    ),
    "requests/{id}",
)


def fill(backend: Backend, count: int) -> str:
    """Write `count` records; returns the id of one of the newest."""
    router, rng, now_s = Router.default(), random.Random(7), time.time()
    kept: list[Snapshot] = []
    snapshots = Snapshots(catalogue_snapshot(router.catalog, router.evidence), kept_in(kept))
    hosted = {card.id: "no key" for card in router.catalog if card.provider not in ("openai", "anthropic")}
    today = datetime.datetime.fromtimestamp(now_s, datetime.UTC).date()
    samples = []
    for policy in ("default", "cheap", "best"):
        for prompt in _PROMPTS:
            routed = router.route(ChatRequest.from_prompt(prompt), policy=policy, unavailable=hosted, today=today)
            card = routed.decision.card
            whole = Outcome(200, 900.0, card, (Attempt(card, card, 200, 300.0),), Usage(100, 200), 0.002, 210.0, 2.5)
            failed = Outcome(502, 30.0, attempts=(Attempt(card, card, None, 30.0, "refused"),), error="upstream_error")
            decision = snapshots.decision_record(routed)
            samples += [
                Record("", 0.0, "chat", "auto", False, outcome, f"team-{number}", decision=decision)
                for number, outcome in enumerate((*[whole] * 24, failed))
            ]
    with backend.archive() as records:
        records.add(kept, now_s)
        # In the order of time, as a gateway writes them: that is also much faster.
        times = sorted(now_s - rng.random() * _DAYS_S for _ in range(count))
        for start in range(0, count, _BATCH):
            batch = enumerate(times[start : start + _BATCH], start)
            records.add([_again(rng.choice(samples), number, at) for number, at in batch], now_s)
        judged = records.tail(_FEEDBACK)
    with backend.archive() as records:
        # Days that are over are added up with the first record of a day.
        records.add([], now_s)
    with backend.feedback() as store:
        for record in judged:
            if record.outcome.card is not None:
                store.add(Feedback(record.id, rng.random(), now_s), of_any_key=True)
    return judged[-1].id


def kept_in(kept: list[Snapshot]) -> Callable[[Snapshot], bool]:
    """What stores a snapshot by adding it to this list."""

    def keep(snapshot: Snapshot) -> bool:
        kept.append(snapshot)
        return True

    return keep


def _again(sample: Record, number: int, at: float) -> Record:
    return msgspec.structs.replace(sample, id=f"req_{number:08}", at=at)


@contextlib.contextmanager
def serving(folder: Path, database: str | None = None) -> Iterator[tuple[str, int]]:
    """A `route serve` of the records in `folder` or `database`; the value is its URL and its process id."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    keys = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY"), "not-called")
    command = [sys.executable, "cli.py", "serve", "--port", str(port), "--store", str(folder)]
    place = {} if database is None else {"PULVINAR_RECORDS": database}
    process = subprocess.Popen(
        command, env={**os.environ, **keys, **place}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
            _wait_for(client)
        _wait_for_idle(process.pid)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()


class Times(NamedTuple):
    """Of several tries: the median of the milliseconds that an answer takes, and the mean of those of the processor."""

    median_ms: float
    cpu_ms: float


def measure(folder: Path, id_: str, database: str | None) -> Iterator[tuple[str, Times]]:
    """How long each page's data takes."""
    with serving(folder, database) as (url, process), httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        for path in _PATHS:
            # Code that is imported when it is first used.
            client.get(f"/dashboard/api/{path.format(id=id_)}").raise_for_status()
            before_s = _cpu_s(process)
            median_ms = _median_ms(client, path.format(id=id_))
            yield path, Times(median_ms, (_cpu_s(process) - before_s) * 1000 / _TRIES)


def _cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wait_for(client: httpx.Client) -> None:
    for _ in range(300):
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise SystemExit("the gateway did not start")


def _wait_for_idle(process: int) -> None:
    """Wait, for at most half a minute, until the gateway has loaded what it loads in the background after its start."""
    for _ in range(60):
        before_s = _cpu_s(process)
        time.sleep(0.5)
        if _cpu_s(process) - before_s < 0.03:
            return


def _median_ms(client: httpx.Client, path: str) -> float:
    times = []
    for _ in range(_TRIES):
        started_s = time.perf_counter()
        client.get(f"/dashboard/api/{path}").raise_for_status()
        times.append((time.perf_counter() - started_s) * 1000)
    return statistics.median(times)


def main() -> None:
    """Fill a store, and print how long each page's data takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--database", help="An empty PostgreSQL database, in place of SQLite.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        started_s = time.perf_counter()
        id_ = fill(open_store(name, records=arguments.database), arguments.records)
        print(f"{arguments.records:,} records, written in {time.perf_counter() - started_s:.0f} s")
        print(f"{'':40s}{'median ms':>10s}{'CPU ms':>10s}")
        for path, times in measure(Path(name), id_, arguments.database):
            print(f"{path:40s}{times.median_ms:10.0f}{times.cpu_ms:10.0f}", flush=True)


if __name__ == "__main__":
    main()
