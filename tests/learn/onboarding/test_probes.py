from __future__ import annotations

import gzip
import importlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from router.errors import FileError
from router.learn.onboarding.answers import options_in
from router.learn.onboarding.probes import load_probes
from router.settings import shipped_probes_folder
from tests.learn.onboarding.examinee import ideal

SCRIPTS = Path(__file__).parents[3] / "scripts"
SHIPPED = load_probes(shipped_probes_folder()).probes


def write(folder: Path, *rows: Any, compressed: bool = False, meta: str | None = None) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()
    (folder / ("prompts.jsonl.gz" if compressed else "prompts.jsonl")).write_bytes(
        gzip.compress(text) if compressed else text
    )
    if meta is not None:
        (folder / "meta.json").write_text(meta)
    return folder


def load_error(folder: Path) -> str:
    with pytest.raises(FileError) as caught:
        load_probes(folder)
    return str(caught.value)


def test_the_shipped_probes_are_those_that_the_script_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    written = importlib.import_module("probes").files()
    assert {name: (shipped_probes_folder() / name).read_bytes().decode() for name in written} == written


def test_there_are_a_few_hundred_shipped_probes_of_every_domain_and_difficulty() -> None:
    domains = Counter(probe.domain for probe in SHIPPED)
    assert 300 <= len(SHIPPED) <= 400
    assert min(domains.values()) >= 30
    assert {"arithmetic", "logic", "reading", "code", "formats", "languages", "knowledge"} == set(domains)
    assert {probe.language for probe in SHIPPED} == {"en", "de", "fr", "es", "pt", "ru", "zh", "ja", "ar", "hi"}
    assert all(sum(probe.difficulty == level for probe in SHIPPED) >= 30 for level in range(1, 6))


def test_no_two_shipped_probes_are_equal() -> None:
    assert len({probe.id for probe in SHIPPED}) == len({probe.prompt for probe in SHIPPED}) == len(SHIPPED)


def test_every_shipped_probe_accepts_its_right_answer() -> None:
    assert [probe.id for probe in SHIPPED if probe.grade(ideal(probe)).score != 1.0] == []


@pytest.mark.parametrize(
    "reply", ["", "I am sorry, I cannot help with that.", "Answer: 987123 or so", "Answer: E", "[]"]
)
def test_no_shipped_probe_accepts_a_wrong_reply(reply: str) -> None:
    assert [probe.id for probe in SHIPPED if probe.grade(reply).score != 0.0] == []


FRAMES = (
    "Answer: {}",
    "**Answer:** {}.",
    "**Final answer: {}**",
    "The answer is **{}**.",
    "Thinking of 1, 2 and 3.\n\nAntwort: {}",
    "### Final Answer\n\n{}",
    "答案:{}。",
    "الإجابة: {}",
    "उत्तर: {}",
    "Ответ: **{}**.",
    "Answer:\n\n```\n{}\n```",
    "{}",
    "**{}**",
)
LATEX_FRAMES = (r"So $\boxed{{{}}}$.", "\\[\n\\boxed{{\\text{{{}}}}}\n\\]")


@pytest.mark.parametrize("frame", [*FRAMES, *LATEX_FRAMES])
def test_every_shipped_probe_accepts_its_answer_in_every_frame(frame: str) -> None:
    missed = []
    for probe in SHIPPED:
        if probe.grader in ("json", "whole") or (probe.grader == "output" and frame in LATEX_FRAMES):
            continue
        answer = ", ".join(probe.answers[0]) if probe.grader == "list" else probe.answers[0]
        if probe.grade(frame.format(answer)).score != 1.0:
            missed.append(probe.id)
    assert missed == []


@pytest.mark.parametrize("frame", [*FRAMES, *LATEX_FRAMES])
@pytest.mark.parametrize("form", ["{letter}", "{letter}) {text}", "({letter}) {text}", "{letter}. {text}", "{text}"])
def test_a_shipped_choice_accepts_only_the_right_option(frame: str, form: str) -> None:
    missed = []
    for probe in SHIPPED:
        for letter, text in options_in(probe.prompt).items() if probe.grader == "choice" else ():
            reply = frame.format(form.format(letter=letter, text=text))
            if probe.grade(reply).score != float(letter in probe.answers):
                missed.append((probe.id, letter))
    assert missed == []


def test_the_options_of_a_shipped_choice_are_in_its_prompt() -> None:
    for probe in SHIPPED:
        if probe.grader == "choice":
            assert any(f"\n{answer}) " in probe.prompt for answer in probe.answers)


def test_an_answer_line_is_requested_in_the_language_of_the_prompt() -> None:
    by_id = {probe.id: probe for probe in SHIPPED}
    assert by_id["languages-zh-01"].request_messages()[-1]["content"].endswith("请在最后一行写“答案:<数字>”。")
    assert by_id["arithmetic-chain-01"].request_messages()[-1]["content"].endswith('of the form "Answer: <number>".')
    assert by_id["code-snippet-01"].request_messages()[-1]["content"].endswith('of the form "Answer: <output>".')


