"""The targets of the gateway are compared with what a run measured, and only with that."""

from __future__ import annotations

from bench.gateway.contender import Contender
from bench.gateway.measure import Figures, Plan, Trial
from bench.gateway.processes import Server
from bench.gateway.pulvinar import NAMED, ROUTED
from bench.gateway.targets import targets
from bench.peers.tensorzero import TensorZero


def figures(cpu: float = 0.0, p50: float = 1.0, p99: float = 2.0, held_long: float | None = None) -> Figures:
    return Figures(
        answered=10, failed=0, failure="", per_second=100.0, cpu=cpu, upstream_cpu=0.0, latency_p50=p50,
        latency_p99=p99, first_p50=None, first_p99=None, held_p50=None, held_p99=None, held_long=held_long, late=0.0,
        from_cache=0,
    )  # fmt: skip


def trial(name: str, *, is_direct: bool = False, **by_phase: Figures) -> Trial:
    server = None if is_direct else Server.__new__(Server)
    return Trial(Contender(name, None, "bench"), server, {key: [value] for key, value in by_phase.items()}, 108.0, 90.0)


def rows(*trials: Trial) -> dict[str, list[str]]:
    plan = Plan(rounds=1, requests=40, rates=(50.0,), stream_rate=10.0)
    cells = (line.strip("| ").split("|") for line in targets(trials, plan, []).splitlines()[4:])
    return {label.strip(): [cell.strip() for cell in values] for label, *values in cells}


def test_every_measured_target_has_a_row_that_says_whether_it_is_met() -> None:
    name = Plan(rounds=1, requests=40, rates=(50.0,), stream_rate=10.0).phases
    paced = next(phase.name for phase in name if not phase.stream and phase.rate)
    direct = trial("no gateway", is_direct=True, json=figures(), **{paced: figures(p50=0.5, p99=1.0)})
    routed = trial(ROUTED, json=figures(cpu=0.9), stream=figures(cpu=1.5), **{paced: figures(p50=2.0, p99=6.5)})
    named = trial(NAMED, json=figures(cpu=0.45))
    peer = trial(TensorZero.name, json=figures(cpu=0.3))
    found = rows(direct, routed, named, peer)
    assert found["resident memory after the load"] == ["108 MB", "≤ 130 MB", "yes"]
    assert found["CPU a JSON request, routing on"] == ["0.90 ms", "≤ 1 ms", "yes"]
    assert found["CPU a JSON request, routing off"] == ["0.45 ms", "≤ 0.5 ms", "yes"]
    assert found[f"the same, times that of {TensorZero.name}"] == ["1.50 ×", "≤ 1.3 ×", "no"]
    assert found["CPU a stream, routing on"] == ["1.50 ms", "≤ 1.4 ms", "no"]
    assert found["added p50 at 50 requests/s, routing on"] == ["1.50 ms", "≤ 2 ms", "yes"]
    assert found["added p99 at 50 requests/s, routing on"] == ["5.50 ms", "≤ 5 ms", "no"]


def test_what_was_not_measured_has_no_row() -> None:
    direct, named = trial("no gateway", is_direct=True, json=figures()), trial(NAMED, json=figures(cpu=0.45))
    assert rows(direct, named) == {}
    assert "times ours" not in "".join(rows(direct, trial(ROUTED, json=figures(cpu=0.9)), named))
