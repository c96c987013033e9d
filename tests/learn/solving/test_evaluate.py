from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from router.compose.run import Brief, Forecasts, Ledger
from router.compose.runner import PlanRunner
from router.decide.plans.spec import PlanSpec
from router.dispatch import Call, Dispatcher
from router.learn.solving.answer_log import AnswerLog
from router.learn.solving.candidates import Cards
from router.learn.solving.evaluate import worth_of
from router.learn.solving.result import Solution
from router.learn.solving.solve import log_file, prepare, solve
from router.learn.solving.task import Task, load_task
from router.loading import load_plan_gate, load_router
from router.pipeline import Router
from router.types import Attempt, ComposedPlan
from router.wire.reading.whole_answers import read_whole_answer
from tests.learn.solving.pool import Pool, Reply, pool, right, wrong

REPLIES: dict[str, tuple[float, Reply]] = {
    "ant": (1.0, lambda number: wrong(number, 1) if number % 3 == 0 else right(number)),
    "bee": (1.1, lambda number: wrong(number, 2) if number % 3 == 1 else right(number)),
    "mute": (0.1, lambda number: right(number) if number % 2 else "Sorry, I cannot help with that."),
}


def solved(made: Pool, router: Router, task: Task, cards: Cards) -> tuple[Solution, dict[str, PlanSpec]]:
    async def run() -> tuple[Solution, dict[str, PlanSpec]]:
        dispatcher = Dispatcher()
        try:
            with AnswerLog(log_file(made.folder / "late.yaml")) as log:
                solution, plans = await solve(router, task, cards, log, dispatcher, load_plan_gate(), max_usd=1.0)
                return solution, dict(plans)
        finally:
            await dispatcher.aclose()

    return asyncio.run(run())


@pytest.mark.usefixtures("here")
def test_every_plan_runs_and_does_what_was_reported(here: Path) -> None:
    with pool(here, REPLIES) as made:
        router = load_router(here / "model_cards")
        task = load_task(made.task(6), router.catalog)
        cards = prepare(router, task, "default", {})
        solution, plans = solved(made, router, task, cards)
        gate = load_plan_gate()
        reported = [figures for figures in solution.comparison.plans if figures.kind != "single"]
        assert len(reported) >= 5

        async def really(plan: PlanSpec) -> tuple[float, float, float]:
            """Quality, cost and calls of a plan that is run against the servers."""
            dispatcher, score, cost_usd, calls = Dispatcher(), 0.0, 0.0, 0
            for probe, routed in zip(task.probes, cards.routed, strict=True):
                members = tuple(str(member) for member in plan.members)  # type: ignore[union-attr]
                worth = worth_of(router, routed, [plan])[plan.name]
                composed = ComposedPlan(plan.name, plan.kind, members[0], members, quality_per_usd=worth)
                brief = Brief(plan, Forecasts.of(router.catalog, routed.forecast))
                body = {"model": plan.name, "messages": list(probe.messages), "temperature": 0, "max_tokens": 100}
                ledger, attempts = Ledger(), list[Attempt]()
                call = Call("chat", body, decode=True)
                runner = PlanRunner(dispatcher, gate)
                response = await runner.run(composed, router.catalog, call, attempts, brief=brief, ledger=ledger)
                assert not ledger.degraded or ledger.degraded in ("members", "validators")
                score += probe.grade(read_whole_answer("chat", response.decoded).text).score
                cost_usd += ledger.cost_usd() or 0.0
                calls += len(ledger.calls)
            await dispatcher.aclose()
            count = len(task.probes)
            return score / count, cost_usd / count, calls / count

        for figures in reported:
            quality, cost_usd, calls = asyncio.run(really(plans[figures.id]))
            assert quality == pytest.approx(figures.quality), figures.id
            assert cost_usd == pytest.approx(figures.cost_usd), figures.id
            assert calls == pytest.approx(figures.calls), figures.id
