"""Server-sent events: writing, splitting and decoding them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.wire.sse import DONE, data, data_of, event, events_of


@pytest.mark.parametrize("blank", [b"\n\n", b"\r\n\r\n"])
def test_a_chunk_is_split_into_its_events(blank: bytes) -> None:
    chunk = b"data: 1" + blank + b"data: 2" + blank
    assert list(events_of(chunk)) == [b"data: 1" + blank, b"data: 2" + blank]


def test_the_rest_after_the_last_blank_line_is_an_event_too() -> None:
    assert list(events_of(b"data: 1\n\ndata: 2")) == [b"data: 1\n\n", b"data: 2"]


@given(st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=3) | st.integers(), max_size=2), max_size=4))
def test_written_events_are_read_back(values: list[dict[str, str | int]]) -> None:
    assert [data_of(written) for written in events_of(b"".join(map(data, values)))] == values


def test_the_name_of_an_event_is_in_the_data_too() -> None:
    written = event({"type": "message_stop"})
    assert written == b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    assert data_of(written) == {"type": "message_stop"}


def test_data_of_several_lines_is_one_value() -> None:
    assert data_of(b'data: {"a":\ndata: 1}\n\n') == {"a": 1}


@pytest.mark.parametrize("other", [DONE, b": comment\n\n", b"event: ping\n\n", b"data: {\n\n", b"\n\n"])
def test_an_event_without_json_has_no_data(other: bytes) -> None:
    assert data_of(other) is None


def test_half_of_a_surrogate_pair_is_preserved() -> None:
    assert data_of(data({"text": "cut \ud83d"})) == {"text": "cut \ud83d"}
