"""The everyday prompts that ship with the project are complete, graded twice and varied."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from router.learn.data.routing_set import load_set
from router.wire import ChatRequest

FOLDER = Path(__file__).parent.parent / "data" / "everyday"
LEVELS = range(1, 6)
DOMAINS = 22


@pytest.fixture(scope="module")
def prompts() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def grades() -> dict[str, dict[str, dict[str, str]]]:
    """The grades by prompt and grader."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    with (FOLDER / "grades.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            found.setdefault(row["prompt_id"], {})[row["grader"]] = row
    return found


def test_there_are_at_least_three_thousand_prompts_of_all_domains(prompts: list[dict[str, Any]]) -> None:
    assert len(prompts) >= 3_000
    by_domain = Counter(row["domain"] for row in prompts)
    assert len(by_domain) == DOMAINS
    assert min(by_domain.values()) >= 60


def test_at_least_twenty_languages_occur(prompts: list[dict[str, Any]]) -> None:
    assert len({row["language"] for row in prompts}) >= 20
    assert sum(row["language"] != "en" for row in prompts) >= len(prompts) / 5


def test_every_level_occurs_in_every_domain(
    prompts: list[dict[str, Any]], grades: dict[str, dict[str, dict[str, str]]]
) -> None:
    cells = {(row["domain"], int(grades[row["prompt_id"]]["a"]["difficulty"])) for row in prompts}
    assert len(cells) == DOMAINS * len(LEVELS)


def test_every_prompt_is_graded_by_two_graders(
    prompts: list[dict[str, Any]], grades: dict[str, dict[str, dict[str, str]]]
) -> None:
    assert set(grades) == {row["prompt_id"] for row in prompts}
    assert {frozenset(by_grader) for by_grader in grades.values()} == {frozenset("ab")}


def test_expected_shares_rise_with_the_strength_of_the_model(grades: dict[str, dict[str, dict[str, str]]]) -> None:
    for by_grader in grades.values():
        for row in by_grader.values():
            shares = [float(row[name]) for name in ("small", "medium", "strong", "frontier")]
            assert shares == sorted(shares)
            assert shares[0] >= 0
            assert shares[-1] <= 1


def test_every_line_is_a_request_that_can_be_routed(prompts: list[dict[str, Any]]) -> None:
    for row in prompts:
        messages = row.get("messages") or [{"role": "user", "content": row["prompt"]}]
        ChatRequest.from_body({"messages": messages, **({"tools": row["tools"]} if "tools" in row else {})})


def test_pairs_have_an_easier_and_a_harder_member(
    prompts: list[dict[str, Any]], grades: dict[str, dict[str, dict[str, str]]]
) -> None:
    members: dict[str, list[int]] = {}
    for row in prompts:
        if "pair" in row:
            members.setdefault(row["pair"], []).append(int(grades[row["prompt_id"]]["a"]["difficulty"]))
    assert len(members) >= 100
    assert {pair for pair, levels in members.items() if len(levels) != 2 or levels[0] == levels[1]} == set()


def test_the_folder_is_a_routing_data_set(prompts: list[dict[str, Any]]) -> None:
    data = load_set(FOLDER)
    assert data.scores.shape == (len(prompts), 4)
