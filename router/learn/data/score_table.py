"""Tables of numbers, one row a prompt and one column a model: scores, costs, lengths of answers, as CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from router.errors import FileError, did_you_mean
from router.learn.data.prompts import Prompt
from router.learn.data.text_file import open_text
from router.types import Doubles, Floats

_MAX_SUGGESTIONS = 2000
_MAX_VALUE = 1e12
_MAX_KNOWN = 4096


def read_table(
    file: Path, prompts: Sequence[Prompt], value_range: tuple[float, float] = (0.0, _MAX_VALUE)
) -> tuple[tuple[str, ...], Floats]:
    """The column names and the values, float32 `(prompts, columns)`, NaN where a cell is empty.

    Rows are matched with `prompts` by id, in any order. Raises FileError naming the line and the column.
    """
    with open_text(file, "") as lines:
        columns, rows = _matched_rows(lines, file, prompts)
        values = np.full((len(prompts), len(columns)), np.nan, dtype=np.float32)
        known: dict[str, float] = {}
        for line, row, cells in rows:
            # Most tables of scores have few different cells, and to look a cell up takes a seventh of parsing it.
            try:
                values[row] = list(map(known.__getitem__, cells))
            except KeyError:
                values[row] = numbers = _numbers(cells, file, line, columns, value_range)
                if len(known) < _MAX_KNOWN:
                    known |= zip(cells, numbers.tolist(), strict=True)
    return columns, values


def read_texts(file: Path, prompts: Sequence[Prompt], columns: Sequence[str]) -> list[list[str]]:
    """The cells of a table of texts in the order of `prompts` and `columns`, stripped; empty where there is none.

    Raises FileError naming the line, as `read_table` does.
    """
    texts = [[""] * len(columns) for _ in prompts]
    with open_text(file, "") as lines:
        file_columns, rows = _matched_rows(lines, file, prompts)
        positions = [file_columns.index(column) if column in file_columns else None for column in columns]
        for _, row, cells in rows:
            texts[row] = ["" if position is None else cells[position].strip() for position in positions]
    return texts


def _matched_rows(
    lines: TextIO, file: Path, prompts: Sequence[Prompt]
) -> tuple[tuple[str, ...], Iterator[tuple[int, int, list[str]]]]:
    """The column names; and line, row in `prompts` and cells of every row, of which each prompt must have one."""
    rows = _csv_rows(lines, file)
    _, header = next(rows, (1, []))
    return _column_names(header, file), _each_once(rows, len(header), file, prompts)


def _each_once(
    rows: Iterator[tuple[int, list[str]]], width: int, file: Path, prompts: Sequence[Prompt]
) -> Iterator[tuple[int, int, list[str]]]:
    row_of = {prompt.id: row for row, prompt in enumerate(prompts)}
    seen = np.zeros(len(prompts), dtype=np.bool_)
    for line, cells in rows:
        if len(cells) != width:
            raise FileError(str(file), line, f"has {len(cells)} cells, the header {width}")
        identity = cells.pop(0)
        row = row_of.get(identity)
        if row is None:
            hint = did_you_mean(identity, list(row_of)[:_MAX_SUGGESTIONS])
            raise FileError(str(file), line, f'prompt_id "{identity}" is not in {file.parent}/prompts.jsonl{hint}')
        if seen[row]:
            raise FileError(str(file), line, f'duplicate prompt_id "{identity}"')
        seen[row] = True
        yield line, row, cells
    if not seen.any():
        raise FileError(str(file), None, "contains no outcomes")
    if not seen.all():
        missing, count = prompts[int(seen.argmin())].id, len(seen) - int(seen.sum())
        raise FileError(str(file), None, f'has no row for {count} of {len(prompts)} prompts, for example "{missing}"')


def read_header(file: Path) -> tuple[str, ...]:
    """The column names of a table. Raises FileError."""
    with open_text(file, "") as lines:
        _, header = next(_csv_rows(lines, file), (1, []))
    return _column_names(header, file)


def read_aligned_table(
    file: Path,
    prompts: Sequence[Prompt],
    columns: Sequence[str],
    value_range: tuple[float, float] = (0.0, _MAX_VALUE),
) -> Floats:
    """The values of a table in the order of `columns`; a column that the file does not have is unknown (NaN)."""
    file_columns, values = read_table(file, prompts, value_range)
    result = np.full((len(prompts), len(columns)), np.nan, dtype=np.float32)
    for position, column in enumerate(columns):
        if column in file_columns:
            result[:, position] = values[:, file_columns.index(column)]
    return result


def _column_names(header: Sequence[str], file: Path) -> tuple[str, ...]:
    columns = tuple(column.strip() for column in header[1:])
    if not columns:
        raise FileError(str(file), 1, "expected a header: prompt_id, then one column a model")
    if duplicates := sorted({column for column in columns if columns.count(column) > 1}):
        raise FileError(str(file), 1, f'duplicate column "{duplicates[0]}"')
    if "" in columns:
        raise FileError(str(file), 1, f"column {columns.index('') + 2} has no name")
    return columns


def _csv_rows(lines: TextIO, file: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row that is not blank."""
    reader = csv.reader(lines)
    try:
        yield from ((reader.line_num, cells) for cells in reader if cells)
    except csv.Error as error:
        raise FileError(str(file), reader.line_num, f"is not CSV: {error}") from None


def _numbers(
    cells: Sequence[str], file: Path, line: int, columns: Sequence[str], value_range: tuple[float, float]
) -> Doubles:
    """The numbers in a row, NaN where a cell is blank."""
    least, greatest = value_range
    try:
        values = np.array([float(cell) if cell else math.nan for cell in cells])
    except ValueError:
        pass
    else:
        # Every cell is in range or empty, so none needs to be checked by itself.
        if np.count_nonzero((values >= least) & (values <= greatest)) == len(cells) - cells.count(""):
            return values
    named = zip(cells, columns, strict=True)
    return np.array([_number(cell, file, line, column, value_range) for cell, column in named])


def _number(cell: str, file: Path, line: int, column: str, value_range: tuple[float, float]) -> float:
    if not cell.strip():
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        raise FileError(str(file), line, f'{column}: expected a number or nothing, got "{cell[:40]}"') from None
    if not math.isfinite(value):
        raise FileError(str(file), line, f'{column}: got "{cell}"; leave the cell empty where a model was not run')
    least, greatest = value_range
    if not least <= value <= greatest:
        raise FileError(str(file), line, f"{column}: {value:g} is not between {least:g} and {greatest:g}")
    return value
