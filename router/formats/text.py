"""Short texts for people, of which long lists are cut to their first names; and patterns of texts that few read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, AnyStr


def shortened(names: Iterable[str], at_most: int = 5, separator: str = ", ") -> str:
    """The first `at_most` names, and how many follow them: `a, b, c and 4 more`."""
    every = list(names)
    more = len(every) - at_most
    return separator.join(every[:at_most]) + (f" and {more} more" if more > 0 else "")


def late_pattern(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """A pattern that is compiled when it is first used: together the patterns of rare texts delay a start.

    An invalid one raises `re.error` only then.
    """
    late: Any = _Late(pattern, flags)
    return late  # type: ignore[no-any-return]


class _Late:
    """Has the attributes of the compiled pattern."""

    def __init__(self, pattern: str | bytes, flags: int) -> None:
        self._stated = pattern, flags
        self._compiled: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._compiled is None:
            self._compiled = re.compile(*self._stated)
        value = getattr(self._compiled, name)
        # The next use finds it without this method.
        setattr(self, name, value)
        return value
