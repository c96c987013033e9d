"""The tables of the benchmark, as Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

import msgspec

from bench.gateway.report import table
from bench.scale.catalogue import CatalogueFigures, KeysFigures
from bench.scale.plan import REDIS_TARGET, WORKER_TARGET, WORKERS_A_GATEWAY, Costs, Size
from bench.scale.workers import WorkerFigures, expected_per_second


class Measured(msgspec.Struct, frozen=True):
    """Everything that was measured here."""

    costs: Costs
    workers: list[WorkerFigures]
    cards: list[CatalogueFigures]
    keys: list[KeysFigures]


class Check(msgspec.Struct, frozen=True):
    """The formula beside what was simulated: busy share, mean wait, and 99th percentile of the wait."""

    name: str
    busy: float
    busy_found: float
    mean_ms: float
    mean_found_ms: float
    p99_ms: float
    p99_found_ms: float


def report(measured: Measured, sizes: Sequence[Size], checks: Sequence[Check]) -> str:
    """All tables."""
    load, *_ = os.getloadavg()
    python = platform.python_version()
    machine = f"{os.cpu_count()} cores of {platform.machine()}, load {load:.1f} at the end, Python {python}"
    parts = [
        f"Measured on {machine}.",
        _workers(measured.workers),
        _operations(measured.costs),
        _cards(measured.cards),
        _keys(measured.keys),
        f"Computed for {WORKER_TARGET:.0%} busy workers, {WORKERS_A_GATEWAY} a gateway machine, and {REDIS_TARGET:.0%} "
        "busy Redis shards.",
        _sizes(sizes),
        "The formula beside the simulation.",
        _checks(checks),
        "The computation beside the measured gateways, which share the cores with client and upstream.",
        _throughput(measured.workers),
    ]
    return "\n\n".join(parts)


def _workers(rows: Sequence[WorkerFigures]) -> str:
    return table(
        ["gateway", "workers", "CPU a request", "CPU of client and upstream", "requests/s", "memory"],
        [
            [
                row.name,
                str(row.workers),
                f"{row.cpu_ms:.2f} ms",
                f"{row.others_ms:.2f} ms",
                f"{row.per_second:,.0f}",
                f"{row.rss_mb:.0f} MB",
            ]
            for row in rows
        ],
    )


def _operations(costs: Costs) -> str:
    rows = [
        ["SQLite", "reserve and settle", _us(costs.sqlite_reserve_ms)],
        ["SQLite", "record", _us(costs.sqlite_record_ms)],
        ["Redis", "one of the five operations of a request", _us(costs.reserve_ms)],
        ["PostgreSQL", "record, of 1,000 at once", _us(costs.copied_row_ms)],
    ]
    size = "not measured" if costs.record_bytes is None else f"{costs.record_bytes:.0f} bytes"
    return table(["store", "operation", "CPU"], [*rows, ["PostgreSQL", "record on disk, with indexes", size]])


def _cards(rows: Sequence[CatalogueFigures]) -> str:
    return table(
        ["cards", "decision, median", "99th percentile", "memory"],
        [[f"{row.cards:,}", f"{row.p50_ms:.2f} ms", f"{row.p99_ms:.2f} ms", f"{row.rss_mb:.0f} MB"] for row in rows],
    )


def _keys(rows: Sequence[KeysFigures]) -> str:
    return table(
        ["keys", "file", "time to read", "one authentication", "memory"],
        [
            [
                f"{row.tenants:,}", f"{row.file_mb:.1f} MB", _shown(row.read_s, "{:.2f} s", "refused"),
                _shown(row.find_us, "{:.1f} µs"), _shown(row.rss_mb, "{:.0f} MB"),
            ]
            for row in rows
        ],
    )  # fmt: skip


def _sizes(rows: Sequence[Size]) -> str:
    return table(
        [
            "requests/s", "gateways", "workers", "busy", "wait p99", "Redis shards", "busy", "wait p99",
            "PostgreSQL cores", "servers", "connections", "disk, 30 days", "network", "next bottleneck",
        ],
        [
            [
                f"{row.rate:,.0f}", str(row.gateways), str(row.workers), f"{row.worker_busy:.0%}",
                f"{row.worker_wait_p99_ms:.1f} ms", _shown(row.shards), _shown(row.shard_busy, "{:.0%}"),
                _shown(row.shard_wait_p99_ms, "{:.2f} ms"), _shown(row.database_cores, "{:.1f}"), _shown(row.databases),
                str(row.database_connections), _shown(row.disk_tb, "{:.1f} TB"), f"{row.network_gbit:.1f} Gbit/s",
                row.bottleneck,
            ]
            for row in rows
        ],
    )  # fmt: skip


def _checks(rows: Sequence[Check]) -> str:
    return table(
        ["station", "busy", "simulated", "mean wait", "simulated", "p99", "simulated"],
        [
            [
                row.name, f"{row.busy:.0%}", f"{row.busy_found:.0%}", f"{row.mean_ms:.3f} ms",
                f"{row.mean_found_ms:.3f} ms", f"{row.p99_ms:.2f} ms", f"{row.p99_found_ms:.2f} ms",
            ]
            for row in rows
        ],
    )  # fmt: skip


def _throughput(rows: Sequence[WorkerFigures]) -> str:
    one = {row.name: row for row in rows if row.workers == 1}
    cores = os.cpu_count() or 1
    return table(
        ["gateway", "workers", "requests/s computed", "measured"],
        [
            [
                row.name,
                str(row.workers),
                f"{expected_per_second(row, one[row.name], cores):,.0f}",
                f"{row.per_second:,.0f}",
            ]
            for row in rows
        ],
    )


def _us(ms: float | None) -> str:
    return "not measured" if ms is None else f"{ms * 1e3:.1f} µs"


def _shown(value: float | None, pattern: str = "{}", unknown: str = "–") -> str:
    return unknown if value is None else pattern.format(value)
