"""Files of judgements from other systems, as these write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from router.errors import CallerError, FileError
from router.learn.online.exports import Judgement, Layout, Reading, read_judgements

# One row of each kind, with the fields of Langfuse's export to a blob storage, and of its API.
_SCORE = {
    "id": "5f1c",
    "timestamp": "2026-11-20 10:00:00.500000",
    "project_id": "p",
    "environment": "production",
    "trace_id": "req-1",
    "observation_id": None,
    "session_id": None,
    "name": "helpful",
    "value": 1,
    "source": "API",
    "comment": "solved it",
    "data_type": "BOOLEAN",
    "string_value": "True",
    "metadata": {},
}
_API_SCORE = {
    "traceId": "t",
    "name": "helpful",
    "value": 0.25,
    "metadata": {"request_id": "req-2"},
    "dataType": "NUMERIC",
}
_TENSORZERO = {"id": "0193", "target_id": "req-3", "metric_name": "solved", "value": True, "tags": {}}
_AT = 1795168800.5


def written(folder: Path, name: str, *rows: dict[str, Any]) -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def read(file: Path, **how: Any) -> tuple[Layout, list[Judgement]]:
    return read_judgements(file, Reading(**how))


def test_scores_of_langfuse_are_judgements_of_their_traces(tmp_path: Path) -> None:
    file = written(tmp_path, "scores.jsonl", _SCORE)
    assert read(file) == ("langfuse", [Judgement("req-1", 1.0, "solved it", _AT)])


def test_the_id_of_the_request_in_the_metadata_goes_before_that_of_the_trace(tmp_path: Path) -> None:
    file = tmp_path / "page.json"
    file.write_text(json.dumps({"data": [_API_SCORE], "meta": {"page": 1}}))
    assert read(file) == ("langfuse", [Judgement("req-2", 0.25)])


def test_scores_in_csv_have_their_metadata_as_json(tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    file.write_text('traceId,name,value,metadata\nt,helpful,0,"{""request_id"": ""req-9""}"\n')
    assert read(file) == ("langfuse", [Judgement("req-9", 0.0)])


def test_feedback_of_tensorzero_is_about_its_target(tmp_path: Path) -> None:
    file = written(tmp_path, "feedback.jsonl", _TENSORZERO, {**_TENSORZERO, "value": 0.5})
    assert read(file) == ("tensorzero", [Judgement("req-3", 1.0), Judgement("req-3", 0.5)])


def test_tags_of_tensorzero_in_a_csv_file_of_clickhouse_name_the_request(tmp_path: Path) -> None:
    file = tmp_path / "feedback.csv"
    file.write_text(
        """id,target_id,metric_name,value,tags\na,t,solved,true,"{'request_id':'req-5'}"\nb,u,solved,false,{}\n"""
    )
    assert read(file) == ("tensorzero", [Judgement("req-5", 1.0), Judgement("u", 0.0)])


def test_a_table_needs_an_id_and_a_value_or_a_verdict(tmp_path: Path) -> None:
    file = tmp_path / "votes.csv"
    file.write_text("\ufeffid,value,verdict,comment\na,0.5,,\nb,,bad,wrong\n")
    assert read(file) == ("plain", [Judgement("a", 0.5), Judgement("b", 0.0, "wrong")])


def test_a_scale_of_stars_becomes_values_from_0_to_1(tmp_path: Path) -> None:
    file = written(tmp_path, "votes.jsonl", *({"id": "a", "value": stars} for stars in (1, 2, 5)))
    assert [each.value for each in read(file, low=1.0, high=5.0)[1]] == [0.0, 0.25, 1.0]


def test_one_of_several_names_has_to_be_chosen(tmp_path: Path) -> None:
    file = written(tmp_path, "scores.jsonl", _SCORE, {**_SCORE, "name": "tone", "value": 0})
    with pytest.raises(CallerError, match="several names: helpful, tone; choose one with --metric"):
        read(file)
    assert [each.value for each in read(file, metric="tone")[1]] == [0.0]
    with pytest.raises(CallerError, match='no judgement "tine": the names are helpful, tone'):
        read(file, metric="tine")


def test_any_field_can_have_the_id(tmp_path: Path) -> None:
    file = written(tmp_path, "scores.jsonl", {**_SCORE, "metadata": {"gateway": "req-7"}})
    assert read(file, id_field="metadata.gateway")[1][0].id == "req-7"


@pytest.mark.parametrize("factor", [1, 1_000, 1_000_000, 1_000_000_000])
@pytest.mark.parametrize("name", ["votes.jsonl", "votes.csv"])
def test_a_time_is_in_seconds_or_a_smaller_unit_in_every_format(tmp_path: Path, name: str, factor: int) -> None:
    row = {"id": "a", "value": 1, "at": 1_764_300_000 * factor}
    if name.endswith(".csv"):
        file = tmp_path / name
        file.write_text(",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n")
    else:
        file = written(tmp_path, name, row)
    assert read(file)[1][0].at == pytest.approx(1_764_300_000)


def test_a_line_separator_in_a_comment_does_not_end_the_row(tmp_path: Path) -> None:
    file = tmp_path / "votes.jsonl"
    file.write_text('{"id": "a", "value": 1, "comment": "one\u2028two"}\n', "utf-8")
    assert read(file)[1][0].comment == "one\u2028two"


def test_a_long_comment_is_cut_and_its_value_kept(tmp_path: Path) -> None:
    file = written(tmp_path, "votes.jsonl", {"id": "a", "value": 1, "comment": "x" * 5000})
    assert len(read(file)[1][0].comment or "") == 2000


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id,value\na,7\n", "votes.csv:2: value: 7 is not from 0 to 1; --range LOW:HIGH states the scale, as 1:5"),
        ("id,value\na,baad\n", 'votes.csv:2: value: "baad" is no number, true, false or verdict; did you mean "bad"'),
        ("id,value\na,\n", "votes.csv:2: has no `value`"),
        ("id,value\n,1\n", "votes.csv:2: has none of target_id"),
        ("id,value\na\n", "votes.csv:2: has not the 2 cells of the header"),
        ("answer,value\na,1\n", "its fields are answer, value; --format says what the file is"),
        ('{"id": "a", "value": 1}\n{"id": \n', "votes.csv:2: is no JSON"),
        ("[1]", "votes.csv:1: is no object with fields, but 1"),
        ("[", "votes.csv: is no JSON"),
        ("id,value,at\na,1,yesterday\n", 'votes.csv:2: timestamp: "yesterday" is no ISO date and time'),
        ("id,value,at\na,1,2025\n", 'votes.csv:2: timestamp: "2025" is no ISO date and time, and no seconds'),
        ('{"id": "a", "value": 1, "at": 1e999}', "is no ISO date and time"),
        ('{"trace_id": "", "value": 1}', "names no request: none of metadata.request_id"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_with_what_was_likely_meant(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "votes.csv"
    file.write_text(text)
    with pytest.raises(FileError) as error:
        read(file)
    assert problem in str(error.value)


def test_an_empty_file_has_no_judgements(tmp_path: Path) -> None:
    file = tmp_path / "votes.csv"
    file.write_text("id,value\n")
    assert read(file) == ("plain", [])


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"gone\.csv: cannot be read"):
        read(tmp_path / "gone.csv")
