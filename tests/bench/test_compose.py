"""`bench.compose` on made sets: the form of its output, and its controls with known results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bench.compose.__main__ import main
from bench.compose.alternatives import TruthfulCommittees, fixed_rule, truthful_cascade
from bench.compose.measure import BUDGETS, Fitted, Pools, fitted, measure
from router.errors import CallerError
from router.learn.data.answers import load_answers
from tests.answer_sets import MODELS, write_answer_set

COUNTS = ("out_chars", "lines")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sets that differ in how many models their pool has: two, three or all four. With each further one there are
    several times as many plans to measure.
    """
    sets = tmp_path_factory.mktemp("sets")
    for count, name in ((2, "two"), (3, "three"), (4, "four")):
        pools = {"A": MODELS[-count:]}
        write_answer_set(sets / name, 240, tables=COUNTS, unknown_scores=30, pools=pools)
    return sets


@pytest.fixture(scope="module")
def ready(folder: Path) -> Fitted:
    return fitted(load_answers(folder / "four"))


@pytest.fixture(scope="module")
def measured(ready: Fitted) -> Pools:
    return measure(ready, shipped=False)


def test_the_output_is_json_by_set_pool_and_budget(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--data", str(folder), "three", "--json"])
    pools: dict[str, dict[str, dict[str, Any]]] = json.loads(capsys.readouterr().out)["three"]
    assert list(pools) == ["A"]
    assert set(pools["A"]) <= {"0.2", "0.35", "0.5", "0.75", "1.0"} == set(map(str, BUDGETS))
    for figures in pools["A"].values():
        low, high = figures["gain_ci95"]
        assert low <= figures["gain"] <= high
        assert figures["gain"] == pytest.approx(figures["plans"] - figures["single"], abs=2e-4)
        assert 0 <= figures["chosen"] <= 1
        assert {"shipped", "shipped_gain", "shipped_gain_ci95", "rule", "hindsight"} <= set(figures)


@pytest.mark.parametrize(
    "options", [["--by", "domain", "--no-shipped"], ["--control", "shuffled"], ["--gate"], ["--reroute"]]
)
def test_every_option_prints_a_table(folder: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    main(["--data", str(folder), "two", *options])
    lines = capsys.readouterr().out.splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) > 2


def test_closed_forms_are_compared_with_real_answers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--data", str(folder), "three", "--closed-forms", "--json"])
    checks = json.loads(capsys.readouterr().out)["three"]
    assert {check["plan"].split(",")[0] for check in checks} == {"cascade", "vote", "own gate"}
    stated = [check for check in checks if not check["plan"].startswith("own gate")]
    assert all(abs(check["quality"] - check["expected_quality"]) < 0.15 for check in stated)
    # A column knows what the plan achieved on other prompts.
    assert all(abs(check["quality"] - check["column_quality"]) < 0.02 for check in checks)
    assert all(abs(check["calls"] - check["column_calls"]) < 0.05 for check in checks)


def test_a_picture_has_a_panel_for_each_pool(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "picture.svg"
    main(["--data", str(folder), "two", "--no-shipped", "--json", "--picture", str(file)])
    text = file.read_text("utf-8")
    assert text.startswith("<svg")
    assert text.count("pool A") == 1


def test_a_pool_of_one_model_has_no_plans(ready: Fitted) -> None:
    alone = msgspec.structs.replace(ready, data=msgspec.structs.replace(ready.data, pools={"A": (3,)}))
    found = measure(alone)["A"]
    assert all(figures["gain"] == 0 and figures["chosen"] == 0 for figures in found.values())


def test_the_currency_of_prices_changes_nothing(ready: Fitted, measured: Pools) -> None:
    data = msgspec.structs.replace(ready.data, cost_usd=ready.data.cost_usd * 1000)
    assert measure(msgspec.structs.replace(ready, data=data), shipped=False) == measured


def test_a_budget_below_every_model_gives_the_cheapest_one(ready: Fitted) -> None:
    dear = ready.data.cost_usd.copy()
    dear[:, :3] = dear[:, [3]] * 0.9
    data = msgspec.structs.replace(ready.data, cost_usd=dear)
    found = measure(msgspec.structs.replace(ready, data=data), shipped=False)["A"]
    assert list(found) == [str(budget) for budget in BUDGETS]
    assert all(found["0.2"][key] == 0 for key in ("gain", "chosen"))
    assert found["0.2"]["single_cost"] == pytest.approx(0.9)


def test_models_that_cost_nothing_are_compared(ready: Fitted) -> None:
    data = msgspec.structs.replace(ready.data, cost_usd=np.zeros(ready.data.cost_usd.shape))
    found = measure(msgspec.structs.replace(ready, data=data), shipped=False)["A"]
    assert all(figures["plans_cost"] == 0 for figures in found.values())


def test_without_pools_all_models_are_one(tmp_path: Path) -> None:
    folder = write_answer_set(tmp_path / "own", 30, pools={})
    assert fitted(load_answers(folder)).data.pools == {"all": (0, 1, 2, 3)}


def test_too_few_prompts_are_an_error_that_says_how_many_are_needed(tmp_path: Path) -> None:
    folder = write_answer_set(tmp_path / "own", 9)
    with pytest.raises(CallerError, match=r"9 different prompts .* at least 10"):
        fitted(load_answers(folder))


def test_a_model_without_answers_is_named(tmp_path: Path) -> None:
    folder = write_answer_set(tmp_path / "own", 12)
    answers = (folder / "answers.csv").read_text("utf-8")
    (folder / "answers.csv").write_text(answers.replace("large", "another", 1), "utf-8")
    assert load_answers(folder).unanswered == ("large",)


def test_a_gate_that_knows_the_truth_is_the_oracle_cascade(ready: Fitted) -> None:
    # Money is nearly worthless here, so asking on always pays where the answer is wrong.
    committees = TruthfulCommittees(ready.data, ready.gate, ready.folds, np.array([1e-9]))
    for members in ((0, 3), (0, 1, 3)):
        found, cascade = committees.run(members), truthful_cascade(ready.data, members)
        assert found.quality[:, 0] == pytest.approx(cascade.quality)
        assert found.cost_usd[:, 0] == pytest.approx(cascade.cost_usd)


def test_shuffled_answers_gain_nothing(folder: Path) -> None:
    found = measure(fitted(load_answers(folder / "four"), control="shuffled"), shipped=False)["A"]
    assert all(figures["gain_ci95"][0] <= 0 for figures in found.values())


def test_the_fixed_rule_pays_for_the_strong_model_only_where_two_disagree(ready: Fitted) -> None:
    data = ready.data
    rule = fixed_rule(data, 0, 1, 3)
    agree = (data.answers[:, 0] == data.answers[:, 1]) & (data.answers[:, 0] >= 0)
    assert rule.quality[agree] == pytest.approx(data.scores[agree, 0])
    assert rule.quality[~agree] == pytest.approx(data.scores[~agree, 3])
    assert rule.cost_usd[~agree] == pytest.approx(data.cost_usd[~agree][:, [0, 1, 3]].sum(axis=1))
