"""Results of units on disk, from which a command continues after it was killed."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np

from router.errors import ConfigurationError
from router.formats.files import replacing
from router.learn.engine import Arrays

_KEPT_S = 7 * 86_400.0


class Checkpoints:
    """A folder of results, by the digest of what they were computed from. Files of killed runs are kept for a week."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._used: set[Path] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.iterdir():
                # Another run may delete its own meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - old.stat().st_mtime > _KEPT_S:
                        shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise self._unwritable(error) from None

    def read(self, unit: str, item: str) -> Arrays | None:
        """The result of the unit on the item; None where there is none, or its file is damaged."""
        file = self._file(unit, item)
        try:
            with np.load(file, allow_pickle=False) as stored:
                self._used.add(file.parent)
                return tuple(stored[name] for name in stored.files)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def write(self, unit: str, item: str, result: Arrays) -> None:
        """Keep a result. Raises ConfigurationError where the folder cannot be written."""
        file = self._file(unit, item)
        self._used.add(file.parent)
        try:
            file.parent.mkdir(exist_ok=True)
            with replacing(file) as part, part.open("wb") as stream:
                np.savez(stream, *result)
        except OSError as error:
            raise self._unwritable(error) from None

    def delete(self) -> None:
        """Delete what this run has used: it has ended well."""
        for folder in self._used:
            shutil.rmtree(folder, ignore_errors=True)

    def _file(self, unit: str, item: str) -> Path:
        return self._folder / unit / f"{item}.npz"

    def _unwritable(self, error: OSError) -> ConfigurationError:
        hint = "set PULVINAR_CACHE to a folder with room"
        return ConfigurationError(f"{self._folder}: cannot be written: {error.strerror}; {hint}")


def source_digest() -> str:
    """A hash of the source files of this package: results of another release are no results of this one."""
    package = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
