"""Profiles of cards in files: one `profiles/<card id>.npz` a card, which has arrays of numbers only.

In file names, characters of a card id are escaped as in a URL, as in evidence files. A profile may come from somebody
else, so that everything in it is checked.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from router.errors import ArtifactError
from router.formats.files import replace_file
from router.perceive.purpose.profile import MOST_DIRECTIONS, Profile

SUFFIX = ".npz"
FORMAT, VERSION = "pulvinar-profile", 1
_ARRAYS = ("header", "mean", "directions", "rest", "vectors", "scores")
_MOST_BYTES = 64_000_000
_MOST_COUNT, _MOST_OUTCOMES, _MOST_NUMBERS = 1_000_000_000, 10_000, 20_000
_GREATEST = 1.01
"""No number of a point, which consists of a unit vector and clipped features, is greater, so that no mean is."""


class _Header(Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    version: int
    space: str
    count: int
    reader: str


class StoredProfile(Struct, frozen=True, eq=False):
    """A profile with the hash of its file, by which two of them are compared."""

    profile: Profile
    sha256: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredProfile) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)


def file_name(card: str) -> str:
    """The name of the profile of the card with this id."""
    return quote(card, safe="") + SUFFIX


def load_profiles(folder: Path | None) -> dict[str, StoredProfile]:
    """The profiles in `folder` by card id; empty if there is no such folder. Raises ArtifactError naming the file."""
    if folder is None or not folder.is_dir():
        return {}
    return {
        unquote(file.name.removesuffix(SUFFIX)): read_profile(file)
        for file in sorted(folder.glob(f"*{SUFFIX}"))
        if not file.name.startswith(".")
    }


def read_profile(file: Path) -> StoredProfile:
    """The profile in `file`. Raises ArtifactError naming the file where it is not one, or is damaged."""
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ArtifactError(f"{file}: is no profile of a card: it has more than {_MOST_BYTES:,} bytes")
        raw = file.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{file}: cannot be read: {error.strerror}") from None
    arrays = _arrays(raw, file)
    try:
        header = msgspec.json.decode(arrays["header"].tobytes(), type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{file}: is no profile of a card: {error}") from None
    if header.format != FORMAT or header.version != VERSION:
        found = f"{header.format} of version {header.version}"
        raise ArtifactError(f"{file}: expected {FORMAT} of version {VERSION}, found {found}; make the profile again")
    numbers = {name: arrays[name] for name in _ARRAYS[1:]}
    profile = Profile(header.space, header.count, reader=header.reader, origin=str(file), **numbers)
    if problem := next(_problems(profile), None):
        raise ArtifactError(f"{file}: is damaged: {problem}")
    return StoredProfile(profile, hashlib.sha256(raw).hexdigest())


def write_profile(file: Path, profile: Profile) -> None:
    """Write `profile`, in place of the one in `file`; the folder is made where it is missing. Raises OSError."""
    header = _Header(FORMAT, VERSION, profile.space, profile.count, profile.reader)
    arrays: dict[str, NDArray[Any]] = {
        "header": np.frombuffer(msgspec.json.encode(header), dtype=np.uint8),
        **{name: np.asarray(getattr(profile, name), dtype="<f4") for name in ("mean", "directions", "rest", "vectors")},
        "scores": np.asarray(profile.scores, dtype="<f8"),
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, buffer.getvalue(), mode=0o644)


def _arrays(raw: bytes, file: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            # Never compressed by this program: a small file could take any amount of memory.
            entries = {info.filename: info for info in archive.infolist()}
            if any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()):
                raise ArtifactError(f"{file}: is no profile of a card: its arrays are compressed")
            if set(entries) != {f"{name}.npy" for name in _ARRAYS}:
                raise ArtifactError(f"{file}: is no profile of a card: it must have the arrays {', '.join(_ARRAYS)}")
        with np.load(io.BytesIO(raw), allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in _ARRAYS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        raise ArtifactError(f"{file}: is no profile of a card, or damaged: {error}") from None
    kinds = {"header": np.uint8, "scores": np.float64}
    for name, array in arrays.items():
        if array.dtype != kinds.get(name, np.float32):
            raise ArtifactError(f"{file}: is damaged: {name} has numbers of the type {array.dtype}")
    return arrays


def _problems(profile: Profile) -> Iterator[str]:
    """What is wrong with the numbers of a profile, the first of which makes the others meaningless."""
    width, outcomes = profile.mean.size, profile.scores.size
    shapes = {
        "mean": (width,),
        "directions": (len(profile.directions), width),
        "rest": (width,),
        "vectors": (outcomes, profile.vectors.shape[-1] if profile.vectors.ndim else 0),
        "scores": (outcomes,),
    }
    for name, shape in shapes.items():
        array = getattr(profile, name)
        if array.shape != shape:
            yield f"{name} has the shape {array.shape}, expected {shape}"
        if not np.isfinite(array).all():
            yield f"{name} has numbers that are not finite"
    if not 0 < width <= _MOST_NUMBERS or len(profile.directions) > MOST_DIRECTIONS:
        yield "its arrays are too large"
    if not 0 <= profile.count <= _MOST_COUNT or outcomes > _MOST_OUTCOMES:
        yield "its number of prompts or outcomes is out of range"
    if not profile.count and not outcomes:
        yield "it is of no prompts and has no outcomes"
    if max(np.abs(array).max(initial=0.0) for array in (profile.mean, profile.directions, profile.rest)) > _GREATEST:
        yield "the numbers of its mean or scatter are too great for those of prompts"
    if outcomes and not ((profile.scores >= 0) & (profile.scores <= 1)).all():
        yield "a score is not between 0 and 1"
