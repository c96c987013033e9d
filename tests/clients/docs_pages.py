"""What the client pages of the documentation state: code, and the settings of programs."""

from __future__ import annotations

import re
from pathlib import Path

ADDRESS = "http://127.0.0.1:8686"
FOLDER = Path(__file__).parents[2] / "docs" / "clients"
PAGES = sorted(FOLDER.glob("*.md"))


def blocks(text: str, language: str) -> list[str]:
    """The code blocks in this language."""
    return re.findall(rf"```{language}\n([\s\S]*?)```", text)


def page_blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in this language."""
    return blocks(page.read_text(encoding="utf-8"), language)


def section(page: str, heading: str) -> str:
    """The section of `docs/clients/<page>.md` under a heading of the second level."""
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^## {re.escape(heading)}\n([\s\S]*?)(?=^## |\Z)", text, re.MULTILINE)
    return str(found)


def exports(text: str, address: str, model: str = "auto") -> dict[str, str]:
    """The variables that the text exports, with another gateway and model."""
    found = re.findall(r"^export (\w+)=(\S+)", text, re.MULTILINE)
    return {name: adapted(value, address, model) for name, value in found}


def files(text: str, address: str, model: str = "auto") -> dict[str, str]:
    """The files below the home folder that the text describes, with another gateway and model."""
    found = re.findall(r"`~/([^`]+)`[^\n]*:\n\n```\w+\n([\s\S]*?)```", text)
    return {path: adapted(content, address, model) for path, content in found}


def adapted(text: str, address: str, model: str) -> str:
    """The text with another gateway's address, and with `model` in place of `auto` and `auto/cheap`."""
    return re.sub(r"""(?<![\w-])auto(/cheap)?(?=["'\s]|$)""", model, text.replace(ADDRESS, address))