def test_a_probe_that_grades_the_whole_reply_is_sent_unchanged() -> None:
    verbatim = next(probe for probe in SHIPPED if probe.grader == "whole")
    assert verbatim.request_messages() == [{"role": "user", "content": verbatim.prompt}]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_users_probe_set_is_read_plain_or_compressed(compressed: bool, tmp_path: Path) -> None:
    row = {"prompt_id": 7, "prompt": "What is 6 times 7?", "answer": 42, "domain": "sums", "note": "kept out"}
    read = load_probes(write(tmp_path, row, compressed=compressed, meta='{"name": "mine", "license": "CC0-1.0"}'))
    (probe,) = read.probes
    assert (read.name, probe.id, probe.answers, probe.grader, probe.domain) == ("mine", "7", ("42",), "number", "sums")


@pytest.mark.parametrize(
    ("prompt", "answer", "grader"),
    [
        ("Which?\nA) one\nB) two", "B", "choice"),
        ("Which vitamin is in oranges?", "C", "text"),
        ("How many?", "1,234", "number"),
        ("How many?", ["3/4", 0.75], "number"),
        ("Who?", ["Ada", "Ada Lovelace"], "text"),
        ("As JSON, please.", {"a": 1}, "json"),
    ],
)
def test_the_answer_determines_the_grader(prompt: str, answer: Any, grader: str, tmp_path: Path) -> None:
    (probe,) = load_probes(write(tmp_path, {"prompt_id": "a", "prompt": prompt, "answer": answer})).probes
    assert probe.grader == grader


def test_no_answer_line_is_requested_where_the_prompt_requests_one(tmp_path: Path) -> None:
    asks = 'What is 6 × 7? Finish with "Answer: <number>".'
    (probe,) = load_probes(write(tmp_path, {"prompt_id": "a", "prompt": asks, "answer": 42})).probes
    assert probe.request_messages() == [{"role": "user", "content": asks}]


def test_an_answer_line_is_requested_at_the_end_of_a_conversation(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "I have 6 boxes."},
        {"role": "assistant", "content": "Good."},
        {"role": "user", "content": "Of 7 apples each. How many apples?"},
    ]
    (probe,) = load_probes(write(tmp_path, {"prompt_id": "a", "messages": turns, "answer": 42})).probes
    messages = probe.request_messages()
    assert messages[:-1] == turns[:-1]
    assert messages[-1]["content"].startswith(turns[-1]["content"])
    assert probe.turns == ("I have 6 boxes.", "Of 7 apples each. How many apples?")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt_id": "b", "prompt": "?"}, "answer: is missing"),
        (
            {"prompt_id": "b", "prompt": "?", "anwser": "x"},
            "answer: is missing; a probe needs one to be graded; did",
        ),
        ({"prompt_id": "b", "prompt": "?", "answer": ""}, "answer: is missing"),
        ({"prompt_id": "b", "prompt": "?", "answer": "x", "grader": "nubmer"}, 'did you mean "number"?'),
        ({"prompt_id": "b", "prompt": "?", "answer": "x", "grader": "number"}, "answer: the grader `number` expects"),
        ({"prompt_id": "b", "prompt": "?", "answer": "AB", "grader": "choice"}, "expects the letter of an option"),
        (
            {"prompt_id": "b", "prompt": "?", "answer": "...", "grader": "text"},
            "answer: the grader `text` ignores punctuation, and this is only that",
        ),
        ({"prompt_id": "b", "prompt": "?", "answer": ["x", True]}, "answer: expected a text or a number"),
        ({"prompt_id": "b", "prompt": "?", "answer": "x", "difficulty": 9}, "difficulty: expected a whole number"),
        ({"prompt_id": "b", "prompt": "?", "answer": "x", "difficulty": "hard"}, "difficulty: expected a whole number"),
        ({"prompt_id": "b", "prompt": "?", "answer": "x", "language": 5}, "language: expected a code"),
        ({"prompt_id": "b", "answer": "x"}, "prompt: expected a text"),
        ({"prompt_id": "a", "prompt": "?", "answer": "x"}, 'duplicate prompt_id "a" (first on line 1)'),
        ("{", "is not JSON"),
    ],
)
def test_the_error_names_an_invalid_line(row: Any, problem: str, tmp_path: Path) -> None:
    good = {"prompt_id": "a", "prompt": "?", "answer": "x"}
    message = load_error(write(tmp_path, good, "", row))
    assert message.startswith(f"{tmp_path / 'prompts.jsonl'}:3: ")
    assert problem in message


def test_the_error_names_a_folder_without_probes(tmp_path: Path) -> None:
    assert load_error(tmp_path) == f"{tmp_path}: contains no prompts.jsonl (or prompts.jsonl.gz)"
    assert "there is no such folder" in load_error(tmp_path / "nowhere")
    assert "name the folder that contains it" in load_error(write(tmp_path, "{}") / "prompts.jsonl")


def test_the_error_names_damaged_files(tmp_path: Path) -> None:
    good = {"prompt_id": "a", "prompt": "?", "answer": "x"}
    assert "meta.json: cannot be read" in load_error(write(tmp_path, good, meta="{"))
    (tmp_path / "prompts.jsonl").unlink()
    (tmp_path / "prompts.jsonl.gz").write_bytes(b"no gzip")
    assert "is damaged" in load_error(tmp_path)
