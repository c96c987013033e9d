from __future__ import annotations

import json
import logging
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import FileError
from router.perceive.evidence import ProbeOutcome, file_name, load_evidence, parse_evidence, without_card

FIRST = ProbeOutcome("a", "sums", "1 + 1?", "number", 1.0, "2", "m-1", "2026-01-01T00:00:00+00:00", 12.5)
SECOND = ProbeOutcome(
    "b", "sums", "2 + 2?", "number", 0.0, "5", "m-1", "2026-01-01T00:00:01+00:00", 8.0, 3.0, 9, 4, 1e-6
)


def lines(*outcomes: ProbeOutcome) -> bytes:
    return b"".join(msgspec.json.encode(outcome) + b"\n" for outcome in outcomes)


def test_outcomes_read_back_as_they_were_written() -> None:
    assert parse_evidence(lines(FIRST, SECOND), "file").outcomes == (FIRST, SECOND)


@given(st.integers(1, len(lines(SECOND)) - 2))
def test_a_torn_last_line_is_left_out_and_measured(kept: int) -> None:
    read = parse_evidence(lines(FIRST) + lines(SECOND)[:kept], "file")
    assert (read.outcomes, read.torn) == ((FIRST,), kept)


def test_a_whole_last_line_without_its_end_counts() -> None:
    read = parse_evidence(lines(FIRST, SECOND)[:-1], "file")
    assert (read.outcomes, read.torn) == ((FIRST, SECOND), 0)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (b"{", "is damaged"),
        (b"\xff\xfe", "is damaged"),
        (b"[]", "is damaged"),
        (lines(FIRST).strip().replace(b'"score":1.0', b'"score":7'), "score"),
        (lines(FIRST).strip().replace(b'"score"', b'"scroe"'), 'did you mean "score"?'),
    ],
)
def test_a_damaged_line_in_the_middle_is_named(damage: bytes, problem: str) -> None:
    with pytest.raises(FileError) as caught:
        parse_evidence(lines(FIRST) + damage + b"\n" + lines(SECOND), "evidence/m.jsonl")
    assert str(caught.value).startswith("evidence/m.jsonl:2: is damaged")
    assert problem in str(caught.value)


def test_a_folder_is_read_by_card_and_the_latest_outcome_of_a_probe_counts(tmp_path: Path) -> None:
    later = msgspec.structs.replace(FIRST, score=0.0)
    (tmp_path / file_name("plain")).write_bytes(lines(SECOND))
    (tmp_path / file_name("vendor/model:7b@v1+x")).write_bytes(lines(FIRST, SECOND, later))
    (tmp_path / "plain.underway.json").write_text("[]")
    assert load_evidence(tmp_path) == {"plain": (SECOND,), "vendor/model:7b@v1+x": (later, SECOND)}


def test_no_folder_is_no_evidence(tmp_path: Path) -> None:
    assert load_evidence(tmp_path / "nowhere") == {}


def test_a_torn_file_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / file_name("m")).write_bytes(lines(FIRST) + b'{"probe"')
    with caplog.at_level(logging.WARNING):
        assert load_evidence(tmp_path) == {"m": (FIRST,)}
    assert "m.jsonl" in caplog.text


def test_evidence_without_a_card_is_found() -> None:
    assert without_card({"gone": (), "here": ()}, ["here", "other"]) == ("gone",)


@given(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,40}\Z"))
def test_every_card_id_has_a_file_name_of_its_own(card: str) -> None:
    name = file_name(card)
    assert "/" not in name
    assert name != file_name(card + "x")
    assert json.dumps(name).isascii()
