"""The tree of release 0.1.0, which some benchmarks run beside this one; its commit must be in the clone."""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

RELEASE = "379a1537800de3957855368c9745cc6e273e6dc7"
"""The commit of release 0.1.0."""

ROOT = Path(__file__).parents[1]


def extract_release(folder: Path) -> bool:
    """Write the files of the release into `folder`; False where its commit is not here."""
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", RELEASE], check=False, capture_output=True)
    if archive.returncode:
        return False
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as stored:
        stored.extractall(folder, filter="data")
    return True
