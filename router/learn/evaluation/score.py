"""Export of forecasts: the expected quality of every model of an artifact on a file of prompts, as CSV."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np

from router.errors import ConfigurationError
from router.formats.files import replacing
from router.learn.data import Prompt
from router.learn.engine import LOCAL, Arrays, Engine
from router.perceive.predictor import Predictor
from router.types import Doubles, Floats

_BATCH = 512
_QUOTED = frozenset(',"\r\n ')

_MILLION, _THOUSAND = 1_000_000, 1_000
_LEAST_MILLIONTHS = 100
"""Smaller numbers are written with an exponent."""

_BEFORE_DIGITS = b",0."
_THREE_DIGITS = np.array([list(b"%03d" % number) for number in range(_THOUSAND)], dtype=np.uint8)
_WITHOUT_ZEROS = np.array([len((b"%03d" % number).rstrip(b"0")) for number in range(_THOUSAND)], dtype=np.uint8)
"""The digits of 0 to 999, and how many of them are left without the zeros at their end."""


def write_scores(
    predictor: Predictor, prompts: Sequence[Prompt], out: Path, std: Path | None = None, engine: Engine = LOCAL
) -> None:
    """Write the expected quality to `out` and its standard deviation to `std`: one row a prompt, one column a model.

    The `engine` reads the prompts. Raises ConfigurationError where a file cannot be written.
    """
    starts = range(0, len(prompts), _BATCH)
    file = out
    try:
        with contextlib.ExitStack() as files:
            streams: dict[Path, BinaryIO] = {}
            for file in (out,) if std is None else (out, std):
                streams[file] = files.enter_context(_written(file))
                streams[file].write(_line(("prompt_id", *predictor.models)))
            for start, tables in zip(starts, _forecasts(predictor, prompts, engine), strict=True):
                ids = [prompt.id for prompt in prompts[start : start + _BATCH]]
                for written, table in zip(streams, tables, strict=False):
                    file = written
                    streams[file].write(lines_of(ids, table))
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


def _forecasts(predictor: Predictor, prompts: Sequence[Prompt], engine: Engine) -> Iterator[tuple[Doubles, Doubles]]:
    """The qualities and their standard deviations `(prompts, models)` of each batch.

    A thread forecasts one batch while the next one is read: the compiled kernel does not hold the interpreter's lock.
    """

    def read(turns: Sequence[tuple[str, ...]]) -> Arrays:
        return (predictor.vectors(turns),)

    def forecast(vectors: Floats) -> tuple[Doubles, Doubles]:
        quality, deviation = predictor.qualities(vectors)
        # Without the population, which is the last.
        return quality[:, :-1], deviation[:, :-1]

    batches = [[prompt.turns for prompt in prompts[start : start + _BATCH]] for start in range(0, len(prompts), _BATCH)]
    with ThreadPoolExecutor(1) as thread:
        last: Future[tuple[Doubles, Doubles]] | None = None
        for (vectors,) in engine.map(read, batches, "forecasting", noun="batch"):
            following = thread.submit(forecast, vectors)
            if last is not None:
                yield last.result()
            last = following
        if last is not None:
            yield last.result()


def lines_of(ids: Sequence[str], table: Doubles) -> bytes:
    """The lines that `csv.writer` writes of a table `(ids, models)`, several times faster where no number has more than
    six decimals.
    """
    millionths = np.rint(table * _MILLION)
    is_plain = (millionths >= _LEAST_MILLIONTHS) & (millionths < _MILLION) & (millionths / _MILLION == table)
    plain_rows = (is_plain.all(axis=1) & (table.shape[1] > 0)).tolist()
    high, low = np.divmod(np.where(is_plain, millionths, _LEAST_MILLIONTHS).astype(np.intp), _THOUSAND)
    digits = len(_BEFORE_DIGITS)
    characters = np.empty((*table.shape, digits + 6), dtype=np.uint8)
    characters[..., :digits] = list(_BEFORE_DIGITS)
    characters[..., digits : digits + 3] = _THREE_DIGITS[high]
    characters[..., digits + 3 :] = _THREE_DIGITS[low]
    used = digits + np.where(low > 0, 3 + _WITHOUT_ZEROS[low], _WITHOUT_ZEROS[high])
    cells = characters[np.arange(digits + 6) < used[..., None]].tobytes()
    ends = used.sum(axis=1).cumsum().tolist()
    lines, start = [], 0
    for prompt_id, row, is_plain_row, end in zip(ids, table, plain_rows, ends, strict=True):
        if is_plain_row and prompt_id and _QUOTED.isdisjoint(prompt_id):
            lines.append(prompt_id.encode() + cells[start:end] + b"\n")
        else:
            lines.append(_line((prompt_id, *row.tolist())))
        start = end
    return b"".join(lines)


def _line(cells: Sequence[str | float]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()
