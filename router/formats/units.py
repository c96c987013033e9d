"""Numbers with units as text: `7B`, `0.15$`, `250ms`, `128k`, `2025-03`, `180d`.

A reader converts a value of YAML or of a flag to a plain number in the unit that the reader's name states. It raises
ValueError with what was expected; the caller adds the location. `show_…` formats a number rounded, for people;
`write_…` formats it exactly, so that reading it again gives the same number.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from decimal import Decimal

_NUMBER = re.compile(r"([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*)", re.ASCII)
_PARAMETERS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_TOKENS = {"": 1.0, "k": 1e3, "m": 1e6}
_MILLISECONDS = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "min": 60e3}
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0, "mo": 30.4375, "y": 365.25}
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?", re.ASCII)


def rounded_ms(seconds: float) -> float:
    """A measured duration in milliseconds, to the microsecond: what `round` gives but for ties, in a fraction of its
    time.
    """
    return (seconds * 1e6 + 0.5) // 1 / 1e3


def parameters(value: str | float) -> float:
    """Number of parameters: `7B`, `1.1T`, `350M`."""
    return _scaled(value, _PARAMETERS, "a size such as 7B or 350M")


def tokens(value: str | float) -> int:
    """Tokens: `128k`, `1M`, `8192`."""
    count = round(_scaled(value, _TOKENS, "a number of tokens such as 128k or 8192"), 6)
    if count != int(count) or count < 1:
        raise ValueError(f"expected a whole number of tokens, got {value!r}")
    return int(count)


def milliseconds(value: str | float) -> float:
    """Duration in milliseconds: `250ms`, `1.5s`."""
    return _scaled(value, _MILLISECONDS, "a duration such as 250ms or 1.5s")


def seconds(value: str | float, expected: str = "a duration such as 800ms, 30s or 10m") -> float:
    """Duration in seconds: `800ms`, `30s`, `10m`, `1h`."""
    return _scaled(value, _SECONDS, expected)


def byte_count(value: str | float) -> int:
    """Size in bytes: `16MiB`, `500kB`, `1048576`."""
    count = round(_scaled(value, _BYTES, "a size such as 16MiB"), 6)
    if count != int(count) or count < 1:
        raise ValueError(f"expected a whole number of bytes, got {value!r}")
    return int(count)


def days(value: str | float, expected: str = "an age such as 180d, 6mo or 1y") -> float:
    """Age in days: `180d`, `6mo`, `1y`."""
    return _scaled(value, _DAYS, expected)


def usd(value: str | float) -> float:
    """US dollars: `0.15$`, `$0.15`, `0.15`."""
    if isinstance(value, str):
        value = value.replace("$", " ").replace("USD", " ").strip()
    return _scaled(value, {"": 1.0}, "an amount in US dollars such as 0.15$")


def yes_or_no(value: str | float) -> float:
    """`yes` as 1, `no` as 0."""
    word = str(value).strip().lower()
    if word not in ("yes", "no"):
        raise ValueError(f"expected yes or no, got {value!r}")
    return float(word == "yes")


def show_yes_or_no(value: float, _digits: int = 0) -> str:
    """`1.0` as `yes`."""
    return "yes" if value else "no"


def fraction(value: str | float) -> float:
    """A share in [0, 1]: `0.8`, `80%`."""
    share = _scaled(value, {"": 1.0, "%": 0.01}, "a share such as 0.8 or 80%")
    if share > 1:
        raise ValueError(f"expected a share between 0 and 1, got {value!r}")
    return share


def date(value: str | float) -> datetime.date:
    """A date; a missing day or month counts as the first: `2025-03-14`, `2025-03`, `2025`."""
    match = _DATE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"expected a date such as 2025-03 or 2025-03-14, got {value!r}")
    year, month, day = (int(part) if part else 1 for part in match.groups())
    try:
        return datetime.date(year, month, day)
    except ValueError as error:
        raise ValueError(f"expected a date such as 2025-03, got {value!r}: {error}") from None


def show_parameters(count: float, digits: int = 4) -> str:
    """`7e9` as `7B`."""
    rounded = float(f"{count:.{digits}g}")
    unit = next((unit for unit in ("t", "b", "m", "k") if rounded >= _PARAMETERS[unit]), None)
    return f"{_rounded(count / _PARAMETERS[unit], digits)}{unit.upper()}" if unit else _rounded(count, digits)


def show_tokens(count: float) -> str:
    """`128000` as `128k`, `8192` as `8192`; never rounded."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if count >= size and count * 10 % size == 0:
            return f"{_plain(Decimal(count) / size)}{unit}"
    return _plain(Decimal(count))


