"""Types for numbers with units in YAML files: `7B`, `0.15$`, `250ms`, `16MiB` are read as plain numbers.

A table gives every type its reader and its JSON Schema; the grammar of numbers and units is in `router.formats.units`.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from router.formats import units

Schema = Mapping[str, Any]
_MAX_SECONDS = 7 * 86_400.0


class TokenCount(int):
    """Tokens; in YAML `128k` or `131072`."""


class Dollars(float):
    """US dollars; in YAML `0.15$` or `0.15`."""


class Milliseconds(float):
    """Milliseconds; in YAML `250ms` or `1.5s`."""


class Seconds(float):
    """A duration above zero, in seconds; in YAML `800ms`, `30s`, `10m`, `1h`."""


class OptionalSeconds(float):
    """A duration in seconds, 0 for `off`; in YAML `15s` or `off`."""


class Days(float):
    """A duration above zero, in days; in YAML `12h`, `30d`, `2w`, `1y`."""


class ByteCount(int):
    """A size in bytes; in YAML `16MiB`, `500kB` or `1048576`."""


class Share(float):
    """A share above 0 and at most 1; in YAML `5%` or `0.05`."""


class Day(datetime.date):
    """A date; in YAML `2025-03-14`, `2025-03` or `2025`. A missing month or day is the first."""


class Size:
    """The number of parameters: stored (`total`), and used per token (`active`)."""

    __slots__ = ("active", "total")

    def __init__(self, total: float, active: float | None = None) -> None:
        self.total = total
        self.active = total if active is None else active

    def __repr__(self) -> str:
        return f"Size({self.total!r}, {self.active!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and (self.total, self.active) == (other.total, other.active)

    def __hash__(self) -> int:
        return hash((self.total, self.active))


class _Quantity(Struct, frozen=True):
    """The reader of a type, which raises ValueError, and the JSON Schema of the YAML value."""

    read: Callable[[Any], Any]
    schema: Schema


def read_quantity(kind: type, value: Any) -> Any:
    """Convert a YAML value to the quantity type `kind`: a `dec_hook` for msgspec.

    Raises ValueError with what was expected, and NotImplementedError for a type that is not a quantity.
    """
    if kind not in _QUANTITIES:
        raise NotImplementedError(kind)
    return _QUANTITIES[kind].read(value)


def write_quantity(value: Any) -> Any:
    """Convert a quantity of a model card to its YAML value without rounding: the inverse of `read_quantity`."""
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            return write(value)
    raise NotImplementedError(type(value))


def _write_size(size: Size) -> str | dict[str, str]:
    total, active = units.write_parameters(size.total), units.write_parameters(size.active)
    return total if total == active else {"total": total, "active": active}


def _write_share(share: Share) -> str | float:
    text = f"{100 * share:.10g}%"
    return text if units.fraction(text) == share else float(share)


_WRITERS: Mapping[type, Callable[[Any], Any]] = {
    Size: _write_size,
    TokenCount: units.show_tokens,
    ByteCount: units.write_bytes,
    Dollars: units.write_usd,
    Milliseconds: units.write_milliseconds,
    Seconds: lambda duration: units.write_milliseconds(duration * 1e3),
    Day: Day.isoformat,
    Share: _write_share,
}


def quantity_schema(kind: type) -> dict[str, Any]:
    """The JSON Schema of a quantity's YAML value: a `schema_hook` for msgspec."""
    if kind not in _QUANTITIES:
        raise NotImplementedError(kind)
    return dict(_QUANTITIES[kind].schema)


def _scalar(value: Any, expected: str) -> str | float:
    if not isinstance(value, str | int | float):
        kind = "nothing" if value is None else "a list" if isinstance(value, list) else "a mapping"
        raise ValueError(f"expected {expected}, got {kind}")
    return value


def _read_size(value: Any) -> Size:
    if not isinstance(value, Mapping):
        return Size(units.parameters(_scalar(value, "a size such as 7B")))
    unknown = sorted(set(value) - {"total", "active"})
    if unknown or "total" not in value:
        raise ValueError(f"expected {{total: 47B, active: 13B}}, got the keys {', '.join(map(str, value))}")
    total = units.parameters(_scalar(value["total"], "a size such as 47B"))
    active = units.parameters(_scalar(value.get("active", total), "a size such as 13B"))
    if active > total:
        raise ValueError("`active` is larger than `total`")
    return Size(total, active)


