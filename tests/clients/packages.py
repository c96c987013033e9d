"""The pinned packages of clients, installed once: npm packages, and Python environments of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import venv
from pathlib import Path

import pytest

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
    """The interpreter of an environment with `python/<name>.txt`. Its packages have no part in this project's own."""
    requirements = PYTHON / f"{name}.txt"

    def make(folder: Path) -> None:
        # This environment's pip installs into it, which is sooner done than to install another pip.
        venv.create(folder)
        pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python"]
        # Most of the modules are never imported, so none is compiled ahead.
        options = ["--quiet", "--no-deps", "--no-compile"]
        install([*pip, "install", *options, "--requirement", requirements], folder)

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return cached_folder(f"{name}-py{version}", [requirements], make) / "bin" / "python"


def pinned_version(name: str) -> str:
    """The version of the first package in `npm/<name>/package.json` or `python/<name>.txt`."""
    if (NPM / name).exists():
        document = json.loads((NPM / name / "package.json").read_text(encoding="utf-8"))
        return str(next(iter(document["dependencies"].values())))
    (version, *_) = re.findall(r"^[\w.\[\],-]+==(\S+)", (PYTHON / f"{name}.txt").read_text(encoding="utf-8"), re.M)
    return str(version)
