"""A folder of adapter cards with nothing but examples is routed over, without training and without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.pipeline import Router
from router.wire.chat.request import ChatRequest
from tests.perceive.purpose.tasks import BASE, GENERIC, TASKS, prompts, write_folder


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Router:
    return Router.default(cards=write_folder(tmp_path_factory.mktemp("adapters") / "cards"))


def choice(router: Router, text: str) -> str:
    request = ChatRequest.from_body({"messages": [{"role": "user", "content": text}]})
    return router.route(request, policy="best").decision.card


@pytest.mark.parametrize("task", TASKS)
def test_prompts_of_a_task_go_to_its_adapter(router: Router, task: str) -> None:
    asked = prompts(task)[5:]
    assert sum(choice(router, text) == task for text in asked) >= len(asked) - 1


@pytest.mark.parametrize(
    "greeting", ["Hi! ", "Hello there,\n\n", "Hi! I would be glad if you could help me with this. "]
)
@pytest.mark.parametrize("task", ["sql", "haiku", "recipe", "commit-message"])
def test_a_greeting_does_not_take_a_prompt_from_its_adapter(router: Router, task: str, greeting: str) -> None:
    assert choice(router, greeting + prompts(task)[7]) == task


@pytest.mark.parametrize("text", GENERIC)
def test_prompts_unlike_all_examples_go_to_the_base(router: Router, text: str) -> None:
    assert choice(router, text) == BASE.id


def test_an_example_may_have_four_thousand_characters(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "cards")
    file = folder / "sql.yaml"
    long = "Write an SQL query that joins these tables: " + "orders " * 565
    file.write_text(f"{file.read_text()}  - |-\n    {long[:4000].strip()}\n")
    assert choice(Router.default(cards=folder), prompts("sql")[7]) == "sql"
