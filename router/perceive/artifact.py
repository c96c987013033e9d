"""Files of trained models: a JSON manifest with the hashes of the array files beside it. Pickle is never used."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from router.errors import ArtifactError

S = TypeVar("S", bound=Struct)


class _Header(Struct):
    format: str = ""
    version: int = 0


def read_manifest(file: Path, kind: type[S], format_name: str, version: int) -> S:
    """The manifest in `file`. Raises ArtifactError if it is missing, damaged, or of another format or version."""
    if not file.parent.is_dir():
        raise ArtifactError(f"there is no artifact folder {file.parent} (`route train … --out DIR` creates one)")
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{file}: cannot be read: {error.strerror}; is {file.parent} an artifact?") from None
    try:
        header = msgspec.json.decode(raw, type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{file}: is damaged: {error}") from None
    if header.format != format_name:
        raise ArtifactError(f'{file}: expected the format "{format_name}", found "{header.format}"')
    if header.version != version:
        raise ArtifactError(
            f"{file}: is of version {header.version}, this release reads version {version}; train it again"
        )
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{file}: is damaged: {error}") from None


def write_manifest(file: Path, manifest: Struct) -> None:
    """Write the manifest as indented JSON with keys in a fixed order."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=1) + b"\n")


def hashes(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """The SHA-256 of each file, by name."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def check_hashes(folder: Path, expected: Mapping[str, str], names: tuple[str, ...]) -> None:
    """Raise ArtifactError if a file is missing or its SHA-256 is not the expected one."""
    for name in names:
        try:
            # In parts: a large file needs no memory.
            with (folder / name).open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ArtifactError(f"{folder / name}: cannot be read: {error.strerror}") from None
        if actual != expected.get(name):
            raise ArtifactError(f"{folder / name}: is damaged (its SHA-256 differs from the manifest's)")


def map_array(file: Path) -> NDArray[Any]:
    """The array of an `.npy` file, which stays there: processes share its pages, and a page takes memory once it is
    read. Raises ArtifactError.
    """
    try:
        # Not as the subclass, whose every slice would be one of it, which takes longer.
        return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{file}: is damaged: {error}") from None


def read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file by name, or that of an `.npy` file under the file's stem. Raises ArtifactError."""
    try:
        with file.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            return {file.stem: loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtifactError(f"{file}: is damaged: {error}") from None
