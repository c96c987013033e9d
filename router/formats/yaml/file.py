"""YAML files read into Structs; every error names the file, the line and the key.

The YAML 1.2 core schema: `no`, `off` and dates are strings, and a key may occur only once. Tags, anchors, aliases and
deep nesting are rejected, so that a file cannot construct objects and needs little memory.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from router.errors import ConfigurationError, FileError, did_you_mean
from router.formats.quantities import read_quantity
from router.formats.text import late_pattern
from router.formats.yaml.parsed import PARSED, KeyPath

__all__ = ["KeyPath", "bytes_of", "convert", "load", "read_mapping", "read_yaml", "yaml_files"]

_ERROR_PATH = late_pattern(r" - at (`key` in )?`\$?(.*?)`$")
_STEP = late_pattern(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN_FIELD = late_pattern(r"Object contains unknown field `(.*?)`")
_STATED_KEY = late_pattern(r"([a-z_]+(?:\.[^\s:]+)*): ")
_MISSING_FIELD = late_pattern(r"Object missing required field `(.*?)`")
_INVALID_WORD = late_pattern(r"Invalid enum value '(.*)'", re.DOTALL)
_MAX_BYTES = 1_000_000

T = TypeVar("T")


def load(file: Path, into: type[T], expected: str, *, may_be_empty: bool = False) -> tuple[T, dict[KeyPath, int]]:
    """Read `file` as a value of the Struct `into`, and the line (from 1) of every key and list item.

    `expected` says in errors what the file should contain: `a card (keys and values)`. With `may_be_empty`, a file
    without content is read as a mapping without keys. Raises FileError naming file, line and key.
    """
    document, lines = read_mapping(file, expected, may_be_empty=may_be_empty)
    return convert(document, into, file, lines), lines


def read_mapping(file: Path, expected: str, *, may_be_empty: bool = False) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Like `load`, with the keys and values as plain values. Raises FileError where the document is no mapping."""
    document, lines = read_yaml(file)
    if document is None and may_be_empty:
        return {}, lines
    if not isinstance(document, dict):
        raise FileError(str(file), 1, f"expected {expected}, got {_kind_name(document)}")
    return document, lines


