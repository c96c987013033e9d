from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench.gateway.contender import Contender
from bench.gateway.measure import Figures, Phase, Plan, Trial
from bench.gateway.processes import Start
from bench.gateway.prompts import write_prompts
from bench.gateway.report import added, median, tables
from bench.peers import PEERS, absence, mark

FIGURES = Figures(
    answered=10, failed=0, failure="", per_second=100.0, cpu=1.0, upstream_cpu=0.1, latency_p50=2.0, latency_p99=9.0,
    first_p50=None, first_p99=None, held_p50=None, held_p99=None, held_long=None, late=0.1, from_cache=0,
)  # fmt: skip
PLAN = Plan(rates=(50.0,), modes=("json",))
CLOSED, OPEN = PLAN.phases


def trial(name: str, *p50s: float | None, **more: float) -> Trial:
    start = None if name == "direct" else Start(("x",), Path(), 1, ())
    figures = [
        None if p50_of is None else msgspec.structs.replace(FIGURES, latency_p50=p50_of, **more) for p50_of in p50s
    ]
    return Trial(Contender(name, start, "m"), None, {CLOSED.name: figures, OPEN.name: figures})


def p50_of(figures: Figures) -> float:
    return figures.latency_p50


def test_what_a_gateway_adds_is_the_difference_within_a_round() -> None:
    # The machine was slow in the second round for both gateways.
    assert added(trial("a", 3.0, 13.0, 4.0), trial("direct", 2.0, 12.0, 1.0), OPEN, p50_of) == 1.0


@pytest.mark.parametrize("p50s", [(3.0, None, 4.0), (None,), ()])
def test_a_gateway_that_did_not_keep_up_in_every_round_has_no_figure(p50s: tuple[float | None, ...]) -> None:
    direct = trial("direct", *(1.0 for _ in p50s))
    assert median(trial("a", *p50s), OPEN, p50_of) is None
    assert added(trial("a", *p50s), direct, OPEN, p50_of) is None


def test_the_report_has_absent_gateways_and_reasons_of_failures() -> None:
    failing = trial("a", 3.0, failed=5)
    failing.figures[CLOSED.name] = [msgspec.structs.replace(FIGURES, failed=5, failure="HTTP 500: no", from_cache=7)]
    report = tables([trial("direct", 2.0), failing, trial("b", None)], PLAN, {"c": "not installed: no npm"})
    assert "5 of 15" in report
    assert "a: the first failure was: HTTP 500: no" in report
    assert "a: 7 requests never reached the upstream" in report
    assert "c: not installed: no npm" in report
    assert "cannot keep up" in report


# The prompts are parts of docstrings of the standard library, including deprecated names.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_all_prompts_are_distinct(tmp_path: Path) -> None:
    write_prompts(tmp_path / "prompts", 30_000)
    lines = (tmp_path / "prompts").read_text().splitlines()
    assert len(set(lines)) == len(lines) == 30_000


def test_a_peer_is_absent_until_it_is_installed(tmp_path: Path) -> None:
    peer = PEERS[0]
    (tmp_path / peer.key).mkdir()
    assert "scripts/peers" in absence(peer, tmp_path)
    mark(peer, tmp_path, "no such version")
    assert absence(peer, tmp_path) == "not installed: no such version"
    mark(peer, tmp_path)
    assert absence(peer, tmp_path) == ""


def test_no_prompt_is_shared_between_phases() -> None:
    plan = Plan(rounds=2, requests=100, rates=(10.0,), seconds=1.0, stream_rate=5.0)
    assert [phase.count for phase in plan.phases] == [100, 25, 10, 5, 5]
    assert plan.prompts >= 2 * (100 + 10 + 25 + 5 + 5)
    assert all(isinstance(phase, Phase) for phase in plan.phases)
