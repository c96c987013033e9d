"""Hostile and honest clients together for minutes: `python -m bench.soak --minutes 20`.

All attacks that need no settings of their own run in turns against one gateway, while honest clients of another key
send ten requests a second. Memory is measured every second. It must be flat from minute 2 on, when every attack has run
once, and every honest request must be served.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

from bench.gateway.processes import running
from bench.hostile import gateways
from bench.hostile.attack import Attack
from bench.hostile.attacks import ATTACKS
from bench.hostile.bed import Bed
from bench.hostile.honest import Clients, Seen, Watch
from bench.hostile.trial import both_sides
from bench.hostile.watching import most_files

_WARM_S = 120.0
_ATTACK_S = 3.0
_SAMPLE_S = 1.0
GROWTH = 0.10
"""How much more memory the last minute may take than the minute after the warm-up."""

_SETTINGS = Attack(name="soak", run=ATTACKS[0].run, evil={"rpm": 100_000, "budget_usd_per_day": "1000$"})
# Each alone closes cards or takes all slots for seconds; what they do to others is a gate of its own.
_TURNS = tuple(
    attack for attack in ATTACKS if not (attack.shell or attack.settings or attack.evil or attack.workers > 1)
)


class Sample(msgspec.Struct, frozen=True):
    """Seconds since the start, and resident memory then."""

    at_s: float
    rss_mb: float
    files: int


class Outcome(msgspec.Struct, frozen=True):
    """A whole run."""

    samples: list[Sample]
    seen: Seen
    problems: collections.Counter[str]

    def median_mb(self, first_s: float, last_s: float) -> float:
        """The median memory between two times; nan without a sample."""
        values = [sample.rss_mb for sample in self.samples if first_s <= sample.at_s < last_s]
        return statistics.median(values) if values else float("nan")

    @property
    def slope_mb_a_minute(self) -> float:
        """The slope of memory over time after the warm-up."""
        late = [sample for sample in self.samples if sample.at_s >= _warm_s(self.samples[-1].at_s)]
        slope, _ = np.polyfit([sample.at_s / 60 for sample in late], [sample.rss_mb for sample in late], 1)
        return float(slope)

    @property
    def growth(self) -> float:
        """The growth of memory from the minute after the warm-up to the last one."""
        end_s = self.samples[-1].at_s
        warm_s = _warm_s(end_s)
        window_s = min(60.0, (end_s - warm_s) / 2)
        return self.median_mb(end_s - window_s, end_s + 1) / self.median_mb(warm_s, warm_s + window_s) - 1


def _warm_s(end_s: float) -> float:
    # A run that is shorter than the warm-up is a trial of the bench itself.
    return _WARM_S if end_s > 2 * _WARM_S else end_s / 2


def soak(minutes: float) -> Outcome:
    """Run for `minutes`, printing a line a minute."""
    with tempfile.TemporaryDirectory() as name, both_sides() as sides:
        contender = gateways.pulvinar(Path(name), sides.upstream, _SETTINGS)
        assert contender.start is not None
        with running(contender.start, Path(name) / "serve.log") as server:
            evil, honest = ({"authorization": contender.headers[who]} for who in (gateways.EVIL, gateways.HONEST))
            bed = Bed(server, sides.upstream, contender.path, contender.model, evil, honest, 0.0)
            return asyncio.run(_run(bed, sides.clients, minutes * 60))


async def _run(bed: Bed, clients: Clients, seconds: float) -> Outcome:
    samples: list[Sample] = []
    problems: collections.Counter[str] = collections.Counter()
    plan = Watch(bed.server.port, bed.honest_headers, gateways.honest_asks(), seconds)
    attacking = asyncio.ensure_future(_attack_in_turns(bed, seconds, problems))
    sampling = asyncio.ensure_future(_sample(bed, samples))
    seen = await clients.watch(plan)
    await attacking
    sampling.cancel()
    await asyncio.gather(sampling, return_exceptions=True)
    return Outcome(samples, seen, problems)


async def _attack_in_turns(bed: Bed, seconds: float, problems: collections.Counter[str]) -> None:
    end = time.monotonic() + seconds
    for attack in itertools.cycle(_TURNS):
        if time.monotonic() >= end:
            return
        bed.ends = time.monotonic() + _ATTACK_S
        try:
            async with asyncio.timeout(_ATTACK_S + 30):
                found = await attack.run(bed)
        except TimeoutError:
            found = ["the attack did not end"]
        problems.update(f"{attack.name}: {problem}" for problem in found)


async def _sample(bed: Bed, samples: list[Sample]) -> None:
    started = time.monotonic()
    while True:
        await asyncio.sleep(_SAMPLE_S)
        with contextlib.suppress(ValueError):
            sample = Sample(time.monotonic() - started, bed.server.rss_mb(), most_files(bed.server)[0])
            samples.append(sample)
            if int(sample.at_s / 60) > int((sample.at_s - _SAMPLE_S) / 60):
                print(f"{sample.at_s:7.0f} s  {sample.rss_mb:7.1f} MB  {sample.files:4d} files", flush=True)


def report(outcome: Outcome) -> bool:
    """Print the result; returns whether it passed."""
    seen = outcome.seen
    for problem, count in [*outcome.problems.most_common(10), *collections.Counter(seen.wrong).most_common(10)]:
        print(f"{count:6d} × {problem}")
    print(
        f"memory {outcome.growth:+.1%} ({outcome.slope_mb_a_minute:+.2f} MB a minute) after the warm-up, "
        f"{len(seen.latency_ms)} of {seen.sent} honest requests served, p95 {seen.p95_ms:.0f} ms, "
        f"/healthz at most {seen.health_ms / 1e3:.2f} s"
    )
    return outcome.growth <= GROWTH and not seen.wrong
