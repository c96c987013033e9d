"""aider edits a file, runs the tests that then fail, and repairs the file with their output."""

from __future__ import annotations

import pytest

from tests.clients.docs_pages import exports, section
from tests.clients.packages import HEAVY, python_of
from tests.clients.programs.workplace import Workplace
from tests.clients.scripted_model import dictating
from tests.clients.upstream import Upstream

pytestmark = [pytest.mark.slow, HEAVY]

_NEVER_GIT = ("--no-git", "--no-show-model-warnings", "--yes-always")


def ask(gateway: str, place: Workplace, prompt: str, *arguments: str) -> str:
    settings = exports(section("coding-agents", "aider"), gateway, "open-model")
    command = [python_of("aider"), "-m", "aider", *_NEVER_GIT, *arguments, "--message", prompt]
    # It asks for a list of prices at every start.
    return place.run(command, settings, tolerated="raw.")


def edit(content: str) -> str:
    """A prompt on which the model rewrites `note.txt`, in aider's format `whole`."""
    return dictating(f"note.txt\n```\n{content}\n```\n")


def test_a_failing_test_is_repaired(gateway: str, upstream: Upstream, workplace: Workplace) -> None:
    (workplace.folder / "repair.txt").write_text(edit("the code is 3"), encoding="utf-8")
    tests = "grep -q 3 note.txt || (cat repair.txt; false)"
    arguments = ("--edit-format", "whole", "--auto-test", "--test-cmd", tests, "note.txt")
    ask(gateway, workplace, edit("the code is 2"), *arguments)
    assert workplace.note.read_text(encoding="utf-8") == "the code is 3\n"
    first, second = (request.body["messages"] for request in upstream.seen)
    assert "the code is 2" in str(first)
    assert "the code is 3" in str(second)


def test_a_stream_is_shown_whole(gateway: str, upstream: Upstream, workplace: Workplace) -> None:
    shown = ask(gateway, workplace, dictating("one two three"), "--edit-format", "ask", "--no-pretty")
    assert "one two three" in shown
    assert upstream.last.body["stream"] is True