def bytes_of(file: Path, most_bytes: int) -> bytes:
    """The content of a file of at most so many bytes. Raises FileError."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise FileError(str(file), None, f"cannot be read: {error.strerror}") from None
    if len(raw) > most_bytes:
        raise FileError(str(file), None, f"is {len(raw)} bytes; larger files than {most_bytes} bytes are rejected")
    return raw


def read_yaml(file: Path) -> tuple[Any, dict[KeyPath, int]]:
    """Read the document in `file` and the line (from 1) of every key and list item. Raises FileError."""
    raw = bytes_of(file, _MAX_BYTES)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise FileError(str(file), line, f"is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    known = PARSED.get()
    if known is None:
        return _parsed(text, file)
    return known.get_or(raw, lambda: _parsed(text, file))


def _parsed(text: str, file: Path) -> tuple[Any, dict[KeyPath, int]]:
    # Imported here, since it compiles long patterns: a decision on the command line finds its files parsed.
    from router.formats.yaml.document import parsed

    return parsed(text, file)


def yaml_files(folder: Path) -> list[Path]:
    """The YAML files directly inside `folder`, sorted by name. Raises ConfigurationError."""
    try:
        files = [file for file in folder.iterdir() if file.suffix in (".yaml", ".yml") and file.is_file()]
        # As paths, they would be compared part by part.
        return sorted(files, key=lambda file: file.name)
    except OSError as error:
        raise ConfigurationError(f"the folder {folder} cannot be read: {error.strerror}") from None


def convert(document: Any, into: type[T], file: Path, lines: Mapping[KeyPath, int]) -> T:
    """Convert `document` to the type `into`. Raises FileError at the line of the key that does not match."""
    try:
        return msgspec.convert(document, into, dec_hook=read_quantity, strict=True)
    except msgspec.ValidationError as error:
        message = str(error)
    location = _ERROR_PATH.search(message)
    path = _found(_steps(location[2], is_key=bool(location[1])), document, into) if location else ()
    problem = message[: location.start()] if location else message
    if unknown := _UNKNOWN_FIELD.match(problem):
        path = (*path, unknown[1])
        names = _field_names(_kind_at(into, path[:-1]))
        problem = f'unknown key "{unknown[1]}"{did_you_mean(unknown[1], names)}'
    elif missing := _MISSING_FIELD.match(problem):
        problem = f'the key "{missing[1]}" is missing'
    elif invalid := _INVALID_WORD.fullmatch(problem):
        declared = _kind_at(into, path)
        words = _literals(declared)
        known = _choices(declared) or ", ".join(words)
        problem = f'unknown value "{invalid[1]}"{did_you_mean(invalid[1], words) or "; known: " + known}'
    elif problem.startswith("Expected `") and (choices := _choices(_kind_at(into, path))):
        problem = f"expected {choices}"
    elif stated := _STATED_KEY.match(problem):
        path, problem = _stated(path, stated[1], document), problem[stated.end() :]
    line = next((lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines), None)
    key = _key(path[:-1] if unknown else path)
    problem = problem[0].lower() + problem[1:]
    raise FileError(str(file), line, f"{key}: {problem}" if key else problem)


def _kind_name(value: Any) -> str:
    if value is None:
        return "nothing"
    return "a list" if isinstance(value, list) else "a single value"


def _steps(path: str, *, is_key: bool) -> KeyPath:
    """The steps of a path in an error of msgspec, which has `...` in place of the keys of mappings."""
    steps = (name or (int(index) if index != "..." else "...") for name, index in _STEP.findall(path))
    return (*steps, "...") if is_key else tuple(steps)


def _found(path: KeyPath, document: Any, into: Any) -> KeyPath:
    """`path` with the first key whose entry cannot be converted in place of each `...`."""
    found: KeyPath = ()
    for step in path:
        value = _value_at(document, found)
        wrong = _wrong_key(value, _kind_at(into, found)) if step == "..." and isinstance(value, dict) else None
        found = (*found, step if wrong is None else wrong)
    return found


def _wrong_key(values: Mapping[str, Any], into: Any) -> str | None:
    """The first key of the mapping that does not match, or whose value does not."""
    kinds = [get_args(kind) for kind in _kinds(into) if get_origin(kind) in (dict, Mapping)]
    for key, value in values.items():
        if any(not (_is_valid(key, of_key) and _is_valid(value, of_value)) for of_key, of_value in kinds):
            return key
    return None


def _is_valid(value: Any, into: Any) -> bool:
    try:
        msgspec.convert(value, into, dec_hook=read_quantity, strict=True)
    except msgspec.ValidationError:
        return False
    return True


def _stated(path: KeyPath, stated: str, document: Any) -> KeyPath:
    """`path` with the keys and list positions that an error states with dots between them."""
    for step in stated.split("."):
        path = (*path, int(step) if step.isdecimal() and isinstance(_value_at(document, path), list) else step)
    return path


def _value_at(document: Any, path: KeyPath) -> Any:
    """The value at `path`; None where there is none."""
    for step in path:
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and isinstance(step, int) and step < len(document):
            document = document[step]
        else:
            return None
    return document


def _key(path: KeyPath) -> str:
    return ".".join(str(step) for step in path if step != "...")


def _kind_at(into: Any, path: KeyPath) -> Any:
    """The type that `into` declares at `path`; None where it declares none."""
    for step in path:
        structs = [kind for kind in _kinds(into) if hasattr(kind, "__struct_fields__")]
        if structs:
            fields = [field for kind in reversed(structs) for field in msgspec.structs.fields(kind)]
            declared = {field.encode_name: field.type for field in fields}
            into = declared.get(str(step))
        else:
            # For the items of a list and the values of a mapping, the last type argument counts.
            inner = [argument for kind in _kinds(into) for argument in get_args(kind) if argument is not ...]
            into = inner[-1] if inner else None
    return into


def _kinds(into: Any) -> list[Any]:
    """The member types of a union, without their annotations."""
    while get_origin(into) is Annotated:
        into = get_args(into)[0]
    if get_origin(into) in (Union, types.UnionType):
        return [kind for member in get_args(into) for kind in _kinds(member)]
    return [into]


def _field_names(into: Any) -> list[str]:
    structs = [kind for kind in _kinds(into) if hasattr(kind, "__struct_fields__")]
    return [field.encode_name for kind in structs for field in msgspec.structs.fields(kind)]


def _literals(into: Any) -> list[str]:
    kinds = list(_kinds(into))
    words = [str(word) for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    return [*words, "true", "false"] if bool in kinds else words


def _choices(into: Any) -> str:
    """The words and keys of a value that is one of some words or a mapping: `off, or {share: 0.02}`; else empty."""
    structs = [kind for kind in _kinds(into) if hasattr(kind, "__struct_fields__")]
    words = _literals(into)
    if not words or not structs:
        return ""
    keys = []
    for field in msgspec.structs.fields(structs[0]):
        value = format(field.default, "g") if isinstance(field.default, int | float) else "…"
        keys.append(f"{field.encode_name}: {value}")
    return f"{', '.join(words)}, or {{{', '.join(keys)}}}"
