"""CPU of shared operations: SQLite by the gateway's own stores, Redis and PostgreSQL by operations of the same shape.

The servers are started here, from Debian's packages, on loopback, in a folder that is deleted. What the
gateway's own stores send them is not measured here; `bench.state` measures that of Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.gateway.processes import Server, free_port
from router.store import open_store
from router.store.backend import StateUse
from router.store.records.record import DecisionRecord, Record
from router.store.state.protocol import Claim
from router.types import Outcome, Usage

_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
_READY_S = 30.0
_BATCH = 1_000

RESERVE = """
local spent = tonumber(redis.call('HGET', KEYS[1], 'spent') or '0')
local held = tonumber(redis.call('HGET', KEYS[1], 'held') or '0')
if spent + held + tonumber(ARGV[1]) > tonumber(ARGV[2]) then return 0 end
redis.call('HINCRBY', KEYS[1], 'held', ARGV[1])
redis.call('HINCRBY', KEYS[1], 'held', -ARGV[1])
redis.call('HINCRBY', KEYS[1], 'spent', 1)
redis.call('EXPIRE', KEYS[1], 172800)
return 1
"""
"""A reserve and a settle in one: reads, compares with the budget, and writes four times."""

TABLE = """
CREATE TABLE records (id text, at timestamptz, key_id text, card text, status int, cost_usd float8, body jsonb)
PARTITION BY RANGE (at);
CREATE TABLE records_today PARTITION OF records FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
CREATE INDEX ON records (id);
CREATE INDEX ON records (at);
"""


class MissingServerError(Exception):
    """A server is not installed; the message says what to install."""


class SqliteCosts(msgspec.Struct, frozen=True):
    """Milliseconds of CPU of one reserve with its settle, and of one record in the journal and the database."""

    reserve_ms: float
    record_ms: float


def sqlite_costs(folder: Path, count: int) -> SqliteCosts:
    """By the stores of the gateway, in this process."""
    backend = open_store(folder)
    state = backend.shared_state(StateUse(60.0))

    async def reserve() -> float:
        before = time.process_time()
        for number in range(count):
            claim = Claim(f"key-{number % 100}", 1_000_000.0, 0.001)
            await state.settle(await state.reserve(claim, time.time()), 0.0005)
        return (time.process_time() - before) / count * 1e3

    reserve_ms = asyncio.run(reserve())
    state.close()
    sink = backend.record_sink()

    async def record() -> None:
        for number in range(count):
            waiting = sink.append(example_record(number))
            if waiting is not None:
                await waiting

    before = time.process_time()
    asyncio.run(record())
    sink.close()
    return SqliteCosts(reserve_ms, (time.process_time() - before) / count * 1e3)


def example_record(number: int) -> Record:
    """The record of a routed request, whose vector no database can compress."""
    decision = DecisionRecord(
        policy="default", policy_hash="a" * 32, flags="", artifact="skills-0123456789ab", catalogue="b" * 32,
        unavailable="", day="2026-01-01", card="card-1", fallbacks=("card-2", "card-3"), guard="off", quality=0.75,
        quality_std=0.125, cost_usd=0.0005, latency_ms=900.0, input_tokens=100,
        vector=random.Random(number).randbytes(1_600),
    )  # fmt: skip
    outcome = Outcome(200, 512.5, "card-1", usage=Usage(100, 200), cost_usd=0.0005)
    return Record(
        id=f"request-{number:09d}", at=1.8e9 + number, surface="chat", asked="auto", stream=False, outcome=outcome,
        decision=decision,
    )  # fmt: skip


@contextlib.contextmanager
def _process(command: list[str], folder: Path, port: int, **popen: object) -> Iterator[Server]:
    log = (folder / "log").open("wb")
    process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **popen)  # type: ignore[call-overload]
    try:
        yield Server(process.pid, port, 0.0)
    finally:
        process.terminate()
        process.wait(_READY_S)
        log.close()


def redis_operation_ms(scratch: Path, count: int) -> float:
    """CPU milliseconds of redis-server for one reserve script of 50 connections. Raises MissingServerError."""
    if not (server := shutil.which("redis-server")) or not (client := shutil.which("redis-benchmark")):
        raise MissingServerError("redis-server is not installed (Debian: redis-server)")
    scratch.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with _process(command, scratch, port) as redis:
        cli = [client.replace("benchmark", "cli"), "-p", str(port)]
        _wait_for([*cli, "ping"])
        load = [*cli, "script", "load", RESERVE]
        digest = subprocess.run(load, check=True, capture_output=True, text=True).stdout.strip()
        # A thousand keys; a reserve of 500,000 against a budget that is never reached.
        operation = ["evalsha", digest, "1", "{key:__rand_int__}", "500000", "4000000000000000"]
        bench = [client, "-p", str(port), "-c", "50", "-r", "1000", "-q", "-n"]
        subprocess.run([*bench, str(count // 10), *operation], check=True, capture_output=True)
        before = redis.cpu_s()
        subprocess.run([*bench, str(count), *operation], check=True, capture_output=True)
        return (redis.cpu_s() - before) / count * 1e3


class RecordCosts(msgspec.Struct, frozen=True):
    """CPU milliseconds of PostgreSQL for a record in a batch of a thousand, and its bytes on disk with the indexes."""

    row_ms: float
    row_bytes: float


def postgres_record(scratch: Path, batches: int) -> RecordCosts:
    """By COPY of a thousand rows a transaction, with fsync. Raises MissingServerError."""
    if not _POSTGRES:
        raise MissingServerError("PostgreSQL is not installed (Debian: postgresql)")
    if os.geteuid() == 0 and not shutil.which("runuser"):
        raise MissingServerError("PostgreSQL does not run as root, and there is no runuser")
    # The server refuses to run as root.
    as_owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    binaries, port, data = _POSTGRES[-1], free_port(), scratch / "data"
    scratch.mkdir(parents=True, exist_ok=True)
    if as_owner:
        shutil.chown(scratch, "postgres", "postgres")
    initialise = [*as_owner, str(binaries / "initdb"), "-D", str(data), "-U", "bench", "-A", "trust", "-N"]
    if (done := subprocess.run(initialise, check=False, capture_output=True, text=True, cwd=scratch)).returncode:
        raise MissingServerError(f"PostgreSQL cannot be set up here: {done.stderr.strip()[-200:]}")
    listening = ["-h", "127.0.0.1", "-p", str(port), "-k", str(scratch)]
    rows = "".join(
        f"request-{number:09d}\t2026-01-01 00:00:{number % 60:02d}\tkey-{number % 100}\tcard-{number % 50}\t200\t5e-4\t"
        f"{msgspec.json.encode(example_record(number)).decode()}\n"
        for number in range(_BATCH)
    )
    with _process([*as_owner, str(binaries / "postgres"), "-D", str(data), *listening], scratch, port) as server:
        query = [str(binaries / "psql"), "-h", "127.0.0.1", "-p", str(port), "-U", "bench", "-qAt", "postgres"]
        _wait_for([*query, "-c", "select 1"])
        subprocess.run([*query, "-c", TABLE], check=True, capture_output=True)
        copy = "COPY records FROM STDIN;\n" + rows + "\\.\n"
        subprocess.run(query, input=copy, text=True, check=True, capture_output=True)
        before = server.cpu_s()
        # One session, so that connecting does not count.
        subprocess.run(query, input=copy * batches, text=True, check=True, capture_output=True)
        cpu_s = server.cpu_s() - before
        size = "select sum(pg_total_relation_size(relid)) from pg_stat_user_tables"
        stored = subprocess.run([*query, "-c", size], check=True, capture_output=True, text=True).stdout
        return RecordCosts(cpu_s / (batches * _BATCH) * 1e3, int(stored) / ((batches + 1) * _BATCH))


def _wait_for(command: list[str]) -> None:
    deadline = time.monotonic() + _READY_S
    while subprocess.run(command, check=False, capture_output=True).returncode:
        if time.monotonic() > deadline:
            raise MissingServerError(f"the server of {Path(command[0]).name} does not answer")
        time.sleep(0.1)


def skipped(problem: MissingServerError) -> None:
    """Say what is not measured."""
    print(f"skipped: {problem}", file=sys.stderr)
