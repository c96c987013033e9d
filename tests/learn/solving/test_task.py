from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from router.cards import Card, Catalog
from router.decide.plans.spec import KINDS as PLAN_KINDS
from router.errors import FileError
from router.learn.solving.task import KINDS, json_schema, load_task
from tests.commands.conftest import Run

CATALOG = Catalog([Card(id="ant", provider="openai", model="ant-1"), Card(id="bee", provider="openai", model="bee-1")])
GOOD = """\
description: Read a number.
limits: [cost<0.002$, latency<5s]
cards: [ant]
max_usd: 0.5
examples:
  - prompt: What is 1 + 1?
    answer: 2
  - messages: [{role: user, content: "Is it late? Answer yes or no."}]
    answer: ["yes", "y"]
    grader: whole
    id: late
"""


def test_a_task_is_read_with_its_examples_graded_as_they_state(tmp_path: Path) -> None:
    file = tmp_path / "numbers.yaml"
    file.write_text(GOOD)
    task = load_task(file, CATALOG)
    assert [(probe.id, probe.grader) for probe in task.probes] == [("1", "number"), ("late", "whole")]
    assert [probe.grade(text).score for probe, text in zip(task.probes, ("It is 2", "y"), strict=True)] == [1, 1]
    assert [limit.field for limit in task.limits] == ["cost", "latency"]
    assert (task.name, task.cards, task.max_usd) == ("numbers", ("ant",), 0.5)


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("max_usd", "max_us", 'numbers.yaml:4: unknown key "max_us"; did you mean "max_usd"?'),
        ("[ant]", "[amt]", 'numbers.yaml:3: cards.0: there is no card "amt"; did you mean "ant"?'),
        ("latency<5s", "latncy<5s", "numbers.yaml:2: limits.1: "),
        ("latency<5s", "cheapest", "numbers.yaml:2: limits.1: cheapest is a goal"),
        ("grader: whole", "grader: hole", "numbers.yaml:10: grader: expected one of choice, number"),
        ("    answer: 2\n", "", 'numbers.yaml:6: examples.0: the key "answer" is missing'),
        ("answer: 2", "answer:", "numbers.yaml:7: answer: is missing"),
        ("prompt: What is 1 + 1?", 'prompt: ""', "numbers.yaml:6: examples.0.prompt"),
        ("    answer: 2", "    messages: []\n    answer: 2", "examples.0.messages"),
        ("id: late", 'id: "1"', 'numbers.yaml:11: examples.1.id: "1" is the id of another example too'),
        ("max_usd: 0.5", "max_usd: 0", "numbers.yaml:4: max_usd"),
        ("description: Read a number.", "", 'the key "description" is missing'),
        ("cards: [ant]", "kinds: [cascde]", 'kinds.0: unknown value "cascde"; did you mean "cascade"?'),
    ],
)
def test_an_error_names_file_line_and_key(tmp_path: Path, before: str, after: str, problem: str) -> None:
    file = tmp_path / "numbers.yaml"
    file.write_text(GOOD.replace(before, after))
    with pytest.raises(FileError) as raised:
        load_task(file, CATALOG)
    assert problem in str(raised.value)


@pytest.mark.parametrize("kind", sorted({*PLAN_KINDS} - {*KINDS}))
def test_a_kind_of_plan_that_is_not_tried_is_refused_with_the_reason(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "numbers.yaml"
    file.write_text(GOOD.replace("cards: [ant]", f"kinds: [cascade, {kind}]"))
    with pytest.raises(FileError, match=rf"numbers.yaml:3: kinds.1: plans of kind {kind} are not tried: "):
        load_task(file, CATALOG)


def test_an_example_that_is_asked_twice_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "numbers.yaml"
    file.write_text(GOOD + "  - prompt: What is 1 + 1?\n    answer: 2\n")
    with pytest.raises(FileError, match=r"numbers.yaml:12: examples.2: asks the same as examples.0"):
        load_task(file, CATALOG)


def test_the_schema_accepts_a_task_and_refuses_an_unknown_key(run: Run) -> None:
    schema = yaml.safe_load(run("solve", "--schema").out)
    assert schema["title"] == json_schema()["title"] == "Pulvinar task"
    task = yaml.safe_load(GOOD)
    jsonschema.validate(task, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(task | {"max_us": 1}, schema)
