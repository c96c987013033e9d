from __future__ import annotations

import pytest

from router.learn import progress
from router.learn.progress import tracked


class Clock:
    """A clock that each reading moves by `step_s`."""

    def __init__(self, step_s: float) -> None:
        self.now_s, self._step_s = 0.0, step_s

    def monotonic(self) -> float:
        self.now_s += self._step_s
        return self.now_s


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour an item."""
    monkeypatch.setattr(progress, "time", Clock(3600.0))
    monkeypatch.setattr(progress, "_lines", progress._Lines())


@pytest.mark.usefixtures("slow")
def test_without_a_terminal_slow_work_prints_lines_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(tracked("abc", "mint, kNN", min_items=2, noun="fold")) == ["a", "b", "c"]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [f"mint, kNN: fold {number} of 3" for number in (1, 2, 3)]


def test_fast_work_prints_one_line_for_all_its_loops(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "time", Clock(0.001))
    monkeypatch.setattr(progress, "_lines", progress._Lines())
    for name in ("one", "two"):
        assert list(tracked(range(100), name, min_items=2)) == list(range(100))
    assert capsys.readouterr().err == "one: 1 of 100\n"


@pytest.mark.usefixtures("slow")
def test_a_short_loop_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(tracked("ab", "short", min_items=3)) == ["a", "b"]
    assert capsys.readouterr().err == ""
