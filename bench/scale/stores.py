"""CPU of shared operations, by the gateway's own stores: SQLite in this process, Redis and PostgreSQL in their servers.

The servers are started here, from Debian's packages, on loopback, in folders that are deleted.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path

import msgspec

from bench.gateway.processes import Server
from bench.state import REQUEST_OPERATIONS, ask_for_request, redis_state
from router.store import open_store
from router.store.backend import StateUse
from router.store.records.journal import Journal
from router.store.records.record import DecisionRecord, Record
from router.store.state.protocol import Claim
from router.types import Outcome, Usage
from tests import postgres, redis_server

_AT_ONCE = 50
_BATCH = 1_000


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


def redis_operation_ms(count: int) -> float:
    """CPU milliseconds of redis-server for one of the operations of a request, of `count` requests, 50 at once. Raises
    MissingServerError.
    """
    if redis_server.COMMAND is None:
        raise MissingServerError("redis-server is not installed (Debian: redis-server)")
    with redis_server.redis_server() as server:
        assert server.process is not None
        redis = Server(server.process.pid, server.port, 0.0)

        async def ask() -> float:
            state = redis_state(server.url)
            await asyncio.gather(*(ask_for_request(state, number) for number in range(_AT_ONCE)))
            before = redis.cpu_s()
            for group in range(0, count, _AT_ONCE):
                await asyncio.gather(*(ask_for_request(state, number) for number in range(group, group + _AT_ONCE)))
            cpu_s = redis.cpu_s() - before
            await asyncio.to_thread(state.close)
            return cpu_s

        asked = -(-count // _AT_ONCE) * _AT_ONCE
        return asyncio.run(ask()) / (asked * REQUEST_OPERATIONS) * 1e3


class RecordCosts(msgspec.Struct, frozen=True):
    """CPU milliseconds of PostgreSQL for a record in a batch of a thousand, and its bytes on disk with the indexes."""

    row_ms: float
    row_bytes: float


def postgres_record(scratch: Path, batches: int) -> RecordCosts:
    """By the journal of a gateway, a thousand records at once, which PostgreSQL syncs. Raises MissingServerError."""
    if postgres.program("initdb") is None:
        raise MissingServerError("PostgreSQL is not installed (Debian: postgresql)")
    from router.store.records.postgres.address import read_address
    from router.store.records.postgres.queue import destination

    with postgres.running(fsync="on", full_page_writes="on") as server, server.database() as url:
        measured = Server(server.pid, server.port, 0.0)
        database = url.rpartition("/")[2]
        journal = Journal.open(scratch / "journal", destination(read_address(url)), interval_s=3600)
        try:
            _move(journal, 0)
            before_s, before_bytes = measured.cpu_s(), _stored_bytes(server, database)
            for batch in range(1, batches + 1):
                _move(journal, batch)
            cpu_s = measured.cpu_s() - before_s
        finally:
            journal.close()
        written = batches * _BATCH
        return RecordCosts(cpu_s / written * 1e3, (_stored_bytes(server, database) - before_bytes) / written)


def _move(journal: Journal, batch: int) -> None:
    for number in range(batch * _BATCH, (batch + 1) * _BATCH):
        journal.append(example_record(number))
    journal.flush()


def _stored_bytes(server: postgres.Server, database: str) -> int:
    return int(server.psql(database, "select sum(pg_total_relation_size(relid)) from pg_stat_user_tables"))


def skipped(problem: MissingServerError) -> None:
    """Say what is not measured."""
    print(f"skipped: {problem}", file=sys.stderr)
