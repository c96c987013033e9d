"""How much slower servers are than the roofline: factors that `route cards fit-latency` fits to recorded times.

They are in one file of the evidence folder, so the decisions of a running gateway change only when that file does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from router.errors import FileError
from router.formats.json_file import read_json_object

FILE_NAME = "latency.json"

Factor = Annotated[float, Meta(gt=0)]


class Speed(Struct, frozen=True, forbid_unknown_fields=True):
    """The measured time as a multiple of the roofline's: to the first token, and for each further one.

    `requests` are those that it was fitted to.
    """

    first: Factor
    further: Factor
    requests: Annotated[int, Meta(gt=0)]

    def __str__(self) -> str:
        return (
            f"roofline x {self.further:.3g} per token, x {self.first:.3g} to the first, from {self.requests:,} requests"
        )


class SpeedFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the file: the speeds by card id."""

    cards: Mapping[str, Speed] = {}


def read_speeds(folder: Path) -> Mapping[str, Speed]:
    """The speeds in the evidence folder, none where it has no such file. Raises FileError naming file and key."""
    file = folder / FILE_NAME
    if not file.exists():
        return {}
    try:
        return msgspec.convert(read_json_object(file), SpeedFile).cards
    except msgspec.ValidationError as error:
        raise FileError(str(file), None, f"{error}; fit it again with `route cards fit-latency`") from None


def write_speeds(speeds: Mapping[str, Speed]) -> bytes:
    """The content of the file."""
    content = SpeedFile(dict(sorted(speeds.items())))
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def factors(cards: Sequence[str], speeds: Mapping[str, Speed]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The factors of the time to the first token and of that per further token `(cards,)`, 1 where none was fitted."""
    found = [speeds.get(name) for name in cards]
    first = np.array([1.0 if speed is None else speed.first for speed in found])
    return first, np.array([1.0 if speed is None else speed.further for speed in found])
