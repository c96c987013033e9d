from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.cards import Card
from router.cards.catalog import load_catalog
from router.dispatch import Dispatcher, DispatchSettings
from router.errors import CallerError, FileError
from router.learn.solving.answer_log import Account, Answered, AnswerLog, Asked, Sent, earlier
from router.learn.solving.ask import Asking, ask_examples, worst_usd_of
from router.learn.solving.task import Task, load_task
from tests.learn.solving.pool import Pool, pool, right, wrong


@pytest.fixture
def made(here: Path) -> Iterator[Pool]:
    with pool(here, {"ant": (1.0, right), "bee": (3.0, wrong), "cow": (9.0, right)}) as servers:
        yield servers


def cards_of(made: Pool) -> tuple[Card, ...]:
    return tuple(load_catalog(made.folder / "model_cards"))


def task_of(made: Pool, examples: int = 6) -> Task:
    return load_task(made.task(examples), load_catalog(made.folder / "model_cards"))


def ask(made: Pool, max_usd: float, *, examples: int = 6, concurrency: int = 3, file: str = "a.jsonl") -> Asking:
    async def no_wait(seconds: float) -> None:
        await asyncio.sleep(0)

    async def run() -> Asking:
        dispatcher = Dispatcher(DispatchSettings(retries=0))
        try:
            with AnswerLog(made.folder / file) as log:
                return await ask_examples(
                    task_of(made, examples),
                    cards_of(made),
                    log,
                    dispatcher,
                    max_usd=max_usd,
                    concurrency=concurrency,
                    wait=no_wait,
                )
        finally:
            await dispatcher.aclose()

    return asyncio.run(run())


def charged_usd(made: Pool, calls: dict[str, int]) -> float:
    """What the servers would charge for these calls of each card."""
    usd = {"ant": 1e-6, "bee": 3e-6, "cow": 9e-6}
    return sum(calls[name] * usd[name] * (100 + len(right(1)) + (name == "bee")) for name in calls)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    budgets=st.lists(st.floats(1e-4, 2e-2), min_size=1, max_size=3),
    concurrency=st.integers(1, 6),
    interrupts=st.booleans(),
)
def test_the_budget_is_never_exceeded_in_any_number_of_runs(
    made: Pool, budgets: list[float], concurrency: int, interrupts: bool
) -> None:
    file = made.folder / "a.jsonl"
    file.unlink(missing_ok=True)
    for server in made.servers.values():
        server.bodies.clear()
        server.interrupts = interrupts
    most_usd = 0.0
    for max_usd in budgets:
        most_usd = max(most_usd, max_usd)
        asking = ask(made, max_usd, concurrency=concurrency)
        spent_usd = charged_usd(made, {name: len(server.bodies) for name, server in made.servers.items()})
        assert spent_usd <= most_usd + 1e-12
        assert asking.spent_usd <= most_usd + 1e-12
        assert asking.spent_usd >= spent_usd - 1e-12


def test_asking_stops_where_the_next_answer_might_exceed_the_budget(made: Pool) -> None:
    task, cards = task_of(made), cards_of(made)
    row_usd = sum(worst_usd_of(card, task.probes[0], task.max_tokens) for card in cards)
    asking = ask(made, 2 * row_usd)
    assert asking.stopped == "budget"
    assert 3 <= asking.answered < asking.wanted == 18
    # Example by example, so that every example which is begun is answered by all cards as far as possible.
    counts = [len(server.bodies) for server in made.servers.values()]
    assert max(counts) - min(counts) <= 1


def test_each_card_is_asked_each_example_once(made: Pool) -> None:
    assert ask(made, 1.0, examples=4).answered == 12
    assert ask(made, 1.0, examples=6).answered == 18
    for server in made.servers.values():
        assert len(server.asked) == len(set(server.asked)) == 6


def test_a_call_that_was_interrupted_counts_as_spent_at_the_most_that_it_may_cost(made: Pool) -> None:
    task, cards = task_of(made), cards_of(made)
    file = made.folder / "a.jsonl"
    with AnswerLog(file) as log:
        log.begin(Asked("ant", "ant-1", task.key_of(task.probes[0])), "1", 0.25)
    assert earlier(file).spent_usd == 0.25
    asking = ask(made, 1.0)
    assert asking.answered == 18
    assert 0.25 < asking.spent_usd < 0.26
    assert len(cards) == 3


def test_an_incomplete_last_line_is_removed_and_its_call_counts_in_full(made: Pool) -> None:
    ask(made, 1.0, examples=4)
    file = made.folder / "a.jsonl"
    whole = earlier(file)
    file.write_bytes(file.read_bytes()[:-20])
    cut = earlier(file)
    assert (len(cut.answers), len(cut.unanswered)) == (len(whole.answers) - 1, 1)
    assert cut.spent_usd > whole.spent_usd
    assert ask(made, 1.0, examples=4).answered == 12


def test_a_damaged_file_is_reported_with_its_line(made: Pool) -> None:
    file = made.folder / "a.jsonl"
    file.write_text('{"event":"answered","call":3,"text":"","latency_ms":1}\n')
    with pytest.raises(FileError, match=r"a.jsonl:1: is damaged: call 3"):
        AnswerLog(file)


def test_two_runs_of_one_task_do_not_ask_at_the_same_time(made: Pool) -> None:
    file = made.folder / "a.jsonl"
    with AnswerLog(file), pytest.raises(CallerError, match="another `route solve` of this task is running"):
        AnswerLog(file)


def test_answers_of_another_model_or_request_are_not_used(made: Pool) -> None:
    ask(made, 1.0, examples=3)
    card = made.folder / "model_cards" / "ant.yaml"
    card.write_text(card.read_text().replace("ant-1", "ant-2"))
    before = {name: len(server.bodies) for name, server in made.servers.items()}
    assert ask(made, 1.0, examples=3).answered == 9
    after = {name: len(server.bodies) for name, server in made.servers.items()}
    assert {name: after[name] - before[name] for name in after} == {"ant": 3, "bee": 0, "cow": 0}


def test_a_server_that_is_down_is_given_up_after_two_examples(made: Pool) -> None:
    made.servers["bee"].fails_after = 0
    asking = ask(made, 1.0, concurrency=1)
    assert list(asking.failed) == ["bee"]
    assert asking.answered == 12
    assert len({json.dumps(body["messages"]) for body in made.servers["bee"].bodies}) == 2


def test_an_account_counts_an_answer_at_its_cost() -> None:
    account = Account([Sent(0, "ant", "ant-1", "1", "k", 0.5), Answered(0, "2", 10.0, cost_usd=0.1)])
    assert account.spent_usd == pytest.approx(0.1)
    assert account.answers[Asked("ant", "ant-1", "k")].text == "2"
