"""The examples of the README run, and print what it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from router.cards.catalog import load_catalog
from tests.commands.conftest import Run, bare_machine, run

__all__ = ["bare_machine", "run"]

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```console\n\$ route (.+)\n([\s\S]*?)\n```", README)
PYTHON = re.findall(r"```python\n(from router [\s\S]*?)```", README)


@pytest.mark.usefixtures("bare_machine")
@pytest.mark.parametrize(("command", "expected"), EXAMPLES, ids=[command[:40] for command, _ in EXAMPLES])
def test_an_example_prints_the_output_in_the_readme(run: Run, command: str, expected: str) -> None:
    result = run(*shlex.split(command))
    lines = (result.out + result.err).rstrip().splitlines()
    assert [line.rstrip() for line in lines] == expected.splitlines()


def test_the_python_example_prints_a_card_and_its_forecast_quality(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = PYTHON
    exec(compile(code, "README.md", "exec"), {})
    card, quality = capsys.readouterr().out.split()
    assert card in load_catalog(ROOT / "model_cards").ids
    assert 0 < float(quality) < 1


def test_the_readme_has_examples() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{file.name}" for file in ROOT.glob("docs/*.md"))]
)
def test_every_link_between_pages_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []
