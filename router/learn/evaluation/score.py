"""Export of forecasts: the expected quality of every model of an artifact on a file of prompts, as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import msgspec

from router.errors import ConfigurationError
from router.learn.data import Prompt
from router.learn.engine import LOCAL, Arrays, Engine
from router.perceive.predictor import Predictor

_BATCH = 256
_LEAST_WITHOUT_EXPONENT = 1e-4
_QUOTED = frozenset(',"\r\n ')


def write_scores(
    predictor: Predictor, prompts: Sequence[Prompt], out: Path, std: Path | None = None, engine: Engine = LOCAL
) -> None:
    """Write the expected quality to `out` and its standard deviation to `std`: one row a prompt, one column a model."""

    def forecast(turns: Sequence[tuple[str, ...]]) -> Arrays:
        quality, deviation, *_ = predictor.expect_all(predictor.vectors(turns))
        return quality[:, :-1], deviation[:, :-1]

    qualities: list[list[float]] = []
    deviations: list[list[float]] = []
    starts = range(0, len(prompts), _BATCH)
    batches = [[prompt.turns for prompt in prompts[start : start + _BATCH]] for start in starts]
    for quality, deviation in engine.map(forecast, batches, "forecasting", noun="batch"):
        qualities += quality.tolist()
        deviations += deviation.tolist()
    _write(out, predictor.models, prompts, qualities)
    if std is not None:
        _write(std, predictor.models, prompts, deviations)


def _write(file: Path, models: Sequence[str], prompts: Sequence[Prompt], rows: Sequence[Sequence[float]]) -> None:
    try:
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["prompt_id", *models])
            for prompt, row in zip(prompts, rows, strict=True):
                if (line := _plain_line(prompt.id, row)) is None:
                    writer.writerow([prompt.id, *row])
                else:
                    stream.write(line)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from None


def _plain_line(prompt_id: str, row: Sequence[float]) -> str | None:
    """The line that `csv.writer` writes, several times faster; None where it would quote, or write an exponent."""
    if not row or not prompt_id or min(row) < _LEAST_WITHOUT_EXPONENT or not _QUOTED.isdisjoint(prompt_id):
        return None
    return f"{prompt_id},{msgspec.json.encode(row)[1:-1].decode()}\n"
