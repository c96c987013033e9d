"""Run the tests in an SDK's source distribution against the gateway, by the rules of a file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from tests.clients.cache import cached_folder, install
from tests.clients.suites.rules import files_to_run, read_rules

HERE = Path(__file__).parent


class Suite(msgspec.Struct, frozen=True):
    """An SDK's suite: its package on PyPI, the pytest plugins that it needs, and what follows the gateway's URL."""

    package: str
    plugins: Sequence[str]
    base_path: str = ""

    @property
    def rules(self) -> Path:
        return HERE / f"{self.package}.rules.txt"


class SuiteResult(msgspec.Struct, frozen=True):
    """The result of a run: passed tests by file, other tests, and the output."""

    passed: Mapping[str, int]
    others: tuple[str, ...]
    output: str


def source_of(suite: Suite) -> Path:
    """A folder with the source distribution of the installed version (`sdist`), and the plugins of its tests."""
    name, requirements = suite.package, HERE / f"{suite.package}.plugins.txt"

    def make(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        requirement = ["--no-deps", "--no-binary", name, f"{name}=={version(name)}"]
        install([*pip, "download", *requirement, "--dest", folder], folder)
        (archive,) = folder.glob(f"{name}-*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        archive.unlink()
        (unpacked,) = folder.glob(f"{name}-*")
        unpacked.rename(folder / "sdist")
        # The tests must import the installed package, not the source.
        shutil.rmtree(folder / "sdist" / "src")
        plugins = ["--no-deps", "--no-compile", "--requirement", requirements, "--target", folder / "plugins"]
        install([*pip, "install", *plugins], folder)

    return cached_folder(f"{name}-suite-{version(name)}", [requirements], make)


def run_suite(suite: Suite, gateway: str, report: Path) -> SuiteResult:
    """Run the selected tests; pytest's report is written to `report`."""
    folder = source_of(suite)
    source = folder / "sdist"
    command: list[str | Path] = [sys.executable, "-m", "pytest", "-c", source / "pyproject.toml", "--rootdir", source]
    # The suite's own settings apply, except for parallel processes; this project's plugins are not loaded.
    command += ["--override-ini", "addopts=", "-p", "no:cacheprovider", "--tb=short", "--junitxml", report]
    for plugin in (*suite.plugins, "selection"):
        command += ["-p", plugin]
    prefixes = ("PYTEST_", "OPENAI_", "ANTHROPIC_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    environment |= {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join(map(str, (folder / "plugins", source, HERE))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SUITE_RULES": str(suite.rules),
        "TEST_API_BASE_URL": f"{gateway}{suite.base_path}",
    }
    command += files_to_run(read_rules(suite.rules), source / "tests")
    ended = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    output = ended.stdout + ended.stderr
    assert report.exists(), output
    cases = ET.parse(report).getroot().findall(".//testcase")
    return SuiteResult(
        passed=Counter(_file(case) for case in cases if not len(case)),
        others=tuple(f"{case.attrib['classname']}::{case.attrib['name']}" for case in cases if len(case)),
        output=output,
    )


def _file(case: ET.Element) -> str:
    """The file of a test class, below `tests/`."""
    return case.attrib["classname"].rpartition(".")[0].removeprefix("tests.").replace(".", "/") + ".py"
