from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from router.errors import ConfigurationError
from router.learn.data import Prompt, RoutingSet
from router.learn.evaluation import score
from router.learn.evaluation.score import lines_of, write_scores
from router.perceive import kernel
from router.perceive.features import feature_vector
from router.perceive.predictor import Predictor


def cells(file: Path) -> list[list[str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def test_scores_have_one_row_per_prompt_and_one_column_per_model(
    predictor: Predictor, planted_set: RoutingSet, tmp_path: Path
) -> None:
    write_scores(predictor, planted_set.prompts[:3], tmp_path / "out.csv")
    header, *rows = cells(tmp_path / "out.csv")
    assert header == ["prompt_id", "calculator", "poet", "generalist"]
    assert [row[0] for row in rows] == ["p0", "p1", "p2"]
    quality, *_ = predictor.expect(feature_vector(predictor.encoder, planted_set.prompts[0].turns))
    assert [float(cell) for cell in rows[0][1:]] == quality[:-1].tolist()


def test_standard_deviations_are_written_to_a_separate_file(
    predictor: Predictor, planted_set: RoutingSet, tmp_path: Path
) -> None:
    write_scores(predictor, planted_set.prompts[:1], tmp_path / "out.csv", tmp_path / "std.csv")
    _, row = cells(tmp_path / "std.csv")
    _, deviation, *_ = predictor.expect(feature_vector(predictor.encoder, planted_set.prompts[0].turns))
    assert [float(cell) for cell in row[1:]] == deviation[:-1].tolist()


def test_an_id_with_a_comma_or_an_umlaut_is_written_unchanged(predictor: Predictor, tmp_path: Path) -> None:
    write_scores(predictor, [Prompt('a,"ü"\n', ("hi",))], tmp_path / "out.csv")
    _, row = cells(tmp_path / "out.csv")
    assert row[0] == 'a,"ü"\n'


def test_the_error_names_a_file_that_cannot_be_written(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing/out\.csv: cannot be written: No such file"):
        write_scores(predictor, [Prompt("a", ("hi",))], tmp_path / "missing" / "out.csv")


def test_a_run_that_is_aborted_leaves_the_old_file(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def aborted(*_: object) -> bytes:
        raise KeyboardInterrupt

    out = tmp_path / "out.csv"
    out.write_text("of an earlier run")
    monkeypatch.setattr(score, "lines_of", aborted)
    with pytest.raises(KeyboardInterrupt):
        write_scores(predictor, [Prompt("a", ("hi",))], out)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"out.csv": "of an earlier run"}


def test_scores_can_be_written_to_a_device(predictor: Predictor) -> None:
    write_scores(predictor, [Prompt("a", ("hi",))], Path("/dev/null"))


@pytest.mark.parametrize("code", [contextlib.nullcontext, kernel.without_extension], ids=["kernel", "numpy"])
def test_lines_are_those_of_the_csv_module(code: Callable[[], AbstractContextManager[None]]) -> None:
    rng = np.random.default_rng(0)
    tables = [
        np.array([[0.5, 1.0, 0.123457], [0.999999, 0.0001, 0.1], [1e-06, 0.5, 0.25], [0.25, 0.5, 0.1234567]]),
        np.array([[0.0, 0.5], [np.nan, 0.5], [-0.5, 1.5], [0.00011, 0.1001], [np.inf, 1e300], [0.00009999995, 0.1]]),
        rng.random((200, 5)).round(6),
        (rng.random((200, 5)) ** 8).round(6),
        np.arange(1_000_001).reshape(-1, 1)[::97] / 1e6,
        np.empty((4, 0)),
    ]
    for table in tables:
        ids = ["a-1", 'with "quotes"', "a,b", "", *map(str, range(len(table)))][: len(table)]
        expected = io.StringIO()
        csv.writer(expected, lineterminator="\n").writerows(
            [name, *row] for name, row in zip(ids, table.tolist(), strict=True)
        )
        with code():
            assert lines_of(ids, table) == expected.getvalue().encode()
