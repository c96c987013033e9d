"""Short texts for people: long lists cut to their first names."""

from __future__ import annotations

from collections.abc import Iterable


def shortened(names: Iterable[str], at_most: int = 5, separator: str = ", ") -> str:
    """The first `at_most` names, and how many follow them: `a, b, c and 4 more`."""
    every = list(names)
    more = len(every) - at_most
    return separator.join(every[:at_most]) + (f" and {more} more" if more > 0 else "")
