"""`route experiment` and `route records shadow`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from router.analysis.experiments.comparison import Arm, Difference
from router.analysis.experiments.standing import PREFIX, Standing, write
from router.store.records.record import Record, ShadowRecord, Side
from router.store.records.sqlite import SqliteRecords
from router.store.state.protocol import Blob
from router.store.state.sqlite import SqliteState
from router.types import Outcome
from tests.commands.conftest import Run

STANDING = Standing(
    "v1",
    "default",
    "feedback",
    "key",
    ("small", "large"),
    1_795_000_000.0,
    1_795_000_900.0,
    (Arm(40, 0.5, 0.4, 0.6), Arm(42, 0.7, 0.6, 0.8)),
    (Difference(0.2, 0.05, 0.35, 82, "higher", 80),),
    1_795_000_900.0,
    "large",
    "large is better than small: feedback +0.200 (+0.050 to +0.350) after 82 keys",
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    state = SqliteState(tmp_path / "state.sqlite")
    asyncio.run(state.swap_blob(Blob(f"{PREFIX}size", 0, write(STANDING)), 1_795_000_900.0))
    state.close()
    return tmp_path


def test_an_experiment_is_shown_with_its_arms_and_its_end(store: Path, run: Run) -> None:
    out = run("experiment", "size", "--store", store).out
    assert "size of the policy default: feedback by key" in out
    assert "0.500" in out
    assert "+0.200" in out
    assert "all requests go to large: large is better than small" in out.replace("\n", " ")
    (document,) = json.loads(run("experiment", "--json", "--store", store).out)
    assert (document["name"], document["goes_to"], document["differences"][0]["low"]) == ("size", "large", 0.05)


def test_an_unknown_experiment_is_an_error_with_the_nearest_name(store: Path, run: Run) -> None:
    ended = run("experiment", "siz", "--store", store)
    assert ended.code == 2
    assert 'no experiment "siz" has begun; did you mean "size"?' in ended.err


def pair(number: int, same: bool | None, *, failed: bool = False) -> Record:
    first = Side("small", 100, 400.0, 20, 0.001, grade=1.0)
    second = None if failed else Side("large", 200, 900.0, 50, 0.01, grade=0.0, refused=number == 0)
    outcome = Outcome(502 if failed else 200, 900.0, card="large", cost_usd=None if failed else 0.01)
    shadow = ShadowRecord(f"r{number}", "default", first, second, None if failed else same)
    return Record(f"s{number}", 1_795_000_000.0 + number, "shadow", "large", False, outcome, shadow=shadow)


def test_answers_of_a_shadow_are_compared_with_those_of_clients(tmp_path: Path, run: Run) -> None:
    with SqliteRecords.open(tmp_path) as records:
        records.add([pair(0, True), pair(1, True), pair(2, False), pair(3, None), pair(4, None, failed=True)], 1.0)
    out = run("records", "shadow", "--store", tmp_path).out
    assert "4 pairs of answers, and 1 without an answer; all calls cost 0.04$" in out
    assert "same final answer: 66.7%" in out
    (report,) = json.loads(run("records", "shadow", "--json", "--store", tmp_path).out)
    assert (report["pairs"], report["compared"], report["first"]["grade"], report["second"]["refused"]) == (
        4,
        3,
        1.0,
        0.25,
    )
    assert "of r0, which small answered" in run("records", "show", "s0", "--store", tmp_path).out


def test_a_figure_that_is_unknown_has_no_unit(tmp_path: Path, run: Run) -> None:
    priced = pair(0, True)
    assert priced.shadow is not None
    assert priced.shadow.second is not None
    first, second = (replace(side, cost_usd=None) for side in (priced.shadow.first, priced.shadow.second))
    with SqliteRecords.open(tmp_path) as records:
        records.add([replace(priced, shadow=replace(priced.shadow, first=first, second=second))], 1.0)
    assert "cost of an answer" not in run("records", "shadow", "--store", tmp_path).out
