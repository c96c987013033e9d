"""A Python environment for one peer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def install_python(folder: Path, *requirements: str) -> None:
    """Create an environment in `folder` and install `requirements`. Raises subprocess.CalledProcessError."""
    run(sys.executable, "-m", "venv", str(folder))
    run(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *requirements)


def run(*command: str, folder: Path | None = None) -> None:
    """Run a command. Raises subprocess.CalledProcessError with its output in `stderr`."""
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=1_800)
