"""The rules that select an SDK's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.suites.rules import files_to_run, read_rules, rule_of

RULES = """
# A comment.
not  *                 path_params  sends nothing
run  chat/test_a.py    create,list  chat completions
not  chat/*            *            stored completions
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.txt"
    path.write_text(RULES, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("file", "name", "subject"),
    [
        ("chat/test_a.py", "test_method_create[loose]", "chat completions"),
        ("chat/test_a.py", "test_path_params_list", "sends nothing"),
        ("chat/test_a.py", "test_method_delete", "stored completions"),
        ("chat/more/test_b.py", "test_method_create", "stored completions"),
        ("test_c.py", "test_method_create", None),
    ],
)
def test_the_first_rule_that_fits_decides(rules: Path, file: str, name: str, subject: str | None) -> None:
    rule = rule_of(read_rules(rules), file, name)
    assert (rule.subject if rule else None) == subject


def test_only_files_with_a_rule_that_runs_are_collected(rules: Path, tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    for name in ("chat/test_a.py", "chat/test_b.py", "test_c.py"):
        (tests / name).parent.mkdir(parents=True, exist_ok=True)
        (tests / name).touch()
    assert files_to_run(read_rules(rules), tests) == [tests / "chat" / "test_a.py"]
