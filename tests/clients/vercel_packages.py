"""The pinned packages of the Vercel AI SDK, installed once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.cache import cached_folder

FOLDER = Path(__file__).parent / "vercel"
NEEDS_NODE = pytest.mark.skipif(
    not (shutil.which("npm") and shutil.which("node")), reason="needs node and npm: apt-get install nodejs npm"
)


def vercel_packages(config: pytest.Config) -> Path:
    """A folder with `node_modules`; a program in this folder can import the packages."""
    sources = [FOLDER / "package.json", FOLDER / "package-lock.json"]

    def install(folder: Path) -> None:
        for source in sources:
            shutil.copy(source, folder)
        npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
        subprocess.run(npm, cwd=folder, check=True)

    return cached_folder(config, "vercel", sources, install)
