"""CPU of a request and requests a second of one worker and of two, by real gateways in front of `bench.upstream`."""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path

import msgspec

from bench.gateway import pulvinar
from bench.gateway.processes import Start, free_port, running
from bench.gateway.prompts import write_prompts
from bench.gateway.samples import Load, run_load

_ROOT = Path(__file__).parents[2]
_WARM_UP = 200
_LIMIT_S = 12.0
"""The greatest duration of one load."""


class WorkerFigures(msgspec.Struct, frozen=True):
    """One gateway: its workers, CPU milliseconds a request, and requests a second in a closed loop. `others_ms` is the
    CPU that client and upstream take of the same machine for a request; `cs2` the squared coefficient of variation of
    the time of a request that hardly waits, at 40 % of the greatest rate.
    """

    name: str
    workers: int
    cpu_ms: float
    others_ms: float
    per_second: float
    cs2: float
    rss_mb: float


def measure_workers(scratch: Path, requests: int, counts: tuple[int, ...] = (1, 2)) -> list[WorkerFigures]:
    """Routing on with each number of workers, and a named card with one. Raises StartError, and ValueError where a
    gateway fails requests.
    """
    prompts, models, port = scratch / "prompts", scratch / "models", free_port()
    write_prompts(prompts, _WARM_UP + 2 * requests, None)
    models.write_text("\n".join(pulvinar.model_names()))
    command = (sys.executable, "-m", "bench.upstream", "--port", str(port), "--models", str(models))
    found = []
    with running(Start(command, _ROOT, port, ("/health",)), scratch / "upstream.log") as upstream:
        for workers in counts:
            folder = scratch / f"workers-{workers}"
            arguments = ["--workers", str(workers), "--no-access-log"]
            for contender in pulvinar.contenders(folder, port, arguments, None)[: 2 if workers == 1 else 1]:
                assert contender.start is not None
                with running(contender.start, folder / f"{contender.model}.log") as server:

                    def load(first: int, count: int, rate: float | None = None) -> Load:
                        return Load(
                            server.port, contender.path, contender.headers, contender.model, str(prompts), first, count,  # noqa: B023
                            rate=rate, limit_s=_LIMIT_S, connections=8 * workers,  # noqa: B023
                        )  # fmt: skip

                    run_load(load(0, _WARM_UP))
                    before, others = server.cpu_s(), upstream.cpu_s() + _children_s()
                    closed = run_load(load(_WARM_UP, requests))
                    cpu_ms = (server.cpu_s() - before) / max(closed.answered, 1) * 1e3
                    others_ms = (upstream.cpu_s() + _children_s() - others) / max(closed.answered, 1) * 1e3
                    per_second = closed.answered / closed.seconds
                    rate = max(per_second * 0.4, 1.0)
                    paced = min(requests // 2, max(int(rate * _LIMIT_S), 20))
                    opened = run_load(load(_WARM_UP + requests, paced, rate))
                    if closed.failed or opened.failed or len(opened.latency_ms) < 2:
                        raise ValueError(f"{contender.name}: {closed.failure or opened.failure or 'too few answers'}")
                    # What is beyond the 99th percentile is this machine's other work.
                    kept = sorted(opened.latency_ms)[: max(len(opened.latency_ms) * 99 // 100, 2)]
                    cs2 = statistics.pvariance(kept) / statistics.fmean(kept) ** 2
                    found.append(
                        WorkerFigures(contender.name, workers, cpu_ms, others_ms, per_second, cs2, server.rss_mb())
                    )
    return found


def _children_s() -> float:
    """CPU seconds of this process's children that have ended: the clients."""
    times = os.times()
    return times.children_user + times.children_system


def expected_per_second(figures: WorkerFigures, one: WorkerFigures, cores: int) -> float:
    """What the costs of `one` worker say of this number of workers: each is busy all the time, or all cores are, with
    gateway, client and upstream.
    """
    by_workers = figures.workers / one.cpu_ms * 1e3
    return min(by_workers, cores / (one.cpu_ms + one.others_ms) * 1e3)
