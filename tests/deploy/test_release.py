"""scripts/release, in a clone of this repository with a version of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

from tests.clients.packages import IN_CI
from tests.deploy.tools import LEAST, NEEDS_TOOLS, helm

ROOT = Path(__file__).parents[2]
VERSION = "7.8.9"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("release"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="needs a clone"),
]
FILES = {
    f"pulvinar-{VERSION}-py3-none-any.whl",
    f"pulvinar-{VERSION}.tar.gz",
    f"pulvinar-{VERSION}.cdx.json",
    f"pulvinar-chart-{VERSION}.tgz",
    f"pulvinar-docs-{VERSION}.tar.gz",
    "route.1",
}


def git(folder: Path, *arguments: str) -> str:
    author = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **author}, capture_output=True, text=True, check=True
    )
    return done.stdout


def edit(file: Path, pattern: str, text: str) -> None:
    file.write_text(re.sub(pattern, text, file.read_text("utf-8"), count=1, flags=re.M), encoding="utf-8")


def release(clone: Path, out: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable}
    command = ["scripts/release", str(out), str(clone.parent / "environment" / "bin" / "python")]
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False, timeout=580)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with the version of a release, of what is committed; beside it an environment without packages.

    The bill of materials of a whole environment is tested in `tests/test_package.py`.
    """
    folder = tmp_path_factory.mktemp("release") / "clone"
    venv.create(folder.parent / "environment")
    git(ROOT, "clone", "--quiet", "--shared", "--no-tags", str(ROOT), str(folder))
    edit(folder / "router" / "__init__.py", r"^__version__ = .*$", f'__version__ = "{VERSION}"')
    edit(folder / "CHANGELOG.md", r"^## Unreleased$", f"## {VERSION} - 2030-01-01")
    for key in ("version", "appVersion"):
        edit(folder / "deploy" / "helm" / "pulvinar" / "Chart.yaml", rf"^{key}: .*$", f'{key}: "{VERSION}"')
    git(folder, "commit", "--quiet", "--all", "--message", "A release")
    return folder


@pytest.fixture(scope="module")
def released(clone: Path) -> Path:
    """The folder of a release; an earlier version's documentation lay there."""
    out = clone.parent / "out"
    (out / "docs" / "7.8.8").mkdir(parents=True)
    done = release(clone, out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_a_release_has_everything_with_checksums(released: Path) -> None:
    sums = dict(reversed(line.split("  ")) for line in (released / "SHA256SUMS").read_text("utf-8").splitlines())
    assert set(sums) == FILES
    for name, digest in sums.items():
        assert hashlib.sha256((released / name).read_bytes()).hexdigest() == digest


def test_the_documentation_lists_its_versions(released: Path) -> None:
    assert json.loads((released / "docs" / "versions.json").read_text("utf-8")) == [
        {"version": VERSION, "title": VERSION, "aliases": ["latest"]},
        {"version": "7.8.8", "title": "7.8.8", "aliases": []},
    ]
    assert (released / "docs" / VERSION / "index.html").exists()
    assert f'href="{VERSION}/"' in (released / "docs" / "index.html").read_text("utf-8")


def test_the_wheel_brings_the_manual_page_and_the_commands_of_its_name(released: Path, tmp_path: Path) -> None:
    (wheel,) = released.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path, "zip")
    assert (tmp_path / f"pulvinar-{VERSION}.data/data/share/man/man1/route.1").exists()
    entries = (tmp_path / f"pulvinar-{VERSION}.dist-info/entry_points.txt").read_text("utf-8")
    # `uvx pulvinar` and `pipx run pulvinar` run the command of the distribution's name.
    assert re.findall(r"^(\w+) = router\.commands:main$", entries, re.M) == ["pulvinar", "route"]


@NEEDS_TOOLS
def test_helm_takes_the_packed_chart(released: Path) -> None:
    done = helm("template", "gw", released / f"pulvinar-chart-{VERSION}.tgz", values=LEAST)
    assert f"helm.sh/chart: pulvinar-{VERSION}" in done.stdout


@pytest.mark.skipif(IN_CI, reason="CI builds it once")
def test_archives_of_the_same_commit_are_the_same(released: Path, clone: Path) -> None:
    again = clone.parent / "again"
    done = release(clone, again)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (again / "SHA256SUMS").read_text("utf-8") == (released / "SHA256SUMS").read_text("utf-8")


def test_the_source_distribution_has_what_builds_it_again(released: Path) -> None:
    with tarfile.open(released / f"pulvinar-{VERSION}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "scripts/release", "deploy/helm/pulvinar/Chart.yaml", "docs/man/route.1"} <= names


def test_changes_that_are_not_committed_are_refused(clone: Path, tmp_path: Path) -> None:
    (clone / "stray").touch()
    done = release(clone, tmp_path)
    (clone / "stray").unlink()
    assert done.returncode == 1
    assert "not committed" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "pattern", "text", "words"),
    [
        ("CHANGELOG.md", rf"^## {VERSION}.*$", "## Unreleased", f'no section "## {VERSION}"'),
        ("router/__init__.py", r"^__version__ = .*$", '__version__ = "7.9.0.dev0"', "no version of a release"),
        ("deploy/helm/pulvinar/Chart.yaml", r"^appVersion: .*$", 'appVersion: "7.8.8"', "another appVersion"),
        ("docs/man/route.1", r"^\.SH NAME$", ".SH NAMES", "out of date: scripts/man"),
    ],
    ids=["no changelog", "development version", "another chart", "old manual page"],
)
def test_what_is_not_ready_is_refused(
    clone: Path, tmp_path: Path, file: str, pattern: str, text: str, words: str
) -> None:
    edit(clone / file, pattern, text)
    git(clone, "commit", "--quiet", "--all", "--message", "Not ready")
    done = release(clone, tmp_path)
    git(clone, "reset", "--quiet", "--hard", "HEAD^")
    assert done.returncode == 1
    assert words in done.stderr
