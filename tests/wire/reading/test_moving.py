"""What changes from request to request is left out of a conversation's head; what people write is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.wire.reading import moving
from router.wire.reading.moving import without_billing, without_moving

PAIRS = [
    ("x-anthropic-billing-header: cc_version=2.1.177.01c; cc_entrypoint=cli; cch=aaaaa;\nHelp.", "Help."),
    ("X-Other-Attestation: 1\nHelp.", "Help."),
    ("nonce: abcd. Help.", "nonce=xyz1. Help."),
    ('{"request_id": "ab"} Help.', '{"request_id": "cd"} Help.'),
    ("Id 3f2504e0-4f89-11d3-9a0c-0305e82c3301.", "Id 4a2504e0-4f89-11d3-9a0c-0305e82c3301."),
    ("Hash 9f86d081884c7d65.", "Hash a3f0d081884c7d66."),
    ("Trace req_011CQjvXyzAbCdEf12345678.", "Trace req_022CQjvXyzAbCdEf87654321."),
    ("Now: 2026-11-26T21:36:25.123Z", "Now: 2026-12-01T07:00:00Z"),
    ("Now: 2026-11-26 21:36:25 +01:00", "Now: 2026-11-26 21:36:26 +01:00"),
    ("Today's date: 2026-11-26", "Today's date: 2026-11-27"),
    ("Current Time: 11/26/2026, 9:36:25 PM", "Current Time: 1/2/2027, 11:01:02 AM"),
    ("Today is Thursday, November 26, 2026 14:03 UTC.", "Today is Friday, December 4, 2026 09:00 UTC."),
    ("Heute: 26. November 2026, 14:03 Uhr", "Heute: 1. Dezember 2026, 9:15 Uhr"),
    ("Hoy: 26 de noviembre de 2026", "Hoy: 3 de diciembre de 2026"),
    ("Thu Nov 26 21:36:25 UTC 2026", "Fri Nov 27 01:00:00 UTC 2026"),
    ("現在: 2026年11月26日 14時03分", "現在: 2026年12月1日 9時3分"),
    ("Current time: 10 PM", "Current time: 9 AM"),
    ("Last message 3 minutes ago", "Last message 14 minutes ago"),
    ("12,000 / 200K tokens used (6%)", "124,531 / 200K tokens used (62.5%)"),
    ("950 tokens left, $0.00", "1.2K tokens left, $0.13"),
    ("Recent commits: abcdef1 Fix", "Recent commits: 1234fed Fix"),
    ("took 1,234.5 seconds", "took 3 seconds"),
    ("at 1795730000", "at 1795730601"),
    ("at 1795730000123", "at 1795730601456"),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_texts_that_differ_in_a_moving_part_are_the_same(one: str, other: str) -> None:
    assert without_moving(one) == without_moving(other)


@pytest.mark.parametrize(
    "text",
    [
        "Question 1 of 22",
        "Add 12 and 30.",
        "Use gpt-4o-mini for 3.5 million rows, 7B parameters",
        "Fix utils/parse_2.py line 1042",
        "request: fix the parser",
        "Working directory: /home/me/project, branch main",
        "Why does HTTP 404 differ from 410?",
        "x-ray of a billing address",
    ],
)
def test_what_people_write_is_kept(text: str) -> None:
    assert without_moving(text) == text


@given(st.text("abcdefgh XYZ.,\n", min_size=1, max_size=60), st.text("abcdefgh XYZ.,\n", min_size=1, max_size=60))
def test_texts_without_moving_parts_differ_as_before(one: str, other: str) -> None:
    assert (without_moving(one) == without_moving(other)) == (one == other)


def test_a_clock_in_the_middle_of_a_long_text_is_left_out_too() -> None:
    one, other = (f"{'a ' * 5000}{clock}{'b ' * 5000}" for clock in ("21:36:25", "07:00:01"))
    assert without_moving(one) == without_moving(other)


def test_a_billing_line_is_taken_out_of_a_system_prompt_and_nothing_else() -> None:
    line = "x-anthropic-billing-header: cc_version=2.1.177.01c; cch=aaaaa;"
    blocks = [{"type": "text", "text": line}, {"type": "text", "text": "You help on 2026-11-26."}]
    assert without_billing(blocks) == [{"type": "text", "text": ""}, blocks[1]]
    assert without_billing(f"{line}\nYou help.") == "You help."
    assert without_billing("You help.") == "You help."
    assert without_billing(None) is None


_PIECES = (
    *("Mon, 12 Jan 2024", "Tuesday 5", "2024-01-02T03:04:05Z", "12:30 PM", "5 minutes", "1,234,567", "45%", "$3.50"),
    *("abcdef1", "deadbeef12", "0xDEADBEEF99", "req_0123456789abcdef0123", "1700000000", "3 tokens", "12.5k tokens"),
    *("Jan 3, 2025", "3. de marzo de 2024", "2024年5月6日", "12/31/2024", "Jan 12 10:11:12 UTC 2024", "١٢٣٤٥٦٧"),
    *("a1", "fe1", "9", "word", " ", "-", ",", "\n", ".", ":"),
)


@given(st.lists(st.sampled_from(_PIECES), max_size=9).map("".join))
def test_a_pattern_that_is_left_out_would_have_found_nothing(text: str) -> None:
    lines = text.split("\n")
    left = "\n".join(line for line in lines if moving._DIGIT.search(line))
    for pattern in moving._patterns().values():
        left = pattern.sub("", left)
    others = [line for line in lines if not moving._DIGIT.search(line)]
    assert without_moving(text) == ("\n".join((left, *others)) if moving._DIGIT.search(text) else text)
