from __future__ import annotations

import csv
from pathlib import Path

import pytest

from router.errors import ConfigurationError
from router.learn.data import Prompt, RoutingSet
from router.learn.evaluation.score import write_scores
from router.perceive.features import feature_vector
from router.perceive.predictor import Predictor


def cells(file: Path) -> list[list[str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def test_scores_are_a_row_a_prompt_and_a_column_a_model(
    predictor: Predictor, planted_set: RoutingSet, tmp_path: Path
) -> None:
    write_scores(predictor, planted_set.prompts[:3], tmp_path / "out.csv")
    header, *rows = cells(tmp_path / "out.csv")
    assert header == ["prompt_id", "calculator", "poet", "generalist"]
    assert [row[0] for row in rows] == ["p0", "p1", "p2"]
    quality, *_ = predictor.expect(feature_vector(predictor.encoder, planted_set.prompts[0].turns))
    assert [float(cell) for cell in rows[0][1:]] == quality[:-1].tolist()


def test_deviations_go_into_a_file_of_their_own(predictor: Predictor, planted_set: RoutingSet, tmp_path: Path) -> None:
    write_scores(predictor, planted_set.prompts[:1], tmp_path / "out.csv", tmp_path / "std.csv")
    _, row = cells(tmp_path / "std.csv")
    _, deviation, *_ = predictor.expect(feature_vector(predictor.encoder, planted_set.prompts[0].turns))
    assert [float(cell) for cell in row[1:]] == deviation[:-1].tolist()


def test_an_id_with_a_comma_or_an_umlaut_survives(predictor: Predictor, tmp_path: Path) -> None:
    write_scores(predictor, [Prompt('a,"ü"\n', ("hi",))], tmp_path / "out.csv")
    _, row = cells(tmp_path / "out.csv")
    assert row[0] == 'a,"ü"\n'


def test_a_file_that_cannot_be_written_is_named(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing/out\.csv: cannot be written: No such file"):
        write_scores(predictor, [Prompt("a", ("hi",))], tmp_path / "missing" / "out.csv")
