"""Events that only continue a text, recognised by an earlier one."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.wire.protocols import CHAT, MESSAGES
from router.wire.sse import data, data_of, event
from router.wire.streams.text_events import TextEvents
from router.wire.usage import may_report

WORD = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word"}}
ODD = (b'"', b"\\", b"\n", b"\r", b"\n\n", b"\xff", b'usage":{"completion_tokens":9},"x":"', b'"finish_reason":"stop"')
TEXTS = st.lists(st.sampled_from(ODD) | st.binary(max_size=6), max_size=6).map(b"".join)


def chunk(text: bytes, *, finish: str = "null", end: bytes = b"\n\n") -> bytes:
    delta = b'"delta":{"content":"%s"},"logprobs":null' % text
    return b'data: {"id":"1","choices":[{"index":0,%s,"finish_reason":%s}]}%s' % (delta, finish.encode(), end)


def knowing(known: bytes, texts: re.Pattern[bytes] = CHAT.texts) -> TextEvents:
    events = TextEvents(texts)
    events.learn(known)
    return events


def test_events_of_the_known_form_are_skipped_up_to_one_of_another_form() -> None:
    events, texts = knowing(chunk(b"one")), list[bytes]()
    known = chunk(b" two") + chunk(rb" \"three\" \n") + chunk(b"")
    assert events.skip(known + chunk(b"four", finish='"stop"') + known, 0, texts) == len(known)
    assert texts == [b" two", rb" \"three\" \n", b""]
    assert events.skip(known, len(chunk(b" two")), texts) == len(known)


class Counted(bytes):
    """Bytes that count how many of them are copied."""

    copied = 0

    def __getitem__(self, key):  # type: ignore[no-untyped-def, override]
        part = super().__getitem__(key)
        self.copied += len(part) if isinstance(part, bytes) else 0
        return part


@pytest.mark.parametrize("others", [1, 3])
def test_where_events_of_other_forms_alternate_no_part_is_copied_many_times(others: int) -> None:
    known, texts = knowing(chunk(b"one")), list[bytes]()
    other = chunk(b"four").replace(b'"index":0', b'"index":1')
    stream = Counted((chunk(b" two") * others + other) * 2_000)
    at = 0
    while (end := known.skip(stream, at, texts)) < len(stream):
        at = end + len(other)
    assert texts == [b" two"] * 2_000 * others
    assert stream.copied < 200 * len(stream)


def test_all_of_many_events_are_skipped_whatever_is_split_at_once() -> None:
    known, texts = knowing(chunk(b"one")), list[bytes]()
    stream = Counted(chunk(b" two") * 5_000)
    assert known.skip(stream, 0, texts) == len(stream)
    assert (len(texts), stream.copied < 3 * len(stream)) == (5_000, True)


def test_line_ends_behind_an_event_belong_to_it() -> None:
    events, texts = knowing(chunk(b"one")), list[bytes]()
    assert events.skip(chunk(b"two") + chunk(b"three") + b"\n", 0, texts) == len(chunk(b"two"))
    assert texts == [b"two"]


def test_the_name_of_an_event_belongs_to_its_form() -> None:
    other = event({**WORD, "delta": {"type": "text_delta", "text": "and more"}})
    assert knowing(event(WORD), MESSAGES.texts).skip(other, 0, []) == len(other)


def test_what_has_no_text_or_several_or_another_line_end_teaches_no_form() -> None:
    several = data({"choices": [{"delta": {"content": "a", "reasoning_content": "b"}}]})
    for known in (b": comment\n\n", several, chunk(b"one", end=b"\r\n\r\n"), chunk(b"one", end=b"\n"), b""):
        assert knowing(known).skip(known, 0, []) == 0


def test_a_form_that_changes_with_every_event_is_no_longer_learnt() -> None:
    events = TextEvents(CHAT.texts)
    changing = [data({"id": number, "choices": [{"delta": {"content": "a"}}]}) for number in range(100)]
    for each in changing:
        events.learn(each)
    assert events.skip(changing[-1], 0, []) == 0
    # One that is used may change as often as it wants.
    events = TextEvents(CHAT.texts)
    for each in changing:
        events.learn(each)
        assert events.skip(each, 0, []) == len(each)


@given(TEXTS)
@example(b"\\")
@example(b"\\\\")
@example(rb"\\\"")
@example(b'"},"usage":{"completion_tokens":9')
def test_what_is_skipped_differs_in_nothing_but_its_text(text: bytes) -> None:
    known, other, texts = chunk(b"one"), chunk(text), list[bytes]()
    if knowing(known).skip(other, 0, texts) < len(other):
        assert texts == []
        return
    assert texts == CHAT.texts.findall(other) == [text]
    assert not may_report(other)
    value, expected = data_of(other), data_of(known)
    if value is not None:
        assert expected is not None
        value["choices"][0]["delta"]["content"] = "one"
        assert value == expected


@given(st.lists(TEXTS | st.just(b"plain"), max_size=12))
@example([b"plain"] * 12)
@example([b"plain"] * 6 + [b"a\\"] + [b"plain"] * 6)
@example([b"plain"] * 6 + [rb"\"quoted\""] + [b"plain"] * 6)
def test_events_that_arrive_together_are_skipped_as_those_that_arrive_singly(several: list[bytes]) -> None:
    known, skipped, texts = knowing(chunk(b"one")), 0, list[bytes]()
    for text in several:
        each = chunk(text)
        if known.skip(each, 0, texts) < len(each):
            break
        skipped += len(each)
    together: list[bytes] = []
    assert known.skip(b"".join(map(chunk, several)), 0, together) == skipped
    assert together == texts