def show_milliseconds(duration: float, digits: int = 3) -> str:
    """`1500` as `1.5s`, `250` as `250ms`."""
    if float(f"{duration:.{digits}g}") >= 1e3:
        return f"{_rounded(duration / 1e3, digits)}s"
    return f"{_rounded(duration, digits)}ms"


def show_usd(amount: float, digits: int = 6) -> str:
    """`0.00015` as `0.00015$`."""
    return f"{_rounded(amount, digits)}$"


def show_usd_per_1000(cost_usd: float, digits: int = 3) -> str:
    """The cost of 1,000 such requests, as people compare prices: `0.00042` as `0.42$`."""
    return show_usd(1000 * cost_usd, digits)


def show_dollars(amount: float) -> str:
    """`0.4249` as `$0.42`, `0.004249` as `$0.0042`, for sentences."""
    return f"${amount:,.2f}" if amount >= 0.1 or not amount else f"${_rounded(amount, 2)}"


def show_request_cost(cost_usd: float, digits: int = 4) -> str:
    """The cost of one request and of 1,000: `0.00042` as `0.00042$ (0.42$ per 1,000 requests)`."""
    once = show_usd(cost_usd, digits)
    return f"{once} ({show_usd_per_1000(cost_usd)} per 1,000 requests)" if cost_usd else once


def show_days(age: float, digits: int = 6) -> str:
    """`180.0` as `180d`."""
    return f"{_rounded(age, digits)}d"


def show_fraction(share: float, digits: int = 3) -> str:
    """`0.8125` as `0.812`."""
    return _rounded(share, digits)


def write_parameters(count: float) -> str:
    """`7241600000.0` as `7.2416B`."""
    unit = next((unit for unit in ("t", "b", "m") if count >= _PARAMETERS[unit]), "k")
    return f"{_plain(_exact(count) / _exact(_PARAMETERS[unit]))}{unit.upper()}"


def write_milliseconds(duration: float) -> str:
    """`1234.5` as `1.2345s`."""
    return f"{_plain(_exact(duration) / 1000)}s" if duration >= 1e3 else f"{_plain(_exact(duration))}ms"


def write_bytes(count: int) -> str | int:
    """`85899345920` as `80GiB`."""
    return int(count) if count % 2**30 else f"{count // 2**30}GiB"


def show_bytes(count: float) -> str:
    """`141100000000.0` as `131.4 GiB`."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.1f} MiB"


def write_usd(amount: float) -> str:
    """`0.1234567` as `0.1234567$`."""
    return f"{_plain(_exact(amount))}$"


def _rounded(number: float, digits: int) -> str:
    """`number` rounded to `digits` significant digits, without an exponent or trailing zeros."""
    return _plain(Decimal(f"{number:.{digits}g}"))


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _exact(number: float) -> Decimal:
    return Decimal(repr(float(number)))


def _scaled(value: str | float, units: Mapping[str, float], expected: str) -> float:
    if isinstance(value, bool):
        raise ValueError(f"expected {expected}, got {str(value).lower()}")
    text, unit = (str(value), "") if isinstance(value, int | float) else _split(value, expected)
    number = float(text)
    scale = units.get(unit.lower())
    if scale is None and not unit and number == 0:
        scale = 1.0
    if scale is None:
        unexpected = f"unit {unit!r}" if unit else "no unit"
        raise ValueError(f"expected {expected}, got {value!r} ({unexpected})")
    if not math.isfinite(number) or not math.isfinite(number * scale) or number < 0:
        raise ValueError(f"expected {expected}, got {value!r}")
    # Decimal arithmetic, so that 8.03B and 8030M are the same number.
    return float(Decimal(text) * _exact(scale)) if number else 0.0


def _split(text: str, expected: str) -> tuple[str, str]:
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected {expected}, got {text!r}")
    return match[1].replace("_", ""), match[2]
