"""Texts in YAML as plain values, with the line of every key and list item; see `router.formats.yaml.file`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from router.errors import FileError
from router.formats.yaml.parsed import KeyPath

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?\d+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?", re.ASCII)
_ESCAPES = re.compile(r"\\U([0-9a-fA-F]{8})")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_MAX_DEPTH = 50
OLD_BREAKS = re.compile("[\x85\u2028\u2029]")
"""The line breaks of YAML 1.1, which PyYAML reads and writes, that YAML 1.2 takes for characters as any other."""
_STARTS = frozenset((yaml.MappingStartEvent, yaml.SequenceStartEvent))
_ENDS = frozenset((yaml.MappingEndEvent, yaml.SequenceEndEvent))
_FIRST_OF_NUMBERS = frozenset("+-.0123456789")


def parsed(text: str, file: Path) -> tuple[Any, dict[KeyPath, int]]:
    """The document, None where there is none, and the line (from 1) of every key and list item. Raises FileError."""
    text, back = without_old_breaks(text)
    try:
        events = _content(text, file)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        where = mark.line + 1 if mark else _line_of_character(text, error)
        raise FileError(str(file), where, f"is not YAML: {problem.splitlines()[0]}") from None
    if back:
        for event in events:
            if type(event) is yaml.ScalarEvent:
                event.value = event.value.translate(back)
    reader = _Reader(file, events)
    return (reader.plain(next(reader.events)) if events else None), reader.lines


def without_old_breaks(text: str) -> tuple[str, Mapping[int, str]]:
    """`text` with other characters in place of `OLD_BREAKS`, and the mapping by which `str.translate` restores these
    in a value.
    """
    found = sorted(set(OLD_BREAKS.findall(text)))
    if not found:
        return text, {}
    # They occur nowhere else, nor by an escape. A file is too small to have all of them.
    used = {*map(ord, set(text)), *(int(code, 16) for code in _ESCAPES.findall(text))}
    free = (code for code in range(0x10FFFF, 0xFFFF, -1) if code not in used)
    back = dict(zip(free, found, strict=False))
    return text.translate({ord(old): chr(code) for code, old in back.items()}), back


def _content(text: str, file: Path) -> list[Any]:
    """The scalars, and the beginnings and ends of mappings and lists, of the only document; empty where there is none.

    Rejects what could construct objects or need much memory, and every further document. The events are read rather
    than the nodes that PyYAML composes from them, since that follows aliases and takes twice as long.
    """
    events: list[Any] = []
    second: Any = None
    depth = documents = 0
    loader = _Loader(text)
    try:
        # Not by `yaml.parse`, which asks before every event whether there is one.
        for event in iter(loader.get_event, None):
            kind = type(event)
            if kind is yaml.ScalarEvent or kind in _STARTS:
                if event.anchor is not None or event.tag is not None:
                    raise _unsupported(event, file)
                depth += kind is not yaml.ScalarEvent
                if depth > _MAX_DEPTH:
                    line = event.start_mark.line + 1
                    raise FileError(str(file), line, f"is nested more than {_MAX_DEPTH} levels deep")
                events.append(event)
            elif kind in _ENDS:
                depth -= 1
                events.append(event)
            elif kind is yaml.AliasEvent:
                raise _unsupported(event, file)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents == 2:
                    second = event
    finally:
        loader.dispose()
    if second is not None:
        raise yaml.composer.ComposerError(None, None, "but found another document", second.start_mark)
    return events


def _unsupported(event: Any, file: Path) -> FileError:
    """The error for an event with an anchor, or else a tag."""
    line = event.start_mark.line + 1
    if event.anchor is not None:
        return FileError(str(file), line, "anchors and aliases are not supported; repeat the value instead")
    short = event.tag.replace("tag:yaml.org,2002:", "!!")
    return FileError(str(file), line, f"the tag {short} is not supported")


def _line_of_character(text: str, error: yaml.YAMLError) -> int | None:
    position = getattr(error, "position", None)
    return None if position is None else text.count("\n", 0, position) + 1


class _Reader:
    """Converts the events of one document to plain values, and records the line of every path."""

    def __init__(self, file: Path, events: Iterable[Any]) -> None:
        self.file, self.events = file, iter(events)
        self.lines: dict[KeyPath, int] = {}

    def plain(self, start: Any, path: KeyPath = ()) -> Any:
        """The value that begins with this event, whose others are read."""
        self.lines.setdefault(path, start.start_mark.line + 1)
        kind = type(start)
        if kind is yaml.ScalarEvent:
            return self._scalar(start, path)
        if kind is yaml.MappingStartEvent:
            return self._mapping(path)
        items: list[Any] = []
        for event in self.events:
            if type(event) is yaml.SequenceEndEvent:
                break
            items.append(self.plain(event, (*path, len(items))))
        return items

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for event in self.events:
            if type(event) is yaml.MappingEndEvent:
                break
            line = event.start_mark.line + 1
            if type(event) is not yaml.ScalarEvent:
                raise FileError(str(self.file), line, "a key must be a plain string")
            key = str(event.value)
            if key in result:
                first = self.lines[(*path, key)]
                raise FileError(str(self.file), line, f'duplicate key "{key}" (first on line {first})')
            inner = (*path, key)
            self.lines[inner] = line
            value = next(self.events)
            result[key] = self._scalar(value, inner) if type(value) is yaml.ScalarEvent else self.plain(value, inner)
        return result

    def _scalar(self, event: yaml.ScalarEvent, path: KeyPath) -> str | int | float | bool | None:
        text = str(event.value)
        if event.style:
            return text
        if (word := text.lower()) in _WORDS:
            return _WORDS[word]
        # Most values are words, which these patterns would read for nothing.
        if text[0] not in _FIRST_OF_NUMBERS:
            return text
        if _INTEGER.fullmatch(text):
            # A longer one would not fit into a float.
            return int(text) if len(text) < 300 else text
        if not _FLOAT.fullmatch(text):
            return text
        number = float(text)
        if math.isinf(number):
            # It is stored as JSON, which has no infinity.
            problem = f"{text} is out of range; the greatest number is about 1.8e308"
            key = ".".join(map(str, path))
            raise FileError(str(self.file), self.lines[path], f"{key}: {problem}" if key else problem)
        return number
