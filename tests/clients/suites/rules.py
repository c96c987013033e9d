"""The rules that say which tests of an SDK's own suite run against the gateway."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path


@dataclass(frozen=True)
class Rule:
    """The tests that it selects: their files below `tests/`, words of their names, and whether they run, and why."""

    runs: bool
    files: str
    words: Sequence[str]
    subject: str

    def has(self, file: str, name: str) -> bool:
        """Whether the test `name` of `file` is one of these."""
        return fnmatchcase(file, self.files) and any(word == "*" or word in name for word in self.words)


def read_rules(path: Path) -> list[Rule]:
    """The rules of a file, whose first line that fits a test decides."""
    rules = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            verb, files, words, subject = re.split(r"\s{1,}", line, maxsplit=3)
            rules.append(Rule({"run": True, "not": False}[verb], files, words.split(","), subject))
    return rules


def rule_of(rules: Sequence[Rule], file: str, name: str) -> Rule | None:
    """The rule of a test, else None."""
    return next((rule for rule in rules if rule.has(file, name)), None)


def files_to_run(rules: Sequence[Rule], tests: Path) -> list[Path]:
    """The files of the suite with a test that may run."""
    return [
        file
        for file in sorted(tests.rglob("test_*.py"))
        if any(rule.runs and fnmatchcase(file.relative_to(tests).as_posix(), rule.files) for rule in rules)
    ]
