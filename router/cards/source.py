"""YAML with its line numbers kept, so that an error can point at the line it is about.

The YAML 1.2 core schema: `no` and `off` are words, dates are words, a key may stand only once. Tags, anchors with
merge keys and anything else that could build an object are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from router.errors import FileError, did_you_mean

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?\d+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?", re.ASCII)
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_ERROR_PATH = re.compile(r" - at `(?:key in )?\$?(.*?)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*?)`")
_MISSING_FIELD = re.compile(r"Object missing required field `(.*?)`")
_REFUSED_TAGS = ("tag:yaml.org,2002:binary", "tag:yaml.org,2002:merge")
_MAX_BYTES = 1_000_000

Path_ = tuple[str | int, ...]
T = TypeVar("T")


def read_yaml(file: Path) -> tuple[Any, dict[Path_, int]]:
    """The document in `file` and the line (from 1) of every key and list item, by its path."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise FileError(str(file), None, f"cannot be read: {error.strerror}") from None
    if len(raw) > _MAX_BYTES:
        raise FileError(str(file), None, f"is {len(raw)} bytes; at most {_MAX_BYTES} are read")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise FileError(str(file), line, f"is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise FileError(str(file), mark.line + 1 if mark else None, f"is not YAML: {problem}") from None
    except RecursionError:
        raise FileError(str(file), None, "is nested too deeply") from None
    reader = _Reader(file)
    return (None if root is None else reader.plain(root)), reader.lines


def convert(document: Any, into: type[T], file: Path, lines: Mapping[Path_, int], dec_hook: Any = None) -> T:
    """`document` as a value of type `into`; a mismatch becomes a FileError at the key's line."""
    try:
        return msgspec.convert(document, into, dec_hook=dec_hook, strict=True)
    except msgspec.ValidationError as error:
        message = str(error)
    found = _ERROR_PATH.search(message)
    path = _steps(found[1]) if found else ()
    problem = message[: found.start()] if found else message
    if unknown := _UNKNOWN_FIELD.match(problem):
        path = (*path, unknown[1])
        known = _field_names(into, path[:-1])
        problem = f'unknown key "{unknown[1]}"{did_you_mean(unknown[1], known)}'
    elif missing := _MISSING_FIELD.match(problem):
        problem = f'the key "{missing[1]}" is missing'
    line = next((lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines), None)
    key = _key(path) if not unknown else ""
    problem = problem[0].lower() + problem[1:]
    raise FileError(str(file), line, f"{key}: {problem}" if key else problem)


class _Reader:
    """Turns one document's nodes into plain values, keeping the line of every path."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: dict[Path_, int] = {}
        self._seen: set[int] = set()

    def plain(self, node: yaml.Node, path: Path_ = ()) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        if node.tag.startswith("!") or node.tag in _REFUSED_TAGS:
            raise FileError(str(self.file), line, f"the tag {node.tag} is not allowed here")
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        # Aliases could grow without bound, or contain themselves.
        if id(node) in self._seen:
            raise FileError(str(self.file), line, "anchors and aliases are not supported; write it out")
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        return [self.plain(item, (*path, n)) for n, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise FileError(str(self.file), line, "a key must be a plain word")
            key = str(key_node.value)
            if key in result:
                first = self.lines[(*path, key)]
                raise FileError(str(self.file), line, f'the key "{key}" stands twice (first on line {first})')
            self.lines[(*path, key)] = line
            result[key] = self.plain(value_node, (*path, key))
        return result


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    text = str(node.value)
    if node.style:
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) < 400 else text
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _steps(path: str) -> Path_:
    return tuple(name or (int(index) if index != "..." else "...") for name, index in _STEP.findall(path))


def _key(path: Path_) -> str:
    return ".".join(str(step) for step in path if step != "...")


def _field_names(into: Any, path: Path_) -> list[str]:
    for step in path:
        inner = {field.encode_name: field.type for field in msgspec.structs.fields(into)}.get(str(step))
        candidates = getattr(inner, "__args__", (inner,))
        into = next((kind for kind in candidates if hasattr(kind, "__struct_fields__")), None)
        if into is None:
            return []
    return [field.encode_name for field in msgspec.structs.fields(into)]
