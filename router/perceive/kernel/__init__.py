"""The choice between the compiled kernel (`kernel/module.c`) and the numpy code, which give the same bits.

The numpy code of each stage is the specification. Where the extension was built, objects of this package bind their
arrays to it when they are made. `PULVINAR_KERNEL=off` keeps numpy.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from router import settings

if TYPE_CHECKING:
    from types import ModuleType

_SOURCES = Path(__file__).resolve().parents[3] / "kernel"
"""Where a source tree has what the extension is compiled from."""

VARIABLE = "PULVINAR_KERNEL"

MOST_EMBEDDED, MOST_REGRESSORS, MOST_TERMS, MOST_COLUMNS, MOST_CHARACTERS_OF_WORD = 1024, 4096, 128, 256, 255
"""What the extension has room for; it refuses larger arrays, for which numpy is used."""

CARD_COLUMNS = 20
"""How many numbers of each card a forecast uses besides its quality."""

PROFILE = 5
"""Where the profile begins in the numbers of a projection: after the length's logarithm, both uncertainties, the
probability that the prompt is out of domain, and the novelty."""


def _load() -> tuple[ModuleType | None, str]:
    """The extension and the reason why it is not used."""
    stated = settings.variable(VARIABLE) or ""
    if stated.lower() in ("off", "0", "false"):
        return None, f"{VARIABLE}={stated}"
    try:
        found = importlib.import_module(f"{__package__}._kernel")
    except ModuleNotFoundError:
        return None, "the compiled kernel is not built"
    except ImportError as error:
        return None, str(error)
    if _digest_of_sources() not in (None, found.SOURCES):
        return None, "the compiled kernel is older than kernel/ in this tree; run: python kernel/build.py"
    return found, ""


def _digest_of_sources() -> str | None:
    """As `kernel/build.py` hashes what it compiles; None where there is no source tree."""
    if not (_SOURCES / "module.c").is_file():
        return None
    files = sorted(_SOURCES.rglob("*.[ch]"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


_extension, _reason = _load()


def extension() -> Any | None:
    """The extension to bind arrays to, None where numpy is used."""
    return _extension


def status() -> str:
    """Which code reads and forecasts, in words."""
    return f"numpy ({_reason})" if _extension is None else f"compiled ({_extension.instructions()})"


@contextlib.contextmanager
def without_extension() -> Iterator[None]:
    """Objects that are made meanwhile use numpy, and so do functions that are called; for tests and benchmarks."""
    global _extension  # noqa: PLW0603 - one process has one extension
    kept, _extension = _extension, None
    try:
        yield
    finally:
        _extension = kept


def contiguous(array: NDArray[Any], kind: type[np.generic]) -> NDArray[Any]:
    """`array` in the form that the extension can bind: contiguous and aligned, of this type."""
    return np.require(array, dtype=kind, requirements=["C", "A"])


def in_lanes(matrix: NDArray[Any], kind: type[np.generic] = np.float64) -> NDArray[Any]:
    """`matrix` with columns of zeros up to a multiple of four."""
    return contiguous(np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % 4))), kind)


def in_fours(rows: NDArray[Any]) -> NDArray[Any]:
    """`rows` `(rows, cards)` as `(fours of cards, rows, 4)`, with cards of zeros in the last four."""
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    return contiguous(padded.reshape(len(rows), -1, 4).transpose(1, 0, 2), np.float64)


def landmarks_of(
    integers: NDArray[Any], scale: NDArray[Any], center: NDArray[Any], levels: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], int]:
    """Landmarks as the extension takes them: the centre, the integers, their scales, and the levels of a topic."""
    return contiguous(center, np.float32), contiguous(integers, np.int8), contiguous(scale, np.float32), levels
