"""Fields of `multipart/form-data` bodies: read or replaced in the bytes, so that everything else stays as it was."""

from __future__ import annotations

import re

from router.errors import CallerError
from router.formats.text import late_pattern

_BOUNDARY = late_pattern(r'boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
# Each begins at a line, so that a head of many such words takes no longer.
_LINE = re.IGNORECASE | re.MULTILINE
_NAME = late_pattern(rb'^content-disposition:[^\r\n]*?;[ \t]*name="?([^";\r\n]*)"?', _LINE)
_FILE = late_pattern(rb"^content-disposition:[^\r\n]*?;[ \t]*filename", _LINE)
_END_OF_HEAD = b"\r\n\r\n"
FORM = "multipart/form-data"


def field_span(body: bytes, content_type: str, field: str) -> tuple[int, int] | None:
    """Where the value of the first text field of this name begins and ends; None where there is none.

    Raises CallerError where the body is not a form of the boundary that `content_type` states.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise CallerError("the Content-Type of the form states no boundary")
    delimiter = b"--" + (found[1] or found[2]).encode("latin-1")
    if not body.startswith(delimiter):
        raise CallerError("the body is not a form of the boundary in its Content-Type")
    start = len(delimiter)
    while (end := body.find(b"\r\n" + delimiter, start)) >= 0:
        head_end = body.find(_END_OF_HEAD, start, end)
        if head_end >= 0:
            head = body[start : head_end + 2]
            name = _NAME.search(head)
            if name is not None and name[1].decode("utf-8", "replace") == field and not _FILE.search(head):
                return head_end + len(_END_OF_HEAD), end
        start = end + 2 + len(delimiter)
    return None


def field_of(body: bytes, content_type: str, field: str) -> str | None:
    """The value of a text field; None where there is none. Raises CallerError."""
    span = field_span(body, content_type, field)
    return None if span is None else body[span[0] : span[1]].decode("utf-8", "replace")


def with_field(body: bytes, content_type: str, field: str, value: str) -> bytes:
    """The body with another value of a field; the field is put first where the form has none. Raises CallerError."""
    span = field_span(body, content_type, field)
    if span is not None:
        return body[: span[0]] + value.encode() + body[span[1] :]
    delimiter = body[: body.find(b"\r\n")].removesuffix(b"--")
    head = f'\r\ncontent-disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
    return delimiter + head.encode() + body
