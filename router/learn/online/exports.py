"""Judgements in files of other systems: score exports of Langfuse, feedback tables of TensorZero, and plain tables.

The formats: https://langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields (`scores/`, and the
same fields in camel case from its API) and https://www.tensorzero.com/docs/gateway/data-model (`BooleanMetricFeedback`,
`FloatMetricFeedback`), as JSON, JSON lines or CSV.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import datetime
import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from router.errors import CallerError, FileError, did_you_mean, excerpt
from router.store.records.feedback import VALUES

Layout = Literal["langfuse", "tensorzero", "plain"]
LAYOUTS: tuple[Layout, ...] = ("langfuse", "tensorzero", "plain")
Row = Mapping[str, Any]

# Where the id of the request may be, in order; a part after a dot is a key of an object.
_IDS: dict[Layout, tuple[str, ...]] = {
    "langfuse": ("metadata.request_id", "metadata.x-request-id", "observation_id", "trace_id"),
    "tensorzero": ("tags.request_id", "tags.x-request-id", "target_id"),
    "plain": ("id", "record", "request_id"),
}
_NAMES = ("name", "metric_name")
_MOST_COMMENT = 2000
_LONGEST_MAP = 100_000
_TIMES = ("timestamp", "created_at", "at")
# Of seconds since 1970: March 1973 and the year 5138. A number outside is of another unit, or no time.
_EARLIEST_S, _LATEST_S = 1e8, 1e11
_WORDS = {"true": 1.0, "false": 0.0, **{str(word): value for word, value in VALUES.items()}}


class Reading(Struct, frozen=True):
    """How a file is to be read. `id_field` is where the id of the request is, with a dot before a key of an object;
    None for the usual places. `metric` selects the judgements of one name. `low` and `high` are the ends of the scale.
    """

    layout: Layout | None = None
    id_field: str | None = None
    metric: str | None = None
    low: float = 0.0
    high: float = 1.0


class Judgement(Struct, frozen=True):
    """The judgement of one answer: of the request `id`, in [0, 1]; `at` is in seconds since 1970, None if unknown."""

    id: str
    value: float
    comment: str | None = None
    at: float | None = None


def read_judgements(file: Path, how: Reading) -> tuple[Layout, list[Judgement]]:
    """The judgements of a file, and what it is.

    Raises FileError for a row that cannot be read, and CallerError where one name has to be chosen.
    """
    rows = [(line, _snake(row, file, line)) for line, row in _rows(file)]
    layout = how.layout or (_layout_of(rows[0][1], file, rows[0][0]) if rows else "plain")
    named = [(line, row, _first(row, _NAMES)) for line, row in rows]
    names = sorted({str(name) for _, _, name in named if name})
    if how.metric is None and len(names) > 1:
        raise CallerError(f"{file} has judgements of several names: {', '.join(names)}; choose one with --metric")
    if how.metric is not None and how.metric not in names:
        there = ", ".join(names) if names else "none"
        raise CallerError(f'{file} has no judgement "{how.metric}": the names are {there}')
    chosen = [(line, row) for line, row, name in named if how.metric in (None, name)]
    return layout, [_judgement(row, layout, how, f"{file}", line) for line, row in chosen]


def _judgement(row: Row, layout: Layout, how: Reading, file: str, line: int) -> Judgement:
    places = _IDS[layout] if how.id_field is None else (how.id_field,)
    id_ = next((found for place in places if (found := _at(row, place))), None)
    if id_ is None:
        keys = ", ".join(row)
        problem = f"names no request: none of {', '.join(places)} is there, only {keys}"
        raise FileError(file, line, f"{problem}; --id says which field has the `x-request-id` of the answer")
    comment = str(row.get("comment") or "")
    if len(comment) > _MOST_COMMENT:
        comment = f"{comment[: _MOST_COMMENT - 1]}…"
    return Judgement(str(id_), _value(row, how, file, line), comment or None, _time(row, file, line))


def _value(row: Row, how: Reading, file: str, line: int) -> float:
    # A categorical score has its word apart.
    given = next((row[key] for key in ("value", "verdict", "string_value") if row.get(key) not in (None, "")), None)
    if given is None:
        raise FileError(file, line, "has no `value`: a number, true or false, or good, mixed or bad")
    if (word := str(given).lower()) in _WORDS:
        return _WORDS[word]
    try:
        number = float(given)
    except (TypeError, ValueError):
        hint = did_you_mean(word, _WORDS)
        raise FileError(
            file, line, f'value: "{excerpt(str(given))}" is no number, true, false or verdict{hint}'
        ) from None
    if not how.low <= number <= how.high:
        scale = f"{how.low:g} to {how.high:g}"
        raise FileError(file, line, f"value: {number:g} is not from {scale}; --range LOW:HIGH states the scale, as 1:5")
    return (number - how.low) / (how.high - how.low)


def _time(row: Row, file: str, line: int) -> float | None:
    given = _first(row, _TIMES)
    if given is None:
        return None
    try:
        time = datetime.datetime.fromisoformat(str(given))
        # Exports state UTC without saying so.
        return (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).timestamp()
    except ValueError:
        # It may be a number.
        seconds = math.nan
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        seconds = float(given)
    # Milliseconds, microseconds or nanoseconds: as seconds they would lie after the year 5000.
    while _LATEST_S <= seconds < math.inf:
        seconds /= 1e3
    if not _EARLIEST_S <= seconds < _LATEST_S:
        problem = f'timestamp: "{excerpt(str(given))}" is no ISO date and time, and no seconds since 1970'
        raise FileError(file, line, problem)
    return seconds


def _layout_of(row: Row, file: Path, line: int) -> Layout:
    if "target_id" in row:
        return "tensorzero"
    if "trace_id" in row:
        return "langfuse"
    if _first(row, _IDS["plain"]) is not None:
        return "plain"
    problem = f"has none of target_id (TensorZero), trace_id (Langfuse) and id; its fields are {', '.join(row)}"
    raise FileError(str(file), line, f"{problem}; --format says what the file is")


def _first(row: Row, keys: tuple[str, ...]) -> Any:
    return next((row[key] for key in keys if row.get(key) not in (None, "")), None)


def _at(row: Row, place: str) -> Any:
    key, _, inner = place.partition(".")
    value = row.get(key)
    if not inner:
        return value
    if isinstance(value, str) and value.startswith("{"):
        value = _object_in(value)
    return value.get(inner) if isinstance(value, Mapping) else None


def _object_in(cell: str) -> Any:
    """The object in a cell of a CSV file: JSON, or a map as ClickHouse writes it, in single quotes."""
    try:
        return json.loads(cell)
    except ValueError:
        pass
    try:
        return ast.literal_eval(cell) if len(cell) <= _LONGEST_MAP else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _rows(file: Path) -> Iterator[tuple[int, Any]]:
    """Every row with the number of its line, that of a JSON array with its place."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(str(file), None, f"cannot be read: {error}") from None
    start = text.lstrip()[:1]
    if start == "[" or (start == "{" and file.suffix == ".json"):
        yield from enumerate(_listed(text, file), 1)
    elif start == "{":
        # Not `splitlines`, which also splits at U+2028, and that may stand in a JSON string.
        for line, part in enumerate(text.split("\n"), 1):
            if part.strip():
                try:
                    yield line, json.loads(part)
                except ValueError as error:
                    raise FileError(str(file), line, f"is no JSON: {error}") from None
    else:
        table = csv.DictReader(io.StringIO(text, newline=""))
        for row in table:
            if None in row or None in row.values():
                raise FileError(
                    str(file), table.line_num, f"has not the {len(table.fieldnames or ())} cells of the header"
                )
            yield table.line_num, row


def _listed(text: str, file: Path) -> list[Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise FileError(str(file), None, f"is no JSON: {error}") from None
    # A page of Langfuse's API has its rows in `data`; a trace that was downloaded has `scores`.
    for key in ("data", "scores"):
        if isinstance(content, dict) and isinstance(content.get(key), list):
            return list(content[key])
    return content if isinstance(content, list) else [content]


def _snake(row: Any, file: Path, line: int) -> Row:
    """The row with keys such as `trace_id` for `traceId`."""
    if not isinstance(row, dict):
        raise FileError(str(file), line, f"is no object with fields, but {excerpt(json.dumps(row))}")
    return {
        "".join(f"_{each.lower()}" if each.isupper() else each for each in key): value for key, value in row.items()
    }
