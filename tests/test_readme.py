"""What the README shows is what the commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.commands.conftest import Run, run

__all__ = ["run"]

ROOT = Path(__file__).parent.parent
EXAMPLES = re.findall(r"```console\n\$ route (.+)\n([\s\S]*?)\n```", (ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("command", "shown"), EXAMPLES, ids=[command[:40] for command, _ in EXAMPLES])
def test_an_example_prints_what_the_readme_shows(run: Run, command: str, shown: str) -> None:
    ended = run(*shlex.split(command))
    printed = (ended.out + ended.err).rstrip().splitlines()
    assert [line.rstrip() for line in printed] == shown.splitlines()


def test_the_readme_has_examples() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{each.name}" for each in ROOT.glob("docs/*.md"))]
)
def test_every_link_between_pages_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []
