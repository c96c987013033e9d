"""Durations and sizes as people write them in `gateway.yaml`: `800ms`, `10m`, `30d`, `16MiB`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from router.cards import schema

_NUMBER = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-zµ]*)", re.ASCII)
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0, "y": 365.25}
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_LONGEST_S = 7 * 86_400.0


class Seconds(float):
    """A duration above zero, in seconds; in YAML `800ms`, `30s`, `10m`, `1h`."""


class Pause(float):
    """Seconds, or 0 for never; in YAML `15s` or `off`."""


class Days(float):
    """A time in days; in YAML `12h`, `30d`, `2w`, `1y`."""


class ByteCount(int):
    """A size in bytes; in YAML `16MiB`, `500kB` or `1048576`."""


def read_quantity(kind: type, value: Any) -> Any:
    """msgspec's hook for quantities, those of model cards too. Raises ValueError with what was expected."""
    reader = _READERS.get(kind)
    return schema.read_quantity(kind, value) if reader is None else reader(value)


def quantity_schema(kind: type) -> dict[str, Any]:
    """The JSON Schema of a quantity, as it stands in YAML."""
    if kind not in _SCHEMAS:
        raise NotImplementedError(kind)
    return dict(_SCHEMAS[kind])


def show_bytes(count: int) -> str:
    """`16777216` as `16 MiB`."""
    for unit in ("GiB", "MiB", "KiB"):
        size = _BYTES[unit.lower()]
        if count >= size and count % size == 0:
            return f"{count // size} {unit}"
    return f"{count} bytes"


def _seconds(value: Any) -> Seconds:
    seconds = _amount(value, _SECONDS, "a duration such as 800ms, 30s or 10m")
    if not 0 < seconds <= _LONGEST_S:
        raise ValueError(f"expected a duration of more than 0 and at most 7d, got {value!r}")
    return Seconds(seconds)


def _pause(value: Any) -> Pause:
    # `false` and `0` mean it as well; YAML's own `off` is a word here.
    if not isinstance(value, str) and not value and value is not None:
        return Pause(0.0)
    if value == "off":
        return Pause(0.0)
    return Pause(_amount(value, _SECONDS, "a duration such as 15s, or off"))


def _days(value: Any) -> Days:
    days = _amount(value, _DAYS, "a time such as 30d, 2w or 1y")
    if days <= 0:
        raise ValueError(f"expected a time of more than 0, got {value!r}")
    return Days(days)


def _bytes(value: Any) -> ByteCount:
    count = round(_amount(value, _BYTES, "a size such as 16MiB"), 6)
    if count != int(count) or count < 1:
        raise ValueError(f"expected a whole number of bytes, got {value!r}")
    return ByteCount(count)


def _amount(value: Any, units: Mapping[str, float], expected: str) -> float:
    found = None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        found = _NUMBER.fullmatch(str(value).strip())
    scale = units.get(found[2].lower()) if found else None
    if found is None or scale is None or not math.isfinite(float(found[1]) * scale):
        lacks_unit = found is not None and not found[2] and "" not in units
        raise ValueError(f"expected {expected}, got {value!r}{' (no unit)' if lacks_unit else ''}")
    return float(found[1]) * scale


_READERS: Mapping[type, Callable[[Any], Any]] = {Seconds: _seconds, Pause: _pause, Days: _days, ByteCount: _bytes}
_DURATION = r"^([0-9]+\.?[0-9]*|\.[0-9]+)\s*(ms|s|m|min|h|d)$"
_SCHEMAS: Mapping[type, dict[str, Any]] = {
    Seconds: {"type": "string", "pattern": _DURATION, "examples": ["30s", "800ms", "10m"]},
    Pause: {"anyOf": [{"type": "string", "pattern": _DURATION}, {"enum": ["off", 0, False]}], "examples": ["15s"]},
    Days: {"type": "string", "pattern": r"^([0-9]+\.?[0-9]*|\.[0-9]+)\s*(h|d|w|y)$", "examples": ["30d"]},
    ByteCount: {"type": ["string", "integer"], "examples": ["16MiB"]},
    schema.Dollars: {"type": ["string", "number"], "examples": ["5$"]},
    schema.Day: {
        "type": ["string", "integer"],
        "pattern": r"^\d{4}(-\d{1,2}(-\d{1,2})?)?$",
        "examples": ["2027-01-31"],
    },
}
