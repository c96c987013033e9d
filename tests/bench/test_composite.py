"""The benchmark of composite prompts: what it makes, and how it scores."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from bench.composite import false_splits, oracle
from bench.composite.adapter_tasks import TASKS
from bench.composite.prompts import STYLES, composites, load_tasks
from router.compose.split import split_prompt

MADE = {
    "sum": [(f"What is {number} + {number + 7}?", str(2 * number + 7)) for number in range(40)],
    "plural": [(f"What is the plural of the noun '{word}'?", f"{word}s") for word in ("cat", "dog", "hat", "cup") * 10],
    "colour": [(f"Which colour has a ripe {word}?", "red") for word in ("cherry", "tomato", "rose", "brick") * 10],
}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    file = tmp_path / "bbh_tasks" / "prompts.jsonl.gz"
    file.parent.mkdir()
    rows = [
        {"prompt_id": f"{domain}-{number}", "prompt": text, "target": target, "domain": domain}
        for domain, of_domain in MADE.items()
        for number, (text, target) in enumerate(of_domain)
    ]
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
    return file


@pytest.mark.parametrize("style", STYLES)
def test_every_style_is_split_into_the_tasks_of_which_it_was_made(style: str, tasks: Path) -> None:
    for composite in composites(load_tasks(tasks), style, 3, 5):
        assert split_prompt(composite.text) == tuple(task.text for task in composite.tasks)


def test_the_same_style_and_size_give_the_same_prompts(tasks: Path) -> None:
    by_domain = load_tasks(tasks)
    assert composites(by_domain, "blocks", 2, 3) == composites(by_domain, "blocks", 2, 3)


def test_segments_reach_what_no_single_adapter_can(tasks: Path) -> None:
    (scores,) = oracle.measure(tasks, 6, sizes=(3,), styles=("numbered",))
    assert scores.boundaries == 1.0
    assert scores.attempted == 3.0
    assert scores.correct > scores.best_single == 1.0


def test_single_tasks_that_are_split_are_counted(tasks: Path) -> None:
    (rate,) = false_splits.measure(tasks.parent.parent)
    assert (rate.prompts, rate.split, rate.rate) == (120, (), 0.0)


@pytest.mark.parametrize("name", TASKS)
def test_the_tasks_of_the_adapters_have_one_line_as_answer(name: str) -> None:
    rng = random.Random(name)
    made = [TASKS[name](rng) for _ in range(20)]
    assert all(target and "\n" not in target + prompt for prompt, target in made)
