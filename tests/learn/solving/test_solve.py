from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from router.cards import load_catalog
from router.decide.plans.catalog import load_plans
from router.decide.plans.spec import Cascade, Committee
from tests.commands.conftest import Ended, Run
from tests.learn.solving.pool import Reply, pool, right, wrong

EXAMPLES = 24


def right_unless(test: Any, wrong_by: int = 1) -> Reply:
    return lambda number: wrong(number, wrong_by) if test(number) else right(number)


# Each is wrong on another third of the examples, and wrong in its own way.
COMPLEMENTARY = {
    "ant": (1.0, right_unless(lambda number: number % 3 == 0, 1)),
    "bee": (1.1, right_unless(lambda number: number % 3 == 1, 2)),
    "cow": (1.2, right_unless(lambda number: number % 3 == 2, 3)),
}
# The cheap card says nothing that can be read where it does not know.
CHEAP_AND_STRONG = {
    "cheap": (0.1, lambda number: right(number) if number % 4 else "Sorry, I cannot help with that."),
    "strong": (20.0, right),
}
ONE_STRONG = {"weak": (1.0, wrong), "strong": (2.0, right)}


def solution(ended: Ended) -> Any:
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def test_a_planted_committee_is_found(run: Run, here: Path) -> None:
    with pool(here, COMPLEMENTARY) as made:
        found = solution(run("solve", str(made.task(EXAMPLES)), "--json"))
    plans = {plan["id"]: plan for plan in found["comparison"]["plans"]}
    chosen = plans[found["comparison"]["chosen"]]
    assert (chosen["kind"], chosen["members"], chosen["quality"]) == ("committee", ["ant", "bee", "cow"], 1.0)
    assert plans["ant"]["quality"] == pytest.approx(2 / 3, abs=0.01)
    assert found["comparison"]["advantage"]["quality_ci95"][0] > 0
    assert found["evaluated"] == EXAMPLES


def test_a_planted_cascade_is_found_that_is_as_good_as_the_strong_card_for_less(run: Run, here: Path) -> None:
    with pool(here, CHEAP_AND_STRONG) as made:
        found = solution(run("solve", str(made.task(EXAMPLES)), "--json"))
    plans = {plan["id"]: plan for plan in found["comparison"]["plans"]}
    chosen = plans[found["comparison"]["chosen"]]
    assert chosen["members"] == ["cheap", "strong"]
    assert chosen["quality"] == plans["strong"]["quality"] == 1.0
    assert chosen["cost_usd"] < 0.5 * plans["strong"]["cost_usd"]
    assert chosen["calls"] == 1.25


def test_where_no_plan_is_better_the_answer_is_single(run: Run, here: Path) -> None:
    with pool(here, ONE_STRONG) as made:
        file = made.task(EXAMPLES)
        found = solution(run("solve", str(file), "--json"))
        shown = run("solve", str(file))
    assert found["comparison"]["chosen"] == found["comparison"]["best_single"] == "strong"
    assert "Use strong alone: right on 24 of 24 examples" in shown.out


def test_few_examples_are_said_to_be_few(run: Run, here: Path) -> None:
    with pool(here, ONE_STRONG) as made:
        shown = run("solve", str(made.task(6)))
    assert "6 examples are very few: the quality is only known to lie between 61 and 100 %" in shown.out


def test_the_cost_of_a_request_is_that_of_all_calls_made_for_it(run: Run, here: Path) -> None:
    with pool(here, CHEAP_AND_STRONG) as made:
        found = solution(run("solve", str(made.task(8)), "--json"))
    plans = {plan["id"]: plan for plan in found["comparison"]["plans"]}
    refusal = len("Sorry, I cannot help with that.")
    cheap_usd = 0.1e-6 * (100 + (6 * len(right(1)) + 2 * refusal) / 8)
    strong_usd = 20e-6 * (100 + len(right(1)))
    assert plans["cheap"]["cost_usd"] == pytest.approx(cheap_usd)
    asks_two_of_eight = next(plan for plan in plans.values() if plan["kind"] == "cascade" and plan["calls"] == 1.25)
    assert asks_two_of_eight["cost_usd"] == pytest.approx(cheap_usd + strong_usd / 4)
    assert asks_two_of_eight["most_cost_usd"] == pytest.approx(cheap_usd + strong_usd)
    assert found["spent_usd"] == pytest.approx(8 * (cheap_usd + strong_usd))


