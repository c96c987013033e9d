"""The parts of a prompt that change from request to request of one conversation: nonces, clocks, billing lines.

Two tables of patterns. A new kind of moving text is a row here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

_ZONE = r"(?:\s?(?:Z|UTC|GMT|[A-Z]{1,4}T)\b)?(?:\s?[+-]\d\d?:?\d\d\b)?"
_CLOCK = r":\d\d(?::\d\d(?:[.,]\d+)?)?(?:\s?[AaPp]\.?[Mm]\b\.?)?" + _ZONE
_TIME = r"\d\d?" + _CLOCK
_YEAR = r"(?:19|20)\d\d\b"
_WEEKDAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"
_ORDINAL = r"(?:st|nd|rd|th|\.|º)?"

# Without their first letters, which may be capital.
_BILLING_WORDS = ("illing", "ttestation", "ttribution")
BILLING_LINES: Sequence[re.Pattern[str]] = (
    # Claude Code: `x-anthropic-billing-header: cc_version=…; cc_entrypoint=cli; cch=…;`, new with every request.
    re.compile(rf"^[ \t]*x-[a-z0-9-]*[ab](?:{'|'.join(_BILLING_WORDS)})[a-z0-9-]*[ \t]*:[^\n]*\n?", re.I | re.M),
)
"""The lines by which a client identifies itself to its own vendor, within a system prompt."""

_MOVING: Mapping[str, str] = {
    "days of the week before a date": rf"\b{_WEEKDAY},?\s+(?=\d|[A-Z][a-z]{{2,8}}\.?\s+\d)",
    "dates and times of a log": rf"\b[A-Z][a-z]{{2}}\s+\d{{1,2}}\s+\d\d:\d\d:\d\d(?:\s[A-Z]{{3,4}})?(?:\s+{_YEAR})?",
    "dates in words, month first": rf"\b[A-Z][a-z]{{2,8}}\.?\s+\d{{1,2}}{_ORDINAL},?\s+{_YEAR}",
    "dates in words of any language, day first": rf"\d(?<!\w\d)\d?{_ORDINAL}\s+(?:(?:of|de)\s+)?[^\W\d_]{{3,12}}\.?,?"
    rf"\s+(?:de\s+)?{_YEAR}",
    "dates of East Asia": r"\d{1,4}\s?[年月日時时分秒년월일시분초]\s?",
    "dates in numbers, year first": rf"\d(?<!\w\d)\d{{3}}[-/.]\d\d?[-/.]\d\d?(?:[Tt ,_]+{_TIME}|\b)",
    "dates in numbers, year last": rf"\d(?<!\w\d)\d?[-/.]\d\d?[-/.]{_YEAR}",
    "times": rf"\d(?<!\w\d)\d?{_CLOCK}",
    "seconds since 1970, or parts of them": r"1(?<!\w1)[5-9]\d{8}(?:\d{3}){0,3}(?:\.\d+)?\b",
    "random words of letters and digits": r"\b[A-Za-z_-]{0,19}\d[\w-]{19,}",
    "hexadecimal digests": r"\b(?:0x)?(?=[0-9]*[A-Fa-f])[A-Fa-f]{0,12}\d[0-9A-Fa-f]{6,}\b",
    "hours": r"\d(?<!\w\d)\d?\s?[AaPp]\.?[Mm]\b\.?",
    "spans of time": r"\d(?<![\w.,]\d)[\d.,]{0,12}\s?(?:seconds?|minutes?|hours?|days?|secs?|mins?|hrs?)\b",
    "numbers with separators": r"\d(?<![\w.,]\d)\d{0,2}(?:,\d{3})+\b",
    "counts of tokens": r"\d(?<![\w.]\d)[\d.]*[KkM]?\s+tokens?\b",
    "percentages": r"\d(?<![\w.]\d)[\d.]*\s?%",
    "amounts of money": r"[$€£]\s?\d[\d.,]*",
    "short digests of commits": r"\b(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{7,12}\b",
}
"""The moving parts of a system prompt or of a first turn, each with its pattern.

