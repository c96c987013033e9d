"""From measured costs to machines: how many of each a rate needs, how long requests wait, what is full next."""

from __future__ import annotations

import math

import msgspec

from bench.scale.queueing import mean_wait_ms, servers_for, wait_percentile_ms
from bench.scale.simulation import Station
from bench.state import REQUEST_OPERATIONS

WORKER_TARGET, REDIS_TARGET, POSTGRES_TARGET = 0.6, 0.5, 0.5
"""The greatest busy share that is planned for. A third of the gateways may then fail, or traffic rise by half, before
requests queue; a Redis shard is one thread, and its failover must not find it full."""

WORKERS_A_GATEWAY = 8
REDIS_OPERATIONS = REQUEST_OPERATIONS
"""Shared operations of a request of a key with limits, in a conversation."""
KEEP_DAYS = 30
CONNECTIONS_A_WORKER = 4
POSTGRES_CONNECTIONS = 500
"""More connections than this need a pooler such as PgBouncer in front of PostgreSQL."""

_DISK_TB, _NETWORK_GBIT = 4.0, 10.0


class Costs(msgspec.Struct, frozen=True):
    """What was measured here: milliseconds of CPU of one core unless the name has another unit; None where the server
    is not installed.

    `routed_ms` and `named_ms` are for a request with routing and with a named card. `cs2` is the squared coefficient of
    variation of the time of a request in a worker. `reserve_ms`, of Redis, is of one operation; `copied_row_ms` of a
    record in a batch of a thousand; `record_bytes` its size in PostgreSQL with indexes.
    """

    routed_ms: float
    named_ms: float
    cs2: float
    sqlite_reserve_ms: float
    sqlite_record_ms: float
    reserve_ms: float | None = None
    copied_row_ms: float | None = None
    record_bytes: float | None = None


class Size(msgspec.Struct, frozen=True):
    """The machines for `rate` requests a second, and what waiting there adds to a request at the 99th percentile."""

    rate: float
    gateways: int
    workers: int
    worker_busy: float
    worker_wait_p99_ms: float
    shards: int | None
    shard_busy: float | None
    shard_wait_p99_ms: float | None
    databases: int | None
    database_cores: float | None
    database_connections: int
    disk_tb: float | None
    network_gbit: float
    bottleneck: str


def size_for(rate: float, costs: Costs, request_kb: float = 20.0) -> Size:
    """The machines for a rate. `request_kb` is the size of a request and its answer, which pass a gateway twice."""
    workers = servers_for(rate, costs.routed_ms, WORKER_TARGET)
    gateways = max(math.ceil(workers / WORKERS_A_GATEWAY), 2)
    workers = max(workers, gateways)
    each = math.ceil(workers / gateways)
    workers = gateways * each
    worker_busy = rate * costs.routed_ms / 1e3 / workers
    shards = shard_busy = shard_wait = None
    if costs.reserve_ms is not None:
        shards = servers_for(rate * REDIS_OPERATIONS, costs.reserve_ms, REDIS_TARGET)
        shard_busy = rate * REDIS_OPERATIONS * costs.reserve_ms / 1e3 / shards
        shard_wait = REDIS_OPERATIONS * wait_percentile_ms(99, 1, shard_busy, costs.reserve_ms)
    databases = cores = disk = None
    if costs.copied_row_ms is not None and costs.record_bytes is not None:
        cores = rate * costs.copied_row_ms / 1e3 / POSTGRES_TARGET
        databases = max(math.ceil(cores / WORKERS_A_GATEWAY), 1)
        disk = rate * 86_400 * KEEP_DAYS * costs.record_bytes / 1e12
    network = rate * request_kb * 2 * 8e3 / 1e9
    size = Size(
        rate, gateways, workers, worker_busy,
        wait_percentile_ms(99, each, worker_busy, costs.routed_ms, costs.cs2),
        shards, shard_busy, shard_wait, databases, cores, workers * CONNECTIONS_A_WORKER, disk, network, "",
    )  # fmt: skip
    return msgspec.structs.replace(size, bottleneck=_bottleneck(size))


def _bottleneck(size: Size) -> str:
    """What needs more than another machine at this size, the most pressing first."""
    found = []
    if size.disk_tb is not None and size.disk_tb > _DISK_TB:
        found.append(f"{size.disk_tb:,.0f} TB of records in {KEEP_DAYS} days")
    if size.databases is not None and size.databases > 1:
        found.append("more writes than one PostgreSQL takes")
    if size.database_connections > POSTGRES_CONNECTIONS:
        found.append(f"{size.database_connections:,} connections to PostgreSQL")
    if size.network_gbit > _NETWORK_GBIT:
        found.append(f"{size.network_gbit:.0f} Gbit/s through the load balancer")
    if size.shards is not None and size.shards > 1:
        found.append("one key's counters are on one Redis shard")
    return "; ".join(found) or "CPU of the gateways"


def stations(size: Size, costs: Costs) -> list[Station]:
    """The stations of a size, for the simulation."""
    each = size.workers // size.gateways
    found = [Station("workers", size.gateways, each, costs.routed_ms, cs2=costs.cs2)]
    if size.shards is not None and costs.reserve_ms is not None:
        found.append(Station("Redis", size.shards, 1, costs.reserve_ms, REDIS_OPERATIONS))
    return found


def predicted_ms(station: Station, rate: float) -> tuple[float, float]:
    """The formula's mean wait and busy share at a station."""
    busy = rate * station.visits * station.service_ms / 1e3 / (station.queues * station.servers)
    return mean_wait_ms(station.servers, busy, station.service_ms, station.cs2), busy
