"""Server-sent events: writing, splitting and decoding them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.wire.sse import (
    DONE,
    EventSplitter,
    begins_events,
    begins_json,
    data,
    data_of,
    event,
    events_of,
    read_event,
)

LINE_ENDS = (b"\n", b"\r", b"\r\n")
LINES = (
    b"data: 1",
    b"data:2",
    b"data",
    b": comment",
    b"event: x",
    b"id: 7",
    b"retry: 100",
    "data: é\U0001f600".encode(),
    b"data: \xff\xfe",
    b"data: {",
)


def split(pieces: list[bytes]) -> list[bytes]:
    """The events that a splitter finds in the pieces."""
    splitter = EventSplitter()
    chunks = [splitter.feed(piece) for piece in pieces]
    return [raw for chunk in [*chunks, splitter.rest()] for raw in events_of(chunk)]


def meanings(events: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Name and text of the events that have a text."""
    return [(read.name, read.text) for read in map(read_event, events) if read.text is not None]


def cut_at(whole: bytes, positions: list[int]) -> list[bytes]:
    bounds = sorted({0, len(whole), *(position % (len(whole) + 1) for position in positions)})
    return [whole[start:end] for start, end in pairwise(bounds)]


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[list[bytes]], bytes]:
    """The lines of some events, and these events with any line ends, perhaps without the last empty line."""
    events = draw(st.lists(st.lists(st.sampled_from(LINES), min_size=1, max_size=4), min_size=1, max_size=5))
    ends = iter(draw(st.lists(st.sampled_from(LINE_ENDS), min_size=30, max_size=30)))
    whole = draw(st.sampled_from((b"", b"\xef\xbb\xbf")))
    for lines in events:
        for line in [*lines, b""]:
            whole += line + _end_after(whole, line, next(ends))
    if draw(st.booleans()):
        whole = whole.rstrip(b"\r\n")
    return events, whole


def _end_after(before: bytes, line: bytes, end: bytes) -> bytes:
    # CR and a LF of its own are one line end, so they cannot be two.
    return b"\r\n" if not line and before.endswith(b"\r") and end == b"\n" else end


@given(streams(), st.lists(st.integers(min_value=0), max_size=12))
def test_line_ends_and_the_sizes_of_reads_make_no_difference(
    stream: tuple[list[list[bytes]], bytes], positions: list[int]
) -> None:
    events, whole = stream
    expected = meanings([b"\n".join(lines) + b"\n\n" for lines in events])
    assert meanings(split(cut_at(whole, positions))) == expected


@given(streams(), st.lists(st.integers(min_value=0), max_size=12))
def test_nothing_is_lost_between_the_events(stream: tuple[list[list[bytes]], bytes], positions: list[int]) -> None:
    _, whole = stream
    found = b"".join(split(cut_at(whole, positions)))
    assert found.rstrip(b"\r\n") == whole.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")


@pytest.mark.parametrize("blank", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\r\n\n", b"\n\r\n"])
def test_a_chunk_is_split_into_its_events(blank: bytes) -> None:
    chunk = b"data: 1" + blank + b"data: 2" + blank
    assert list(events_of(chunk)) == [b"data: 1" + blank, b"data: 2" + blank]


def test_a_crlf_is_not_an_empty_line() -> None:
    assert list(events_of(b"event: x\r\ndata: 1\r\n\r\n")) == [b"event: x\r\ndata: 1\r\n\r\n"]


def test_an_event_of_carriage_returns_does_not_wait_for_the_next() -> None:
    assert EventSplitter().feed(b"data: 1\r\r") == b"data: 1\r\r"


def test_a_byte_order_mark_at_the_start_is_removed() -> None:
    splitter = EventSplitter()
    pieces = (b"\xef", b"\xbb", b"\xbf", b"data: 1\n", b"\n")
    assert [splitter.feed(piece) for piece in pieces] == [b"", b"", b"", b"", b"data: 1\n\n"]


@pytest.mark.parametrize("rest", [b"data: 1", b"data: 1\n", b"data: 1\r\n\r"])
def test_an_event_without_its_last_empty_line_gets_one(rest: bytes) -> None:
    assert read_event(split([rest])[0]).text == b"1"
    assert list(events_of(split([rest])[0] + b"data: 2\n\n"))[1:] == [b"data: 2\n\n"]


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
    assert data_of(b'data: {"a":\rdata: 1}\n\n') == {"a": 1}


@pytest.mark.parametrize("other", [DONE, b": comment\n\n", b"event: ping\n\n", b"data: {\n\n", b"\n\n"])
def test_an_event_without_json_has_no_data(other: bytes) -> None:
    assert data_of(other) is None


@pytest.mark.parametrize(
    "harmless",
    [DONE, b": comment\n\n", b"data:\n\n", b"data: null\n\n", b"data: ping\n\n", b"event: ping\ndata: x\n\n"],
)
def test_an_event_that_keeps_the_connection_open_is_not_unreadable(harmless: bytes) -> None:
    assert not read_event(harmless).is_unreadable


@pytest.mark.parametrize("text", [b'{"a": "', b'{"a": "caf\xe9"}', b"Internal Server Error"])
def test_an_event_that_is_no_json_in_utf_8_is_unreadable(text: bytes) -> None:
    assert read_event(b"data: " + text + b"\n\n").is_unreadable


def test_an_object_in_a_list_is_read() -> None:
    assert data_of(b'data: [{"error": {"message": "no"}}]\n\n') == {"error": {"message": "no"}}


def test_half_of_a_surrogate_pair_is_preserved() -> None:
    assert data_of(data({"text": "cut \ud83d"})) == {"text": "cut \ud83d"}


@pytest.mark.parametrize(
    ("head", "events", "json"),
    [
        (b"data: x", True, False),
        (b"\xef\xbb\xbfdata:x", True, False),
        (b": comment", True, False),
        (b"\r\n\nevent: x", True, False),
        (b"retry: 1", True, False),
        (b'{"a"', False, True),
        (b" \n[", False, True),
        (b"<html>", False, False),
        (b"database: x", False, False),
        (b"dat", None, False),
        (b"", None, None),
        (b"\xef\xbb", None, None),
    ],
)
def test_the_first_bytes_show_what_a_body_is(head: bytes, events: bool | None, json: bool | None) -> None:
    assert (begins_events(head), begins_json(head)) == (events, json)
