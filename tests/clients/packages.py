"""The pinned packages of clients, installed once: npm packages, and Python environments of their own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import sys
import sysconfig
import venv
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.clients.cache import cached_folder, install

NPM, PYTHON = Path(__file__).parent / "npm", Path(__file__).parent / "python"
IN_CI = "CI" in os.environ
HEAVY = pytest.mark.skipif(IN_CI, reason="CI takes a sample: this program's packages are several hundred megabytes")
NEEDS_NODE = pytest.mark.skipif(
    not (shutil.which("npm") and shutil.which("node")), reason="needs node and npm: apt-get install nodejs npm"
)


def npm_packages(name: str) -> Path:
    """A folder with the `node_modules` of `npm/<name>`; a program in this folder can import the packages."""
    sources = [NPM / name / "package.json", NPM / name / "package-lock.json"]

    def make(folder: Path) -> None:
        for source in sources:
            shutil.copy(source, folder)
        install(
            ["npm", "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"],
            folder,
        )

    return cached_folder(name, sources, make)


def python_of(name: str) -> Path:
    """The interpreter of an environment with `python/<name>.txt`. It does not see the packages of this one.

    Files that this environment has in the same versions are linked, which takes a fraction of what pip needs.
    """
    requirements = PYTHON / f"{name}.txt"

    def make(folder: Path) -> None:
        venv.create(folder)
        schemes = {"base": str(folder), "platbase": str(folder)}
        packages = Path(sysconfig.get_path("platlib", "venv", schemes))
        to_install = [pin for pin in _pins(requirements) if not _link(pin, packages)]
        # This environment's pip installs into it, which is sooner done than to install another pip.
        pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python"]
        # Most of the modules are never imported, so none is compiled ahead.
        options = ["--quiet", "--no-deps", "--no-compile"]
        if to_install:
            install([*pip, "install", *options, *map(str, to_install)], folder)

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return cached_folder(f"{name}-py{version}", [requirements], make) / "bin" / "python"


def _pins(requirements: Path) -> Iterator[Requirement]:
    for line in requirements.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield Requirement(line)


def _link(pin: Requirement, packages: Path) -> bool:
    """Link the modules of this version into the folder `packages`, as far as this environment has it.

    Commands and other files outside the folder of packages are left out.
    """
    try:
        installed = importlib.metadata.distribution(pin.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    # That of another source than a registry may have another content.
    if installed.version not in pin.specifier or installed.read_text("direct_url.json") or not installed.files:
        return False
    for file in installed.files:
        if ".." not in file.parts:
            source = Path(str(installed.locate_file(file)))
            _link_file(source, packages / file)
            if file.suffix == ".py":
                # What this environment has compiled need not be compiled again.
                _link_file(Path(cache_from_source(str(source))), Path(cache_from_source(str(packages / file))))
    return True


def _link_file(source: Path, target: Path) -> None:
    """Link a file, or copy it to another file system, unless there is none."""
    if source.is_file() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)


def pinned_version(name: str) -> str:
    """The version of the first package in `npm/<name>/package.json` or `python/<name>.txt`."""
    if (NPM / name).exists():
        document = json.loads((NPM / name / "package.json").read_text(encoding="utf-8"))
        return str(next(iter(document["dependencies"].values())))
    (version, *_) = re.findall(r"^[\w.\[\],-]+==(\S+)", (PYTHON / f"{name}.txt").read_text(encoding="utf-8"), re.M)
    return str(version)
