"""Export of forecasts: the expected quality of every model of an artifact on a file of prompts, as CSV."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from router.errors import ConfigurationError
from router.formats.files import replacing
from router.learn.data import Prompt
from router.learn.engine import LOCAL, Arrays, Engine
from router.perceive import kernel
from router.perceive.predictor import Predictor
from router.types import Doubles, Floats

_BATCH = 512
_QUOTED = frozenset(',"\r\n ')

_MILLION, _THOUSAND = 1_000_000, 1_000
_LEAST_MILLIONTHS = 100
"""Smaller numbers are written with an exponent."""

_BEFORE_DIGITS = b",0."
_CELL = len(_BEFORE_DIGITS) + 6
_THREE_DIGITS = np.array([list(b"%03d" % number) for number in range(_THOUSAND)], dtype=np.uint8)
_WITHOUT_ZEROS = np.array([len((b"%03d" % number).rstrip(b"0")) for number in range(_THOUSAND)], dtype=np.uint8)
"""The digits of 0 to 999, and how many of them are left without the zeros at their end."""


def write_scores(
    predictor: Predictor, prompts: Sequence[Prompt], out: Path, std: Path | None = None, engine: Engine = LOCAL
) -> None:
    """Write the expected quality to `out` and its standard deviation to `std`: one row a prompt, one column a model.

    The `engine` reads the prompts. Raises ConfigurationError where a file cannot be written.
    """
    file = out
    try:
        with contextlib.ExitStack() as files:
            streams: dict[Path, BinaryIO] = {}
            for file in (out,) if std is None else (out, std):
                streams[file] = files.enter_context(_written(file))
                streams[file].write(_line(("prompt_id", *predictor.models)))
            for blocks in _written_forecasts(predictor, prompts, engine, len(streams)):
                for written, lines in zip(streams, blocks, strict=True):
                    file = written
                    streams[file].write(lines)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def _written(file: Path) -> Iterator[BinaryIO]:
    """A stream that takes the place of `file` at the end of the block, so that an aborted run leaves the old one; what
    is no regular file, such as a pipe, is written at once.
    """
    is_special = file.exists() and not file.is_file()
    with contextlib.nullcontext(file) if is_special else replacing(file) as part, part.open("wb") as stream:
        yield stream


def _written_forecasts(
    predictor: Predictor, prompts: Sequence[Prompt], engine: Engine, tables: int
) -> Iterator[list[bytes]]:
    """The lines of each batch: those of the qualities, and of their standard deviations where there are two `tables`.

    A thread forecasts one batch while the next one is read: the compiled kernel does not hold the interpreter's lock.
    """

    def read(batch: Sequence[Prompt]) -> Arrays:
        return (predictor.vectors([prompt.turns for prompt in batch]),)

    def forecast(batch: Sequence[Prompt], vectors: Floats) -> list[bytes]:
        ids = [prompt.id for prompt in batch]
        # Without the population, which is the last.
        return [lines_of(ids, table[:, :-1]) for table in predictor.qualities(vectors)[:tables]]

    batches = [prompts[start : start + _BATCH] for start in range(0, len(prompts), _BATCH)]
    with ThreadPoolExecutor(1) as thread:
        last: Future[list[bytes]] | None = None
        for batch, (vectors,) in zip(batches, engine.map(read, batches, "forecasting", noun="batch"), strict=True):
            following = thread.submit(forecast, batch, vectors)
            if last is not None:
                yield last.result()
            last = following
        if last is not None:
            yield last.result()


def lines_of(ids: Sequence[str], table: Doubles) -> bytes:
    """The lines that `csv.writer` writes of a table `(ids, models)`, several times faster where no number has more than
    six decimals.
    """
    cells, ends = _cells(table) if (extension := kernel.extension()) is None else _compiled_cells(extension, table)
    lines, start = [], 0
    for prompt_id, row, end in zip(ids, table, ends, strict=True):
        if end >= 0 and prompt_id and _QUOTED.isdisjoint(prompt_id):
            lines.append(prompt_id.encode() + cells[start:end] + b"\n")
        else:
            lines.append(_line((prompt_id, *row.tolist())))
        start = max(start, end)
    return b"".join(lines)


def _compiled_cells(extension: Any, table: Doubles) -> tuple[memoryview, list[int]]:
    """As `_cells`, by the compiled kernel."""
    characters, ends = np.empty((*table.shape, _CELL), dtype=np.uint8), np.empty(len(table), dtype=np.int64)
    if table.size:
        extension.cells(kernel.contiguous(table, np.float64), len(table), characters, ends)
    else:
        ends[:] = -1
    return characters.reshape(-1).data, ends.tolist()


def _cells(table: Doubles) -> tuple[bytes, list[int]]:
    """The cells of all rows, each after a comma, and where the cells of each row end; -1 for a row that has another
    number.
    """
    millionths = np.rint(table * _MILLION)
    is_plain = (millionths >= _LEAST_MILLIONTHS) & (millionths < _MILLION) & (millionths / _MILLION == table)
    plain_rows = is_plain.all(axis=1) & (table.shape[1] > 0)
    high, low = np.divmod(np.where(is_plain, millionths, _LEAST_MILLIONTHS).astype(np.intp), _THOUSAND)
    digits = len(_BEFORE_DIGITS)
    characters = np.empty((*table.shape, _CELL), dtype=np.uint8)
    characters[..., :digits] = list(_BEFORE_DIGITS)
    characters[..., digits : digits + 3] = _THREE_DIGITS[high]
    characters[..., digits + 3 :] = _THREE_DIGITS[low]
    used = digits + np.where(low > 0, 3 + _WITHOUT_ZEROS[low], _WITHOUT_ZEROS[high])
    used[~plain_rows] = 0
    cells = characters[np.arange(_CELL) < used[..., None]].tobytes()
    return cells, np.where(plain_rows, used.sum(axis=1).cumsum(dtype=np.int64), -1).tolist()


def _line(cells: Sequence[str | float]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()
