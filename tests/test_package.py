"""The built wheel and the source distribution work in an empty environment."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROMPT = "Write a Python function that merges two sorted lists."
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", folder, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a new environment with only the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    (wheel,) = built.glob("*.whl")
    constraints = ROOT / "constraints.txt"
    run(folder / "bin" / "pip", "install", "--quiet", "--constraint", constraints, wheel, cwd=built)
    return folder / "bin"


def test_the_wheel_routes_with_the_cards_that_it_contains(environment: Path, tmp_path: Path) -> None:
    assert "quality" in run(environment / "route", PROMPT, "--flags", "size<10B", cwd=tmp_path)
    assert "pulvinar 0." in run(environment / "pulvinar", "--version", cwd=tmp_path)


def test_the_wheel_creates_a_folder_to_edit(environment: Path, tmp_path: Path) -> None:
    run(environment / "route", "init", cwd=tmp_path)
    run(environment / "route", "cards", "lint", cwd=tmp_path)
    assert (tmp_path / "policies" / "default.yaml").is_file()


def test_the_python_api_works_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    code = (
        "from router import ChatRequest, Router; "
        "print(Router.default().route(ChatRequest.from_prompt('Hi')).decision.card)"
    )
    assert run(environment / "python", "-c", code, cwd=tmp_path).strip()


def test_the_source_distribution_installs_and_routes(built: Path, environment: Path, tmp_path: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    run(environment / "pip", "install", "--quiet", "--no-deps", "--force-reinstall", source, cwd=tmp_path)
    assert "quality" in run(environment / "route", PROMPT, cwd=tmp_path)
