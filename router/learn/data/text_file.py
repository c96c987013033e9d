"""Text files of a data set, plain or compressed with gzip; every error names the file and, where possible, the line."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from router.errors import ConfigurationError, FileError

_BLOCK_BYTES = 1 << 20


@contextlib.contextmanager
def open_text(file: Path, newline: str) -> Iterator[TextIO]:
    """Open a UTF-8 text file and decompress it while it is read, since it may be larger than memory.

    Raises FileError where the file cannot be read, decompressed or decoded.
    """
    try:
        compressed = file.suffix == ".gz"
        if compressed:
            # Check the whole archive first: else the first garbled line would be reported and not the damage.
            with gzip.open(file) as archive:
                while archive.read(_BLOCK_BYTES):
                    pass
        with gzip.open(file) if compressed else file.open("rb") as raw:
            yield io.TextIOWrapper(raw, encoding="utf-8-sig", newline=newline)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FileError(str(file), None, f"is damaged: {error}") from None
    except OSError as error:
        raise FileError(str(file), None, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FileError(str(file), _undecodable_line(file), "is not UTF-8") from None


def read_text(file: Path) -> str:
    """The whole text of a file. Raises FileError."""
    with open_text(file, "\n") as stream:
        return stream.read()


def decode_json(text: str, file: Path, line: int | None) -> Any:
    """The JSON value in `text`, which is line `line` of `file`, or all of it where `line` is None. Raises FileError."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise FileError(str(file), line or error.lineno, f"is not JSON: {error.msg}") from None
    except (RecursionError, ValueError):
        raise FileError(str(file), line, "is not JSON: nested too deeply, or a number is too long") from None


def optional_file(folder: Path, name: str) -> Path | None:
    """The file `name` or `name.gz` in `folder`; None where there is neither."""
    candidates = (folder / name, folder / f"{name}.gz")
    return next((file for file in candidates if file.is_file()), None)


def required_file(folder: Path, name: str) -> Path:
    """The file `name` or `name.gz` in `folder`. Raises ConfigurationError where there is neither."""
    file = optional_file(folder, name)
    if file is None:
        raise ConfigurationError(f"the data set {folder} has no {name} (or {name}.gz)")
    return file


def sha256_of(*files: Path) -> str:
    """The SHA-256 of the files' bytes, concatenated."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _undecodable_line(file: Path) -> int | None:
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return None