def test_running_again_asks_nothing_and_reports_the_same(run: Run, here: Path) -> None:
    with pool(here, COMPLEMENTARY) as made:
        file = made.task(EXAMPLES)
        first, calls = solution(run("solve", str(file), "--json")), made.calls
        second = solution(run("solve", str(file), "--json"))
        assert made.calls == calls == 3 * EXAMPLES
    assert second["comparison"] == first["comparison"]
    assert (second["spent_usd"], second["spent_now_usd"]) == (first["spent_usd"], 0)


def test_a_run_that_ended_at_its_budget_goes_on_with_a_larger_one(run: Run, here: Path) -> None:
    with pool(here, COMPLEMENTARY) as made:
        file = made.task(EXAMPLES)
        poor = solution(run("solve", str(file), "--max-usd", "0.006", "--json"))
        assert poor["stopped"] == "budget"
        assert 2 <= poor["evaluated"] < EXAMPLES
        assert poor["spent_usd"] <= 0.006
        before = made.calls
        rich = solution(run("solve", str(file), "--json"))
        assert made.calls == 3 * EXAMPLES > before
    assert rich["evaluated"] == EXAMPLES


def test_a_further_limit_only_shrinks_the_result(run: Run, here: Path) -> None:
    with pool(here, COMPLEMENTARY | {"strong": CHEAP_AND_STRONG["strong"]}) as made:

        def plans_within(*limits: str) -> dict[str, Any]:
            found = solution(run("solve", str(made.task(9, limits=list(limits))), "--json"))
            # Which plans none beats depends on the others.
            return {plan["id"]: plan | {"pareto": ""} for plan in found["comparison"]["plans"]}

        every = plans_within()
        costs = sorted(plan["most_cost_usd"] for plan in every.values())
        dear = f"cost<{costs[len(costs) // 2]:.9f}$"
        for limit in (dear, "calls<=2", "plan!=committee", "quality>0.7", "price<2$"):
            some = plans_within(limit)
            assert all(plan == every[name] for name, plan in some.items()), limit
            assert some.keys() < every.keys(), limit
        cheap = plans_within("price<2$")
        assert not [plan for plan in cheap.values() if "strong" in plan["members"]]
        assert plans_within("price<2$", "calls<=2").keys() < cheap.keys()


def test_every_plan_is_unique_and_on_the_front_where_nothing_beats_it(run: Run, here: Path) -> None:
    with pool(here, COMPLEMENTARY) as made:
        plans = solution(run("solve", str(made.task(EXAMPLES)), "--json"))["comparison"]["plans"]
    ids = [plan["id"] for plan in plans]
    assert len(set(ids)) == len(ids)
    for plan in plans:
        beaten = any(
            other["quality"] >= plan["quality"]
            and other["cost_usd"] <= plan["cost_usd"]
            and (other["quality"], other["cost_usd"]) != (plan["quality"], plan["cost_usd"])
            for other in plans
        )
        assert not (beaten and plan["pareto"] == "cost")


def test_the_chosen_plan_is_saved_as_a_file_that_loads(run: Run, here: Path) -> None:
    with pool(here, COMPLEMENTARY) as made:
        ended = run("solve", str(made.task(EXAMPLES)), "--save", "plans/late-parcels.yaml")
        assert ended.code == 0, ended.err
        assert run("plans", "lint").code == 0
    saved = load_plans(here / "plans", load_catalog(here / "model_cards")).named("late-parcels")
    assert isinstance(saved, Committee)
    assert saved.members == ("ant", "bee", "cow")
    assert "Found by route solve" in saved.description
    assert "model plan/late-parcels" in ended.err


def test_another_plan_of_the_result_can_be_saved(run: Run, here: Path) -> None:
    with pool(here, CHEAP_AND_STRONG) as made:
        file = str(made.task(EXAMPLES))
        plans = solution(run("solve", file, "--json"))["comparison"]["plans"]
        other = next(plan for plan in plans if plan["kind"] == "cascade" and plan["gate"] not in ("", "learned"))
        assert run("solve", file, "--save", "plans/mine.yaml", "--plan", other["id"]).code == 0
        unknown = run("solve", file, "--save", "plans/other.yaml", "--plan", other["id"] + "x")
    saved = load_plans(here / "plans", load_catalog(here / "model_cards")).named("mine")
    assert isinstance(saved, Cascade)
    assert unknown.code == 2
    assert f'did you mean "{other["id"]}"' in unknown.err


