"""YAML with its line numbers kept, so that an error can point at the line it is about.

The YAML 1.2 core schema: `no` and `off` are words, dates are words, a key may stand only once. Tags, anchors,
aliases and deep nesting are refused, so that a file can build no object and needs little memory.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
import yaml

from router.errors import ConfigurationError, FileError, did_you_mean

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?\d+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?", re.ASCII)
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_ERROR_PATH = re.compile(r" - at `(?:key in )?\$?(.*?)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*?)`")
_OWN_KEY = re.compile(r"([a-z_]+(?:\.[^\s:]+)*): ")
_MISSING_FIELD = re.compile(r"Object missing required field `(.*?)`")
_INVALID_WORD = re.compile(r"Invalid enum value '(.*)'", re.DOTALL)
_MAX_BYTES = 1_000_000
_MAX_DEPTH = 50

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
        _check_events(text, file)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        where = mark.line + 1 if mark else _line_of_character(text, error)
        raise FileError(str(file), where, f"is not YAML: {problem.splitlines()[0]}") from None
    reader = _Reader(file)
    return (None if root is None else reader.plain(root)), reader.lines


def yaml_files(folder: Path) -> list[Path]:
    """The YAML files directly inside `folder`, in the order of their names. Raises ConfigurationError."""
    try:
        found = sorted(folder.iterdir())
        return [file for file in found if file.suffix in (".yaml", ".yml") and file.is_file()]
    except OSError as error:
        raise ConfigurationError(f"the folder {folder} cannot be read: {error.strerror}") from None


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
        known = _field_names(_kind_at(into, path[:-1]))
        problem = f'unknown key "{unknown[1]}"{did_you_mean(unknown[1], known)}'
    elif missing := _MISSING_FIELD.match(problem):
        problem = f'the key "{missing[1]}" is missing'
    elif invalid := _INVALID_WORD.fullmatch(problem):
        words = _literals(_kind_at(into, path))
        problem = f'unknown word "{invalid[1]}"{did_you_mean(invalid[1], words) or "; known: " + ", ".join(words)}'
    elif not path and (own := _OWN_KEY.match(problem)):
        path, problem = tuple(own[1].split(".")), problem[own.end() :]
    line = next((lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines), None)
    key = _key(path[:-1] if unknown else path)
    problem = problem[0].lower() + problem[1:]
    raise FileError(str(file), line, f"{key}: {problem}" if key else problem)


def _check_events(text: str, file: Path) -> None:
    """Refuses what must not reach the composer, whose C code recurses and follows aliases."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else None
        if getattr(event, "anchor", None) is not None:
            raise FileError(str(file), line, "anchors and aliases are not supported; write it out")
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            short = tag.replace("tag:yaml.org,2002:", "!!")
            raise FileError(str(file), line, f"the tag {short} is not allowed here")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise FileError(str(file), line, f"is nested more than {_MAX_DEPTH} levels deep")


def _line_of_character(text: str, error: yaml.YAMLError) -> int | None:
    position = getattr(error, "position", None)
    return None if position is None else text.count("\n", 0, position) + 1


class _Reader:
    """Turns one document's nodes into plain values, keeping the line of every path."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: dict[Path_, int] = {}

    def plain(self, node: yaml.Node, path: Path_ = ()) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
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
        # Longer ones would not fit a float.
        return int(text) if len(text) < 300 else text
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _steps(path: str) -> Path_:
    return tuple(name or (int(index) if index != "..." else "...") for name, index in _STEP.findall(path))


def _key(path: Path_) -> str:
    return ".".join(str(step) for step in path if step != "...")


def _kind_at(into: Any, path: Path_) -> Any:
    """The type that `into` declares at `path`, or None."""
    for step in path:
        structs = [kind for kind in _kinds(into) if hasattr(kind, "__struct_fields__")]
        if structs:
            declared = {field.encode_name: field.type for field in msgspec.structs.fields(structs[0])}
            into = declared.get(str(step))
        else:
            # An item of a list or a value of a mapping; the last argument that is a type is its.
            inner = [kind for each in _kinds(into) for kind in get_args(each) if kind is not ...]
            into = inner[-1] if inner else None
    return into


def _kinds(into: Any) -> list[Any]:
    """The members of a union, and what annotations wrap."""
    while get_origin(into) is Annotated:
        into = get_args(into)[0]
    if get_origin(into) in (Union, types.UnionType):
        return [kind for member in get_args(into) for kind in _kinds(member)]
    return [into]


def _field_names(into: Any) -> list[str]:
    structs = [kind for kind in _kinds(into) if hasattr(kind, "__struct_fields__")]
    return [field.encode_name for kind in structs for field in msgspec.structs.fields(kind)]


def _literals(into: Any) -> list[str]:
    return [str(word) for kind in _kinds(into) if get_origin(kind) is Literal for word in get_args(kind)]
