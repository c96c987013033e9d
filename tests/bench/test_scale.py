"""The planning of machines: its formulas, its own simulation, and the whole command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.scale.plan import REDIS_TARGET, WORKER_TARGET, Costs, predicted_ms, size_for, stations
from bench.scale.queueing import mean_wait_ms, servers_for, wait_percentile_ms, waiting_share
from bench.scale.simulation import Station, simulate
from bench.scale.workers import WorkerFigures, expected_per_second

ROOT = Path(__file__).parents[2]
COSTS = Costs(1.0, 0.5, 0.5, 0.2, 0.1, reserve_ms=0.02, copied_row_ms=0.05, record_bytes=2_000.0)


def test_one_server_makes_a_request_wait_as_often_as_it_is_busy() -> None:
    assert waiting_share(1, 0.7) == pytest.approx(0.7)
    assert mean_wait_ms(1, 0.5, 2.0) == pytest.approx(2.0)
    assert mean_wait_ms(1, 0.5, 2.0, cs2=0.0) == pytest.approx(1.0)


def test_erlangs_formula_gives_the_values_of_his_tables() -> None:
    # Offered loads of 1.5 with 2 servers, and of 8 with 10.
    assert waiting_share(2, 0.75) == pytest.approx(0.6429, abs=1e-4)
    assert waiting_share(10, 0.8) == pytest.approx(0.4092, abs=1e-4)


def test_a_full_server_makes_everybody_wait_without_end() -> None:
    assert waiting_share(3, 1.0) == 1.0
    assert mean_wait_ms(3, 1.0, 1.0) == float("inf")


def test_few_requests_wait_where_servers_are_hardly_busy() -> None:
    assert wait_percentile_ms(99, 8, 0.1, 1.0) == 0.0
    assert wait_percentile_ms(99, 8, 0.9, 1.0) > wait_percentile_ms(50, 8, 0.9, 1.0)


@pytest.mark.parametrize("rate", [1_000.0, 10_000.0, 100_000.0])
def test_no_machine_is_busier_than_planned(rate: float) -> None:
    size = size_for(rate, COSTS)
    assert size.worker_busy <= WORKER_TARGET
    assert size.shard_busy is not None
    assert size.shard_busy <= REDIS_TARGET
    assert size.gateways >= 2, "one gateway may fail"
    assert size.workers % size.gateways == 0


def test_a_busier_request_needs_more_gateways_and_no_more_shards() -> None:
    slow = size_for(10_000.0, Costs(2.0, 0.5, 0.5, 0.2, 0.1, reserve_ms=0.02))
    assert slow.workers > size_for(10_000.0, COSTS).workers
    assert slow.shards == size_for(10_000.0, COSTS).shards
    assert slow.databases is None, "PostgreSQL was not measured"
    assert servers_for(600.0, 1.0, 0.6) == 1


def test_what_is_full_next_depends_on_the_size() -> None:
    small, large = size_for(10.0, COSTS), size_for(100_000.0, COSTS)
    assert small.bottleneck == "CPU of the gateways"
    assert "connections to PostgreSQL" in large.bottleneck
    assert "TB of records" in large.bottleneck


@pytest.mark.parametrize(
    "station", [Station("one", 1, 1, 1.0), Station("four", 2, 4, 5.0, cs2=0.3), Station("twice", 3, 1, 0.5, visits=2)]
)
def test_the_simulation_finds_what_the_formula_says(station: Station) -> None:
    rate = 0.7 * station.queues * station.servers / (station.visits * station.service_ms) * 1e3
    (found,) = simulate([station], rate, 30_000)
    formula, busy = predicted_ms(station, rate)
    assert busy == pytest.approx(0.7)
    assert found.utilisation == pytest.approx(busy, rel=0.05)
    assert found.mean_ms == pytest.approx(formula, rel=0.2)


def test_every_station_of_a_size_is_simulated() -> None:
    names = [station.name for station in stations(size_for(1_000.0, COSTS), COSTS)]
    assert names == ["workers", "Redis"]


def test_workers_beyond_the_cores_answer_no_more() -> None:
    one = WorkerFigures("routing", 1, 1.0, 0.5, 600.0, 0.5, 100.0)
    four = WorkerFigures("routing", 4, 1.0, 0.5, 1_300.0, 0.5, 400.0)
    assert expected_per_second(one, one, cores=2) == pytest.approx(1_000.0)
    assert expected_per_second(four, one, cores=2) == pytest.approx(2 / 1.5 * 1e3)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_command_measures_and_prints_every_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.scale", "--quick", "--json", str(tmp_path / "figures.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for title in (
        "CPU a request",
        "reserve and settle",
        "decision, median",
        "time to read",
        "Redis shards",
        "simulated",
    ):
        assert title in done.stdout
    assert (tmp_path / "figures.json").stat().st_size > 1_000
