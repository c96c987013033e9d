"""The built wheel and the source distribution work in an empty environment."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.quick_compiler import path_with_quick_compiler
from tests.test_supply_chain import applicable_pins

ROOT = Path(__file__).parent.parent
PROMPT = "Write a Python function that merges two sorted lists."
# Installing takes a minute, so one process of a parallel run has them all.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("package")]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def pip(commands: Path) -> tuple[str | Path, ...]:
    """This environment's pip for the one with these commands, which is sooner done than to install another."""
    return (sys.executable, "-m", "pip", "--python", commands / "python")


@pytest.fixture(scope="module", autouse=True)
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A compiler that is quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CC", raising=False)
        patch.setenv("PATH", path_with_quick_compiler(tmp_path_factory.mktemp("compiler")))
        yield


@pytest.fixture(scope="module")
def built(compiler: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", folder, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a new environment with only the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    (wheel,) = built.glob("*.whl")
    # As the documentation says: no package is installed whose hash is not in the file, and it names all of them.
    # Most of the modules are never imported, so none is compiled ahead.
    options = ("--quiet", "--no-compile", "--require-hashes")
    run(*pip(folder / "bin"), "install", *options, "-r", ROOT / "constraints.txt", cwd=built)
    run(*pip(folder / "bin"), "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=built)
    run(*pip(folder / "bin"), "check", cwd=built)
    return folder / "bin"


def test_the_wheel_routes_with_the_cards_that_it_contains(environment: Path, tmp_path: Path) -> None:
    assert "quality" in run(environment / "route", PROMPT, "--flags", "size<10B", cwd=tmp_path)
    assert "pulvinar 0." in run(environment / "pulvinar", "--version", cwd=tmp_path)


def test_the_bill_of_materials_names_exactly_the_pinned_packages(environment: Path, tmp_path: Path) -> None:
    # cyclonedx-py checks the document against the schema of CycloneDX before it writes it.
    run(ROOT / "scripts" / "sbom", tmp_path / "sbom.json", environment / "python", cwd=tmp_path)
    document = json.loads((tmp_path / "sbom.json").read_text(encoding="utf-8"))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["name"] == "pulvinar"
    named = {f"{canonicalize_name(part['name'])}=={part['version']}" for part in document["components"]}
    installers = {"pip", "setuptools", "pulvinar"}
    named = {pin for pin in named if pin.partition("==")[0] not in installers}
    assert named == applicable_pins(ROOT / "constraints.txt")


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
    run(*pip(environment), "install", "--quiet", "--no-deps", "--force-reinstall", source, cwd=tmp_path)
    assert "quality" in run(environment / "route", PROMPT, cwd=tmp_path)
