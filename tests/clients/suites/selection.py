"""A pytest plugin for the process that runs an SDK's suite: it keeps the tests that the rules select.

It stands alone on that process's path, beside `rules.py`, since the suite's package is named `tests` as ours is.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rules import read_rules, rule_of


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    rules = read_rules(Path(os.environ["SUITE_RULES"]))
    tests = config.rootpath / "tests"
    decided = [(item, rule_of(rules, item.path.relative_to(tests).as_posix(), item.name)) for item in items]
    without = [item.nodeid for item, rule in decided if rule is None]
    if without:
        raise pytest.UsageError(f"no rule in {os.environ['SUITE_RULES']} fits {', '.join(without)}")
    items[:] = [item for item, rule in decided if rule is not None and rule.runs]
    config.hook.pytest_deselected(items=[item for item, rule in decided if rule is not None and not rule.runs])