def test_a_single_card_needs_no_plan_file(run: Run, here: Path) -> None:
    with pool(here, ONE_STRONG) as made:
        ended = run("solve", str(made.task(EXAMPLES)), "--save", "plans/late.yaml")
    assert ended.code == 0
    assert "strong is a card, which needs no plan" in ended.err
    assert not (here / "plans" / "late.yaml").exists()


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("plans/Late.yaml", "the file's name is the id of the plan"),
        ("plans/late.txt", "a plan's file ends in .yaml"),
        ("nowhere/late.yaml", "the folder nowhere does not exist"),
        ("plans/old.yaml", "exists already"),
    ],
)
def test_a_plan_that_cannot_be_saved_is_reported_before_anything_is_asked(
    run: Run, here: Path, file: str, problem: str
) -> None:
    with pool(here, ONE_STRONG) as made:
        (here / "plans" / "old.yaml").write_text("")
        ended = run("solve", str(made.task(4)), "--save", file)
        assert made.calls == 0
    assert ended.code == 2
    assert problem in ended.err


def test_a_dry_run_calls_and_writes_nothing(run: Run, here: Path) -> None:
    with pool(here, COMPLEMENTARY) as made:
        shown = run("solve", str(made.task(EXAMPLES)), "--dry-run")
        planned = json.loads(run("solve", str(made.task(EXAMPLES)), "--dry-run", "--json").out)
        assert made.calls == 0
    assert "72 calls" in shown.out
    assert planned["calls"] == 72
    assert planned["worst_usd"] > planned["forecast_usd"] > 0
    assert not list(here.glob("*.jsonl"))


def test_a_card_whose_server_fails_is_left_out_with_its_reason(run: Run, here: Path) -> None:
    with pool(here, COMPLEMENTARY) as made:
        made.servers["bee"].rejects = ("model",)
        found = solution(run("solve", str(made.task(EXAMPLES)), "--json"))
    assert found["cards"] == ["ant", "cow"]
    assert "Unsupported parameter" in found["left_out"]["bee"]
    assert found["evaluated"] == EXAMPLES


def test_only_the_cards_of_the_task_are_asked(run: Run, here: Path) -> None:
    with pool(here, COMPLEMENTARY) as made:
        found = solution(run("solve", str(made.task(4, cards=["cow", "ant"])), "--json"))
        assert not made.servers["bee"].bodies
    assert found["left_out"]["bee"] == "not among the cards of the task"


def test_the_request_is_sent_as_a_client_would_send_it(run: Run, here: Path) -> None:
    with pool(here, ONE_STRONG) as made:
        run("solve", str(made.task(4)))
        body = made.servers["weak"].bodies[0]
    assert body["messages"] == [{"role": "user", "content": body["messages"][0]["content"]}]
    assert body["messages"][0]["content"].endswith("how many days is it late?")
    assert body["max_tokens"] == 100


def test_a_json_task_compares_plans_that_take_the_first_valid_answer(run: Run, here: Path) -> None:
    replies: dict[str, tuple[float, Reply]] = {
        "cheap": (0.1, lambda number: '{"days": 3}' if number % 2 else '{"days": 3'),
        "strong": (20.0, lambda number: '{"days": 3}'),
    }
    with pool(here, replies) as made:
        file = made.task(2, kinds=["single", "best_of"])
        task = json.loads(file.read_text())
        rows = [{"prompt": f"Ticket {number}: " + "x" * 200, "answer": {"days": 3}} for number in range(10)]
        file.write_text(json.dumps(task | {"examples": rows}))
        found = solution(run("solve", str(file), "--json"))
    chosen = next(plan for plan in found["comparison"]["plans"] if plan["id"] == found["comparison"]["chosen"])
    assert (chosen["kind"], chosen["quality"], chosen["calls"]) == ("best_of", 1.0, 1.5)
