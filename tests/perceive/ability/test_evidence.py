from __future__ import annotations

import json
import logging
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import FileError
from router.perceive.ability.evidence import (
    ProbeOutcome,
    file_name,
    load_evidence,
    parse_evidence,
    without_card,
)

FIRST = ProbeOutcome("a", "sums", "1 + 1?", "number", 1.0, "2", "m-1", "2026-01-01T00:00:00+00:00", 12.5)
SECOND = ProbeOutcome(
    "b", "sums", "2 + 2?", "number", 0.0, "5", "m-1", "2026-01-01T00:00:01+00:00", 8.0, 3.0, 9, 4, 1e-6
)


def lines(*outcomes: ProbeOutcome) -> bytes:
    return b"".join(msgspec.json.encode(outcome) + b"\n" for outcome in outcomes)


def test_outcomes_are_read_back_unchanged() -> None:
    assert parse_evidence(lines(FIRST, SECOND), "file").outcomes == (FIRST, SECOND)


@given(st.integers(1, len(lines(SECOND)) - 2))
def test_a_truncated_last_line_is_left_out_and_its_length_reported(length: int) -> None:
    content = parse_evidence(lines(FIRST) + lines(SECOND)[:length], "file")
    assert (content.outcomes, content.truncated_bytes) == ((FIRST,), length)


def test_a_complete_last_line_without_a_newline_counts() -> None:
    content = parse_evidence(lines(FIRST, SECOND)[:-1], "file")
    assert (content.outcomes, content.truncated_bytes) == ((FIRST, SECOND), 0)


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
def test_the_error_names_a_damaged_line_in_the_middle(damage: bytes, problem: str) -> None:
    with pytest.raises(FileError) as caught:
        parse_evidence(lines(FIRST) + damage + b"\n" + lines(SECOND), "evidence/m.jsonl")
    assert str(caught.value).startswith("evidence/m.jsonl:2: is damaged")
    assert problem in str(caught.value)
    assert str(caught.value).endswith("; delete the line to continue")


def test_a_folder_is_read_by_card_with_the_latest_outcome_of_a_probe(tmp_path: Path) -> None:
    later = msgspec.structs.replace(FIRST, score=0.0)
    (tmp_path / file_name("plain")).write_bytes(lines(SECOND))
    (tmp_path / file_name("vendor/model:7b@v1+x")).write_bytes(lines(FIRST, SECOND, later))
    (tmp_path / "plain.underway.json").write_text("[]")
    assert load_evidence(tmp_path) == {"plain": (SECOND,), "vendor/model:7b@v1+x": (later, SECOND)}


def test_without_a_folder_there_is_no_evidence(tmp_path: Path) -> None:
    assert load_evidence(tmp_path / "nowhere") == {}


def test_a_truncated_file_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / file_name("m")).write_bytes(lines(FIRST) + b'{"probe"')
    with caplog.at_level(logging.WARNING):
        assert load_evidence(tmp_path) == {"m": (FIRST,)}
    assert "m.jsonl: the last line is incomplete and was left out; `route onboard` repairs the file" in caplog.text


def test_the_ids_without_a_card_are_listed() -> None:
    assert without_card({"gone": (), "here": ()}, ["here", "other"]) == ("gone",)


@given(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,40}\Z"))
def test_different_card_ids_have_different_file_names(card: str) -> None:
    name = file_name(card)
    assert "/" not in name
    assert name != file_name(card + "x")
    assert json.dumps(name).isascii()
