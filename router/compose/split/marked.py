"""Where the items of a marked prompt stand."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

Span = tuple[int, int]


class Marked(Struct, frozen=True):
    """Where the items of a marked prompt stand, as positions in its text.

    `items` are the texts of the items without their markers, `starts` where their markers begin. Items before number
    `first` are examples. `explicit`: the markers name tasks or questions, so that the items need not look like
    requests. `is_weak`: options of one question are marked so too, so that every item must be a request.
    `is_prose`: words of a text mark the items, so that nothing but a greeting or an announcement may precede them.
    `end`: where every item has an end marker, that of the last one ends here, and what follows is not part of it.
    `certain`: the markers are those of requests to a model, so that what stands before them holds for each.
    `texts`: the items as they are meant, where they are written in another way.
    """

    items: tuple[Span, ...]
    starts: tuple[int, ...]
    first: int = 0
    is_numbered: bool = False
    explicit: bool = False
    is_weak: bool = False
    is_prose: bool = False
    end: int | None = None
    certain: bool = False
    texts: tuple[str, ...] = ()


def spans_between(markers: Sequence[re.Match[str]], end: int) -> tuple[Span, ...]:
    """The texts after each marker, up to the next one or to `end`."""
    ends = [*(match.start() for match in markers[1:]), end]
    return tuple((match.end(), stop) for match, stop in zip(markers, ends, strict=True))


LINE_STARTS = re.compile(r"\n")
"""Matches what stands before the places that `found_at` looks at: where lines begin."""


def found_at(pattern: re.Pattern[str], text: str, before: re.Pattern[str] = LINE_STARTS) -> list[re.Match[str]]:
    """The matches of `pattern` that begin where `text` begins, or after a match of `before`; none overlap.

    Few places of a text are such, so this is many times faster than a search that tries all.
    """
    found: list[re.Match[str]] = []
    end = 0
    for place in (0, *(match.end() for match in before.finditer(text))):
        if place >= end and (match := pattern.match(text, place)) is not None:
            found.append(match)
            end = match.end()
    return found
