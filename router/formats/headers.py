"""What HTTP allows in the names and the values of header fields (RFC 9110, section 5)."""

from __future__ import annotations

import re

NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A whole name."""
NAME_TEXT = re.compile(NAME.pattern.decode())

NOT_IN_VALUES = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""Control characters other than the tab."""
NOT_IN_VALUE_TEXTS = re.compile(NOT_IN_VALUES.pattern.decode())
