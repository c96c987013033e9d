"""Test with several versions of litellm that the gateway fetches nothing that a client names.

`python scripts/litellm_versions.py 1.84.0 1.106.12` installs each version, without its dependencies, into a temporary
folder, and runs the test of fetching with it. Without versions, the lowest one that `pyproject.toml` admits.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ("tests/dispatch/connection/test_fetching.py",)


def main(versions: list[str]) -> int:
    """Run the tests with every version; the exit code says whether all passed."""
    failed = [version for version in versions or [_floor()] if not _passes(version)]
    print(f"failed with {', '.join(failed)}" if failed else "no version fetches what a client names")
    return int(bool(failed))


def _floor() -> str:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    stated = next(text for text in dependencies if text.startswith("litellm"))
    found = re.search(r">=([0-9.]+)", stated)
    assert found is not None
    return found[1]


def _passes(version: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
        subprocess.run([*install, f"litellm=={version}"], check=True)
        path = os.pathsep.join((folder, str(ROOT)))
        print(f"litellm {version}", flush=True)
        tests = [sys.executable, "-m", "pytest", "-q", *TESTS]
        return subprocess.run(tests, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
