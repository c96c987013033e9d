"""Packages that tests fetch from a registry, cached between runs."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest


def cached_folder(config: pytest.Config, name: str, sources: Sequence[Path], make: Callable[[Path], None]) -> Path:
    """A folder in pytest's cache, filled by `make` and filled again when one of the files `sources` changes."""
    # pytest may run without its cache.
    cache: pytest.Cache | None = getattr(config, "cache", None)
    parent = cache.mkdir("clients") if cache is not None else Path(tempfile.gettempdir())
    digest = hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    folder = parent / f"{name}-{digest}"
    if not folder.exists():
        unfinished = Path(tempfile.mkdtemp(dir=parent, prefix=f"{name}-"))
        make(unfinished)
        try:
            unfinished.rename(folder)
        except OSError:
            # Another process has created it meanwhile.
            shutil.rmtree(unfinished)
    return folder
