"""Where the marks of tasks are looked for."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from router.compose.split.marked import found_at

_MARK = r"[ \t]*\d[.)]?\n?"


@given(st.text("12.) \t\n", max_size=40))
def test_a_search_at_the_beginnings_of_lines_finds_what_a_search_everywhere_does(text: str) -> None:
    everywhere = re.finditer(rf"(?:^|(?<=\n)){_MARK}", text)
    assert [match.span() for match in found_at(re.compile(_MARK), text)] == [match.span() for match in everywhere]
