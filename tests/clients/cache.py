"""Packages that tests fetch from a registry, cached between runs, outside the repository."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from router import settings

# What pip and npm print if no registry can be reached.
_UNREACHABLE = (
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ENOTFOUND",
    "ETIMEDOUT",
    "Failed to establish a new connection",
    "Name or service not known",
    "Temporary failure in name resolution",
    "connection broken by",
)


def cached_folder(name: str, sources: Sequence[Path], make: Callable[[Path], None]) -> Path:
    """A folder filled by `make`, and filled again when one of the files `sources` changes."""
    parent = settings.cache_folder() / "clients"
    parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    folder = parent / f"{name}-{digest}"
    if not folder.exists():
        unfinished = Path(tempfile.mkdtemp(dir=parent, prefix=f"{name}-"))
        try:
            make(unfinished)
            unfinished.rename(folder)
        except OSError:
            # Another process may have created it meanwhile.
            if not folder.exists():
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def install(command: Sequence[str | Path], folder: Path) -> None:
    """Run pip or npm in `folder`. The test is skipped where no registry can be reached; other failures are errors."""
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    output = ended.stdout + ended.stderr
    if ended.returncode and any(words in output for words in _UNREACHABLE):
        pytest.skip(f"no package registry can be reached: {output.strip().splitlines()[-1]}")
    assert not ended.returncode, output
