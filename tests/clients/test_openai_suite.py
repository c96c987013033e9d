"""openai-python's own tests of the calls that the gateway has, from its source distribution, against the gateway."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest

from tests.clients.cache import cached_folder
from tests.clients.upstream import Upstream

pytestmark = pytest.mark.slow

_PLUGINS = Path(__file__).with_name("openai_suite.txt")
_FILES = (
    "chat/test_completions.py",
    "test_completions.py",
    "test_embeddings.py",
    "test_models.py",
    "test_responses.py",
)
# The gateway does not offer stored completions, stored responses or fine-tuned models.
_SELECTED = "create or (test_models and not delete)"


class SuiteResult(msgspec.Struct, frozen=True):
    """The result of a run: passed tests by file, other tests, the output, and the request bodies by path."""

    passed: Mapping[str, int]
    others: tuple[str, ...]
    output: str
    bodies: Mapping[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def folder() -> Path:
    """The source distribution of the installed version, with the plugins that its tests need."""

    def make(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        requirement = ["--no-deps", "--no-binary", "openai", f"openai=={openai.__version__}"]
        subprocess.run([*pip, "download", *requirement, "--dest", folder], check=True)
        (archive,) = folder.glob("openai-*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        archive.unlink()
        (unpacked,) = folder.glob("openai-*")
        unpacked.rename(folder / "openai")
        # The tests must import the installed package, not the source.
        shutil.rmtree(folder / "openai" / "src")
        plugins = ["--no-deps", "--requirement", _PLUGINS, "--target", folder / "plugins"]
        subprocess.run([*pip, "install", *plugins], check=True)

    return cached_folder(f"openai-suite-{openai.__version__}", [_PLUGINS], make)


@pytest.fixture(scope="module")
def suite(folder: Path, servers: tuple[Upstream, str], tmp_path_factory: pytest.TempPathFactory) -> SuiteResult:
    upstream, gateway = servers
    upstream.seen.clear()
    report = tmp_path_factory.mktemp("openai-suite") / "report.xml"
    source = folder / "openai"
    command = [sys.executable, "-m", "pytest", "-c", source / "pyproject.toml", "--rootdir", source]
    # The suite's own settings apply, except for parallel processes; this project's plugins are not loaded.
    command += ["--override-ini", "addopts=", "-p", "pytest_asyncio.plugin", "-p", "respx.plugin"]
    command += ["-p", "no:cacheprovider", "--tb=short", "--junitxml", report, "-k", _SELECTED]
    command += [source / "tests" / "api_resources" / file for file in _FILES]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "OPENAI_"))}
    environment |= {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": str(folder / "plugins"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TEST_API_BASE_URL": f"{gateway}/v1",
    }
    ended = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    output = ended.stdout + ended.stderr
    assert report.exists(), output
    cases = ET.parse(report).getroot().findall(".//testcase")
    bodies: dict[str, list[dict[str, Any]]] = {}
    for seen in upstream.seen:
        bodies.setdefault(seen.path, []).append(seen.body)
    return SuiteResult(
        passed=Counter(case.attrib["classname"].rpartition(".")[0] for case in cases if not len(case)),
        others=tuple(f"{case.attrib['classname']}::{case.attrib['name']}" for case in cases if len(case)),
        output=output,
        bodies=bodies,
    )


def test_all_selected_tests_pass(suite: SuiteResult) -> None:
    assert not suite.others, suite.output


def test_every_file_has_passing_tests(suite: SuiteResult) -> None:
    assert [file for file in _FILES if suite.passed[f"tests.api_resources.{file[:-3].replace('/', '.')}"] < 20] == []


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"verbosity": "low", "max_tokens": 0, "seed": -9007199254740991}),
        ("/v1/completions", {"best_of": 0, "suffix": "test.", "logprobs": 0}),
        ("/v1/embeddings", {"dimensions": 1, "encoding_format": "float"}),
        ("/v1/responses", {"background": True, "conversation": "string", "max_tool_calls": 0}),
    ],
)
def test_request_parameters_reach_the_upstream(suite: SuiteResult, path: str, fields: dict[str, Any]) -> None:
    longest = max(suite.bodies[path], key=len)
    assert {name: longest.get(name) for name in fields} == fields
