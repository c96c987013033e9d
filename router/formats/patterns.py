"""Regular expressions that operators and clients write: searched in bounded time, with the meaning they have in `re`.

`re` has no limit of time, so `regex` searches. It reads more than `re`, such as `\\p{L}`; what `re` reads, it must not
read differently. It is imported where it is used, as few files and requests have patterns.
"""

from __future__ import annotations

import re

from router.formats.text import late_pattern

_MOST_CHARACTERS = 100_000
_PIECE = late_pattern(
    r"\\[NPp]\{[^}]*\}|\\."  # an escape
    r"|\[\^?\]?(?:\\.|[^\]\\])*\]"  # a set of characters
    r"|(?P<literal>\{)(?!(?:\d+(?:,\d*)?|,\d*)\})",  # a brace that begins no `{2,3}`
    re.DOTALL,
)


def invalid_pattern(pattern: str) -> str:
    """Why a text is no regular expression; empty where it is one."""
    import regex

    try:
        regex.compile(_as_in_re(pattern), regex.V0)
    except (regex.error, RecursionError, MemoryError, OverflowError) as error:
        return f"is no regular expression: {error}"
    return ""


def pattern_found(pattern: str, text: str, seconds: float) -> bool | None:
    """Whether the first 100,000 characters of `text` contain a match; None where that could not be found out: no
    pattern, or too slow a one.
    """
    import regex

    try:
        # Between some steps the time is not checked, so a text that is too long takes longer.
        return regex.search(_as_in_re(pattern), text[:_MOST_CHARACTERS], regex.V0, timeout=seconds) is not None
    except (regex.error, TimeoutError, RecursionError, MemoryError, OverflowError):
        return None


def _as_in_re(pattern: str) -> str:
    """The pattern with its literal braces escaped: `(x{e})` is text to `re`, but matches with errors in `regex`."""
    return _PIECE.sub(lambda piece: r"\{" if piece["literal"] else piece[0], pattern) if "{" in pattern else pattern
