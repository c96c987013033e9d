"""The packages of clients are pinned, and their lists name no registry."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.clients.docs_pages import FOLDER
from tests.clients.packages import NPM, PYTHON, pinned_version


@pytest.mark.parametrize("lock", sorted(NPM.glob("*/package-lock.json")), ids=lambda lock: lock.parent.name)
def test_a_lock_file_names_no_registry(lock: Path) -> None:
    packages = json.loads(lock.read_text(encoding="utf-8"))["packages"]
    assert all(package.get("integrity") for path, package in packages.items() if path)
    assert not [path for path, package in packages.items() if "resolved" in package]


@pytest.mark.parametrize("requirements", sorted(PYTHON.glob("*.txt")), ids=lambda path: path.stem)
def test_every_python_package_has_an_exact_version(requirements: Path) -> None:
    lines = requirements.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"#.*|[\w.\[\],-]+==[\w.+!]+", line)] == []


@pytest.mark.parametrize("requirements", sorted(PYTHON.glob("*.txt")), ids=lambda path: path.stem)
def test_no_compromised_release_of_litellm_is_listed(requirements: Path) -> None:
    assert not re.search(r"^litellm==1\.(82\.[78]|107\.\d+)$", requirements.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", sorted(path.stem for path in [*NPM.iterdir(), *PYTHON.iterdir()]))
def test_the_table_of_clients_states_the_pinned_version(name: str) -> None:
    assert f" {pinned_version(name)} " in (FOLDER / "index.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "package", ["openai", "anthropic", "litellm", "langchain-openai", "llama-index-llms-openai-like"]
)
def test_the_table_of_clients_states_the_installed_version(package: str) -> None:
    assert f"| {version(package)} |" in (FOLDER / "index.md").read_text(encoding="utf-8")
