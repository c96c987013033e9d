"""Every claim of SECURITY.md names tests, and they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_test_that_the_policy_names_exists(file: str, test: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"def {test}\(" if test else r"def test_", text)


def test_every_claim_names_a_test() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| claim")]
    assert len(rows) > 15
    assert [row for row in rows if "`tests/" not in row] == []


def test_the_policy_says_how_to_report_and_names_no_address() -> None:
    assert "private advisories" in TEXT
    assert not re.search(r"[\w.]+@[\w.]+\.\w+|https?://", TEXT)
