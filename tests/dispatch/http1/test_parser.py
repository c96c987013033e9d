"""What is an answer, where it ends, and whether another may follow."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.dispatch.http1.errors import BrokenError, ProtocolError
from router.dispatch.http1.parser import MAX_FIELDS, MAX_HEAD_BYTES, AnswerParser

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


def parsed(*pieces: bytes, has_body: bool = True, ended: bool = False) -> AnswerParser:
    """A parser that has read these pieces, and the end of the connection where `ended`."""
    parser = AnswerParser()
    parser.expect(has_body=has_body)
    for piece in pieces:
        parser.feed(piece)
    if ended:
        parser.end()
    return parser


def result(parser: AnswerParser) -> tuple[object, ...]:
    head = parser.head
    shown = None if head is None else (head.status, head.headers, head.length)
    return shown, b"".join(parser.chunks), parser.is_complete, parser.can_go_on


ANSWERS = [
    pytest.param(OK + b"content-length: 2\r\n\r\nok", b"ok", True, id="with-a-length"),
    pytest.param(OK + b"content-length: 0\r\n\r\n", b"", True, id="empty"),
    pytest.param(CHUNKED + b"1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n", b"ok", True, id="chunks"),
    pytest.param(CHUNKED + b"2 \r\nok\r\n0\r\na: b\r\n\r\n", b"ok", True, id="padded-size-and-trailers"),
    pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 2\r\n\r\nok", b"ok", True, id="100"),
    pytest.param(
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK + b"content-length: 2\r\n\r\nok", b"ok", True, id="103"
    ),
    pytest.param(b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok", b"ok", True, id="line-feeds-only"),
    pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", True, id="204"),
    pytest.param(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", b"", True, id="304"),
    pytest.param(OK + b"connection: close\r\ncontent-length: 2\r\n\r\nok", b"ok", False, id="close"),
    pytest.param(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", b"ok", False, id="1.0"),
    pytest.param(
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", b"ok", True, id="1.0-keep-alive"
    ),
    pytest.param(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", b"", False, id="101"),
]


@pytest.mark.parametrize(("raw", "body", "can_go_on"), ANSWERS)
def test_an_answer_is_the_same_however_its_bytes_are_split(raw: bytes, body: bytes, can_go_on: bool) -> None:
    at_once = parsed(raw)
    assert (b"".join(at_once.chunks), at_once.is_complete, at_once.can_go_on) == (body, True, can_go_on)
    for cut in range(1, len(raw)):
        assert result(parsed(raw[:cut], raw[cut:])) == result(at_once), cut
    assert result(parsed(*(raw[place : place + 1] for place in range(len(raw))))) == result(at_once)


BODIES = st.lists(st.binary(min_size=1, max_size=40), max_size=5)
HEADERS = st.lists(
    st.tuples(st.from_regex(r"x-[a-z]{1,8}", fullmatch=True), st.from_regex(r"[!-~]{0,12}", fullmatch=True))
)


@settings(max_examples=50, deadline=None)
@given(BODIES, HEADERS, st.sampled_from(["length", "chunks", "end"]), st.lists(st.integers(0, 400), max_size=8))
def test_any_answer_and_any_split_give_the_same(
    parts: list[bytes], headers: list[tuple[str, str]], framing: str, cuts: list[int]
) -> None:
    body = b"".join(parts)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers).encode()
    if framing == "length":
        raw = OK + lines + b"content-length: %d\r\n\r\n" % len(body) + body
    elif framing == "chunks":
        chunks = b"".join(b"%X\r\n%b\r\n" % (len(part), part) for part in parts)
        raw = OK + lines + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    else:
        raw = OK + lines + b"\r\n" + body
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    pieces = [raw[start:end] for start, end in itertools.pairwise(places) if end > start]
    parser = parsed(*pieces, ended=framing == "end")
    assert parser.head is not None
    assert b"".join(parser.chunks) == body
    assert parser.is_complete
    assert parser.can_go_on == (framing != "end")
    assert all(parser.head.headers[name] == dict(reversed(headers))[name] for name, _ in headers)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", OK, CHUNKED, OK + b"content-length: 5\r\n\r\n"]))
def test_any_bytes_are_an_answer_or_a_protocol_error(noise: bytes, before: bytes) -> None:
    parser = AnswerParser()
    parser.expect()
    try:
        parser.feed(before + noise)
        parser.end()
    except (ProtocolError, BrokenError):
        assert not parser.can_go_on


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n", id="two-framings"),
        pytest.param(OK + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n", id="two-framings-reversed"),
        pytest.param(OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n", id="two-lengths"),
        pytest.param(OK + b"content-length: 2, 2\r\n\r\n", id="a-list-of-lengths"),
        pytest.param(OK + b"content-length: -2\r\n\r\n", id="negative-length"),
        pytest.param(OK + b"content-length: 99999999999999999999\r\n\r\n", id="length-of-more-than-64-bits"),
        pytest.param(OK + b"transfer-encoding: chunked, gzip\r\n\r\n", id="chunked-is-not-last"),
        pytest.param(OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", id="chunked-twice"),
        pytest.param(OK + b"transfer-encoding: xchunked\r\n\r\n", id="unknown-transfer-coding"),
        pytest.param(OK + b"a: b\r\n c\r\n\r\n", id="folded-header"),
        pytest.param(OK + b"a: b\rHTTP/1.1 200 OK\r\n\r\n", id="carriage-return-in-a-header"),
        pytest.param(OK + b"a: b\0c\r\n\r\n", id="null-in-a-header"),
        pytest.param(OK + b"content-length: 1\x01\r\n\r\n", id="control-character-in-a-length"),
        pytest.param(OK + b"transfer-encoding: chunked\x01\r\n\r\n", id="control-character-in-a-coding"),
        pytest.param(OK + b"a : b\r\n\r\n", id="blank-before-the-colon"),
        pytest.param(OK + b": b\r\n\r\n", id="no-name"),
        pytest.param(b"HTTP/1.1 99 Low\r\n\r\n", id="short-status"),
        pytest.param(b"<html>no HTTP</html>", id="no-http"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", id="another-protocol"),
        pytest.param(CHUNKED + b"zz\r\n", id="invalid-chunk-size"),
        pytest.param(CHUNKED + b"-1\r\n", id="negative-chunk-size"),
        pytest.param(CHUNKED + b"fffffffffffffffff\r\n", id="chunk-size-of-more-than-64-bits"),
        pytest.param(CHUNKED + b"1\r\nab\r\n", id="longer-chunk-than-stated"),
        pytest.param(
            OK + b"".join(b"a%d: b\r\n" % number for number in range(MAX_FIELDS + 1)) + b"\r\n", id="many-fields"
        ),
        pytest.param(OK + b"a: " + b"x" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n", id="large-field"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, id="heads-of-1xx-without-end"),
        pytest.param(CHUNKED + b"0\r\n" + b"a: b\r\n" * (MAX_FIELDS + 1) + b"\r\n", id="many-trailers"),
    ],
)
def test_bytes_that_are_no_clear_answer_are_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        parsed(raw)


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"HTTP/1.1 200 ", id="reason"),
        pytest.param(OK + b"a: ", id="value"),
        pytest.param(OK, id="name"),
        pytest.param(CHUNKED + b"1;x=", id="chunk-extension"),
        pytest.param(CHUNKED + b"0\r\na: ", id="trailer"),
    ],
)
def test_a_line_without_end_is_refused(beginning: bytes) -> None:
    pieces = [b"x" * 8192] * (MAX_HEAD_BYTES // 8192 + 2)
    with pytest.raises(ProtocolError, match=r"too long|too large"):
        parsed(beginning, *pieces)


@pytest.mark.parametrize(
    "extra",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"garbage", b"HT", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200],
)
def test_what_follows_an_answer_unasked_is_ignored_and_ends_the_connection(extra: bytes) -> None:
    raw = OK + b"content-length: 2\r\n\r\nok"
    for parser in (parsed(raw + extra), parsed(raw, extra)):
        assert b"".join(parser.chunks) == b"ok"
        assert parser.head is not None
        assert "a" not in parser.head.headers
        assert (parser.is_complete, parser.can_go_on) == (True, False)


def test_an_answer_without_length_lasts_as_long_as_its_connection() -> None:
    parser = parsed(OK + b"\r\n", b"o", b"k")
    assert not parser.is_complete
    parser.end()
    assert (b"".join(parser.chunks), parser.is_complete, parser.can_go_on) == (b"ok", True, False)


@pytest.mark.parametrize("raw", [b"", b"HT", OK, OK + b"content-length: 3\r\n\r\nok", CHUNKED + b"2\r\nok\r\n"])
def test_an_answer_that_ends_early_is_broken(raw: bytes) -> None:
    parser = parsed(*([raw] if raw else []))
    with pytest.raises(BrokenError) as failure:
        parser.end()
    assert failure.value.is_unanswered == (raw == b"")


def test_the_answer_to_head_has_no_body_whatever_its_length_is() -> None:
    parser = parsed(OK + b"content-length: 5\r\n\r\n", has_body=False)
    assert (parser.chunks, parser.is_complete) == ([], True)
    assert parser.head is not None
    assert parser.head.length == 5


def test_the_first_of_several_fields_of_one_name_counts() -> None:
    head = parsed(OK + b"Retry-After: 1\r\nRETRY-AFTER: 2\r\ncontent-length: 0\r\n\r\n").head
    assert head is not None
    assert head.headers == {"retry-after": "1", "content-length": "0"}


def test_one_answer_after_another_is_read() -> None:
    parser = AnswerParser()
    for body in (b"ok", b"longer", b""):
        parser.expect()
        parser.feed(OK + b"content-length: %d\r\n\r\n" % len(body) + body)
        assert (b"".join(parser.chunks), parser.is_complete, parser.can_go_on) == (body, True, True)


def test_a_field_with_control_characters_is_left_out_of_a_good_answer() -> None:
    parser = parsed(OK + b"a: b\x01c\r\nd: e\r\ncontent-length: 2\r\n\r\nhi")
    assert parser.head is not None
    assert parser.head.headers == {"d": "e", "content-length": "2"}
    assert (b"".join(parser.chunks), parser.is_complete) == (b"hi", True)


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(
    "before", [CONTINUE, b"HTTP/1.1 103 Early Hints\nlink: x\n\n", CONTINUE * 3, CONTINUE + b"\r\n\r\n"]
)
def test_a_folded_header_behind_interim_heads_is_refused_however_its_bytes_are_split(before: bytes) -> None:
    raw = before + OK + b"a: b\r\n c\r\n\r\n"
    for at in range(1, len(raw) - 3):
        with pytest.raises(ProtocolError, match="folded"):
            parsed(raw[:at], raw[at:])
    with pytest.raises(ProtocolError, match="folded"):
        parsed(raw)


def test_a_body_behind_interim_heads_may_look_like_a_folded_header_or_a_head() -> None:
    body = b"HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n"
    raw = CONTINUE + OK + b"content-length: %d\r\n\r\n" % len(body) + body
    for at in range(1, len(raw)):
        parser = parsed(raw[:at], raw[at:])
        assert (b"".join(parser.chunks), parser.is_complete, parser.can_go_on) == (body, True, True)


def test_many_interim_heads_before_a_folded_header_are_read_in_time() -> None:
    # Each is sixteen bytes of the most that heads may take.
    heads = b"HTTP/1.1 100 \n\n" * (MAX_HEAD_BYTES // 16 - 8)
    with pytest.raises(ProtocolError, match="folded"):
        parsed(heads + OK + b"a: b\r\n c\r\n\r\n")


def test_a_folded_header_is_refused_however_its_bytes_are_split_and_a_body_may_look_like_one() -> None:
    raw = OK + b"a: b\r\n c\r\n\r\n"
    for at in range(1, len(raw) - 3):
        with pytest.raises(ProtocolError):
            parsed(raw[:at], raw[at:])
    # A large head is searched otherwise.
    large = OK + b"x: %b\r\n" % (b"y" * 5000)
    with pytest.raises(ProtocolError):
        parsed(large + b"a: b\r\n c\r\n\r\n")
    assert b"".join(parsed(large + b"content-length: 4\r\n\r\na\n b").chunks) == b"a\n b"
    body = OK + b"content-length: 4\r\n\r\na\n b"
    for at in range(1, len(body)):
        assert b"".join(parsed(body[:at], body[at:]).chunks) == b"a\n b"
