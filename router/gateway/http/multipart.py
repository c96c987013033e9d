"""Fields of `multipart/form-data` bodies: read, replaced or removed in the bytes; everything else stays as it was."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from router.errors import CallerError
from router.formats.text import late_pattern

_BOUNDARY = late_pattern(r'boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
# Each begins at a line, so that a head of many such words takes no longer.
_LINE = re.IGNORECASE | re.MULTILINE
_NAME = late_pattern(rb'^content-disposition:[^\r\n]*?;[ \t]*name="?([^";\r\n]*)"?', _LINE)
_FILE = late_pattern(rb"^content-disposition:[^\r\n]*?;[ \t]*filename", _LINE)
_LINE_END, _END_OF_HEAD = b"\r\n", b"\r\n\r\n"
FORM = "multipart/form-data"


class _Field(NamedTuple):
    """A text field: its name, where its part begins, and where its value begins and ends."""

    name: str
    part_start: int
    start: int
    end: int


def _text_fields(body: bytes, content_type: str) -> Iterator[_Field]:
    """The text fields in their order.

    Raises CallerError where the body is not a form of the boundary that `content_type` states.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise CallerError("the Content-Type of the form states no boundary")
    delimiter = b"--" + (found[1] or found[2]).encode("latin-1")
    if not body.startswith(delimiter):
        raise CallerError("the body is not a form of the boundary in its Content-Type")
    part_start = 0
    while (end := body.find(_LINE_END + delimiter, part_start + len(delimiter))) >= 0:
        head_end = body.find(_END_OF_HEAD, part_start + len(delimiter), end)
        if head_end >= 0:
            head = body[part_start + len(delimiter) : head_end + len(_LINE_END)]
            name = _NAME.search(head)
            if name is not None and not _FILE.search(head):
                yield _Field(name[1].decode("utf-8", "replace"), part_start, head_end + len(_END_OF_HEAD), end)
        part_start = end + len(_LINE_END)


def _first_field(body: bytes, content_type: str, name: str) -> _Field | None:
    return next((field for field in _text_fields(body, content_type) if field.name == name), None)


def field_of(body: bytes, content_type: str, field: str) -> str | None:
    """The value of a text field; None where there is none. Raises CallerError."""
    found = _first_field(body, content_type, field)
    return None if found is None else body[found.start : found.end].decode("utf-8", "replace")


def with_field(body: bytes, content_type: str, field: str, value: str) -> bytes:
    """The body with another value of a field; the field is put first where the form has none. Raises CallerError."""
    found = _first_field(body, content_type, field)
    if found is not None:
        return body[: found.start] + value.encode() + body[found.end :]
    delimiter = body[: body.find(b"\r\n")].removesuffix(b"--")
    head = f'\r\ncontent-disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
    return delimiter + head.encode() + body


def without_fields(body: bytes, content_type: str, names: Collection[str]) -> bytes:
    """The body without the text fields of these names. Raises CallerError."""
    kept, at = [], 0
    for field in _text_fields(body, content_type):
        if field.name in names:
            kept.append(body[at : field.part_start])
            at = field.end + len(_LINE_END)
    return b"".join((*kept, body[at:])) if kept else body