A date may also be what a prompt is about. Two conversations that differ in nothing else then count as one, which costs
less than a conversation that is a new one with every request.
"""

# Characters of one kind become the same one. A question mark may stand for any character beyond ASCII, such as a digit.
_NUMBERS = bytes.maketrans(b"123456789?", b"0" * 10)
_WORDS = bytes(ord("w") if chr(byte).isalnum() or byte in b"_-?" else 32 for byte in range(128)) + bytes(128)
_HEXADECIMAL = bytes(ord("x") if byte in b"0123456789abcdefABCDEF" else byte for byte in range(128)) + bytes(128)
_UNITS = bytes.maketrans(b"123456789?APapMmshdeior", b"0" * 10 + b"ppppmmssseeee")
_BETWEEN = b" \t\n\v\f\r\x1c\x1d\x1e\x1f.,"
_DIGITS, _ZERO = bytes.maketrans(b"123456789", b"0" * 9), ord("0")
_MARKS: Sequence[tuple[bytes, bytes, Mapping[str, Mapping[str, tuple[str, ...]]]]] = (
    (
        _NUMBERS,
        b"",
        {
            "": {
                "days of the week before a date": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
                "counts of tokens": ("token",),
                "percentages": ("%",),
                "amounts of money": ("$",),
            },
            ":00": {"times": (":00",), "dates and times of a log": (":00:00",)},
            ",": {"numbers with separators": (",000",)},
            "0000": {
                "dates in words, month first": ("0000",),
                "dates in words of any language, day first": ("0000",),
                "dates in numbers, year first": ("0000-", "0000/", "0000."),
                "dates in numbers, year last": ("-0000", "/0000", ".0000"),
                "seconds since 1970, or parts of them": ("0" * 10,),
            },
        },
    ),
    (_WORDS, b"", {"": {"random words of letters and digits": ("w" * 20,)}}),
    (
        _HEXADECIMAL,
        b"",
        {"x" * 6: {"hexadecimal digests": ("x" * 7, "?" + "x" * 6), "short digests of commits": ("x" * 7,)}},
    ),
    (_UNITS, _BETWEEN, {"": {"hours": ("0pm",), "spans of time": ("0se", "0me", "0sp")}}),
)
"""What every match of a moving part contains, after a text was translated with the table and without the characters
beside it; parts that have a mark in common are below it. Most texts have none of it, and to look for it is many times
faster than a search for the pattern.
"""
_YEARS = ("19", "20")
_OF_A_YEAR = frozenset(
    ("dates in words, month first", "dates in words of any language, day first", "dates in numbers, year last")
)
"""The parts that contain one of these, too."""


# Patterns are applied one after the other, since one alternation of all takes ten times as long.
@functools.cache
def _patterns() -> Mapping[str, re.Pattern[str]]:
    """Compiled at the first text with digits: a decision on the command line has no use for them."""
    return {name: re.compile(pattern) for name, pattern in _MOVING.items()}


def _possible(text: str) -> Collection[str]:
    """The names of the moving parts that `text` may have."""
    found: set[str] = set()
    if not text.isascii():
        found.add("dates of East Asia")
        if "€" in text or "£" in text:
            found.add("amounts of money")
    ascii_ = text.encode("ascii", "replace")
    for table, left_out, by_common in _MARKS:
        # Texts are asked for a part ten times as fast as bytes, of which a number may be a part, too.
        translated = ascii_.translate(table, left_out).decode("ascii")
        for common, parts in by_common.items():
            if common not in translated:
                continue
            for name, marks in parts.items():
                for mark in marks:
                    if mark in translated:
                        found.add(name)
                        break
    return found if any(map(text.__contains__, _YEARS)) else found - _OF_A_YEAR


_LABELS = ("nonce", "cch", "etag", "csrf", "equest", "trace", "span", "correlation")
_LABELLED = re.compile(
    r"\b(?:nonce|cch|etag|csrf[ _-]?token|(?:request|trace|span|correlation)[ _-]?id)"
    r"[\"']?\s*[=:]\s*[\"']?[^\s;,\"'<>]+",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_READ_CHARACTERS = 3 * 1024
"""How much of a long text is searched, at its beginning and at its end."""


def without_moving(text: str) -> str:
    """The words of `text` without its moving parts; in the middle of a long text, these are only digits. Lines with
    digits are put first.
    """
    text = without_billing_lines(text)
    if len(text) <= 2 * _READ_CHARACTERS:
        return _searched(text)
    # Bytes are translated far faster than texts.
    middle = text[_READ_CHARACTERS:-_READ_CHARACTERS].encode("utf-8", "replace").translate(None, b"0123456789").decode()
    return _searched(text[:_READ_CHARACTERS]) + middle + _searched(text[-_READ_CHARACTERS:])


def _has_digits(text: str) -> bool:
    """Whether there is a digit in `text`."""
    return any(map(text.__contains__, "0123456789")) or not (text.isascii() or _DIGIT.search(text) is None)


def _digits_in_lines(text: str) -> list[bool]:
    """Whether each line of `text` has a digit."""
    if not text.isascii():
        return [_DIGIT.search(line) is not None for line in text.split("\n")]
    # Bytes are searched far faster: every digit is a zero among them.
    return [_ZERO in line for line in text.encode().translate(_DIGITS).split(b"\n")]


# A client sends the same system prompt and first turn again with every request.
@functools.lru_cache(maxsize=512)
def _searched(text: str) -> str:
    if any(map(text.__contains__, "=:")) and any(map(text.__contains__, _LABELS)):
        text = _LABELLED.sub("", text)
    if not _has_digits(text):
        return text
    numbered: list[str] = []
    others: list[str] = []
    for line, with_digit in zip(text.split("\n"), _digits_in_lines(text), strict=True):
        (numbered if with_digit else others).append(line)
    moving = "\n".join(numbered)
    possible = _possible(moving)
    for name, pattern in _patterns().items() if possible else ():
        if name in possible and (left := pattern.sub("", moving)) != moving:
            # What was taken out may have kept apart what makes another part.
            moving, possible = left, _possible(left)
    return "\n".join((moving, *others))


def without_billing_lines(text: str) -> str:
    """`text` without a client's own billing and attestation lines."""
    # Most prompts have none, and a search for the words is faster than one for the pattern.
    if ":" in text and any(map(text.__contains__, _BILLING_WORDS)):
        for line in BILLING_LINES:
            text = line.sub("", text)
    return text


def without_billing(system: Any) -> Any:
    """An Anthropic `system` field, a string or blocks, without billing lines. A block that has nothing else stays, with
    an empty text, so that the places of the others remain.
    """
    if isinstance(system, str):
        return without_billing_lines(system)
    return [_block_without_billing(block) for block in system] if isinstance(system, list) else system


def _block_without_billing(block: Any) -> Any:
    text = block.get("text") if isinstance(block, Mapping) else None
    if not isinstance(text, str):
        return block
    kept = without_billing_lines(text)
    return block if kept == text else {**block, "text": kept}