def _read_day(value: Any) -> Day:
    return Day.fromordinal(units.date(_scalar(value, "one value")).toordinal())


def _read_seconds(value: Any) -> Seconds:
    seconds = units.seconds(_scalar(value, "a duration such as 800ms, 30s or 10m"))
    if not 0 < seconds <= _MAX_SECONDS:
        raise ValueError(f"expected a duration of more than 0 and at most 7d, got {value!r}")
    return Seconds(seconds)


def _read_optional_seconds(value: Any) -> OptionalSeconds:
    # `false` and `0` mean `off` too. YAML 1.1 reads `off` as false; here it is a string.
    if value == "off" or (not isinstance(value, str) and not value and value is not None):
        return OptionalSeconds(0.0)
    expected = "a duration such as 15s, or off"
    return OptionalSeconds(units.seconds(_scalar(value, expected), expected))


def _read_days(value: Any) -> Days:
    expected = "a time such as 30d, 2w or 1y"
    days = units.days(_scalar(value, expected), expected)
    if days <= 0:
        raise ValueError(f"expected a time of more than 0, got {value!r}")
    return Days(days)


def _read_share(value: Any) -> Share:
    share = units.fraction(_scalar(value, "a share such as 5% or 0.05"))
    if not share:
        raise ValueError(f"expected a share above 0, got {value!r}")
    return Share(share)


_DURATION = r"^([0-9]+\.?[0-9]*|\.[0-9]+)\s*(ms|s|m|min|h|d)$"
_SIZE_SCHEMA = {"type": "string", "pattern": r"^[0-9.]+\s*[kKmMbBtT]$", "examples": ["7B", "350M"]}
_SIZES_SCHEMA = {
    "type": "object",
    "properties": {"total": _SIZE_SCHEMA, "active": _SIZE_SCHEMA},
    "required": ["total"],
    "additionalProperties": False,
}
_QUANTITIES: Mapping[type, _Quantity] = {
    Size: _Quantity(_read_size, {"anyOf": [_SIZE_SCHEMA, _SIZES_SCHEMA]}),
    TokenCount: _Quantity(
        lambda value: TokenCount(units.tokens(_scalar(value, "one value"))),
        {"type": ["string", "integer"], "examples": ["128k", 8192]},
    ),
    Dollars: _Quantity(
        lambda value: Dollars(units.usd(_scalar(value, "one value"))),
        {"type": ["string", "number"], "examples": ["0.15$"]},
    ),
    Milliseconds: _Quantity(
        lambda value: Milliseconds(units.milliseconds(_scalar(value, "one value"))),
        {"type": ["string", "number"], "examples": ["250ms"]},
    ),
    Share: _Quantity(_read_share, {"type": ["string", "number"], "examples": ["5%", 0.05]}),
    Day: _Quantity(
        _read_day,
        {"type": ["string", "integer"], "pattern": r"^\d{4}(-\d{1,2}(-\d{1,2})?)?$", "examples": ["2025-03"]},
    ),
    Seconds: _Quantity(_read_seconds, {"type": "string", "pattern": _DURATION, "examples": ["30s", "800ms", "10m"]}),
    OptionalSeconds: _Quantity(
        _read_optional_seconds,
        {"anyOf": [{"type": "string", "pattern": _DURATION}, {"enum": ["off", 0, False]}], "examples": ["15s"]},
    ),
    Days: _Quantity(
        _read_days,
        {"type": "string", "pattern": r"^([0-9]+\.?[0-9]*|\.[0-9]+)\s*(h|d|w|mo|y)$", "examples": ["30d"]},
    ),
    ByteCount: _Quantity(
        lambda value: ByteCount(units.byte_count(_scalar(value, "a size such as 16MiB"))),
        {"type": ["string", "integer"], "examples": ["16MiB"]},
    ),
}
