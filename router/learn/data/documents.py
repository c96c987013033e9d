"""Texts of which a card's profile is made: a `.jsonl` or `.jsonl.gz` file, one document a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from router.errors import CallerError, FileError, did_you_mean
from router.formats.json import encodable
from router.learn.data.text_file import decode_json, open_text
from router.wire.chat.request import ChatRequest

_KEYS = ("prompt", "text", "messages")


def read_documents(file: Path) -> Iterator[tuple[str, ...]]:
    """The human turns of each line: a text, or an object with `prompt`, `text` or `messages`; other keys are ignored.

    Raises FileError naming the line.
    """
    found = False
    with open_text(file, "\n") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                found = True
                yield _turns(decode_json(line, file, number), file, number)
    if not found:
        raise FileError(str(file), None, "contains no documents")


def _turns(value: Any, file: Path, line: int) -> tuple[str, ...]:
    expected = "expected a text, or an object with prompt, text or messages"
    if isinstance(value, dict):
        key = next((key for key in _KEYS if key in value), None)
        if key is None:
            hints = (did_you_mean(str(name), _KEYS) for name in value)
            raise FileError(str(file), line, expected + next(filter(None, hints), ""))
        if key == "messages":
            try:
                return ChatRequest.from_body({"messages": value[key]}).human_turns
            except CallerError as error:
                raise FileError(str(file), line, str(error)) from None
        value, expected = value[key], f"{key}: expected a text"
    if not isinstance(value, str):
        raise FileError(str(file), line, expected)
    if not value.strip():
        raise FileError(str(file), line, "is blank; delete the line")
    return (encodable(value),)
