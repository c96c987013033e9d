"""Values of a YAML file changed as text: comments, order and spacing of everything else stay as they are."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from router.errors import CallerError, ConfigurationError, FileError
from router.formats.files import replace_file
from router.formats.yaml.document import without_old_breaks
from router.formats.yaml.file import read_yaml
from router.formats.yaml.writing import yaml_text


def set_in_mapping(file: Path, key: str, values: Mapping[str, str]) -> None:
    """Set `key: {inner: value, …}` in the mapping that `file` contains; `values` are words that YAML reads as text.

    Other keys under `key` stay. The file is replaced in one step. Raises FileError where the file is no mapping, and
    CallerError with what to write by hand where its style cannot be edited.
    """
    document, lines = read_yaml(file)
    if not isinstance(document, dict):
        raise FileError(str(file), 1, "expected keys and values")
    current = document.get(key) or {}
    text = file.read_bytes().decode("utf-8")
    for inner, value in values.items():
        text = _edited(text, key, inner, value)
    if not isinstance(current, dict) or not _contains(text, {**document, key: {**current, **values}}):
        line = lines.get((key,), 1)
        shown = ", ".join(f"{inner}: {value}" for inner, value in values.items())
        raise CallerError(f"{file}:{line}: cannot edit this YAML style; write `{shown}` under `{key}` by hand")
    replace_file(file.resolve(), text.encode())


def set_keys(file: Path, values: Mapping[str, object]) -> None:
    """Set these keys of the mapping that `file` contains, each as one line; other keys stay.

    The file is replaced in one step. Raises FileError where the file is no mapping, and CallerError with what to write
    by hand where its style cannot be edited.
    """
    document, lines = read_yaml(file)
    if not isinstance(document, dict):
        raise FileError(str(file), 1, "expected keys and values")
    text = file.read_bytes().decode("utf-8")
    for key, value in values.items():
        shown = yaml_text(value, is_flow=True, width=10**9)
        text = _with_key(text, key, shown.removesuffix("\n").removesuffix("\n..."))
    if not _contains(text, {**document, **values}):
        line = min((lines[(key,)] for key in values if (key,) in lines), default=1)
        raise CallerError(f"{file}:{line}: cannot edit this YAML style; write by hand: {dict(values)}")
    replace_file(file.resolve(), text.encode())


def _with_key(text: str, key: str, value: str) -> str:
    """`text` with `key: value` at the top level, where its style is one that this function knows."""
    newline = "\r\n" if "\r\n" in text else "\n"
    root = _root(text)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    found = next(((name, old) for name, old in pairs if name.value == key), None)
    if found is None:
        gap = "" if not text or text.endswith("\n") else newline
        return f"{text}{gap}{key}: {value}{newline}"
    name, old = found
    colon = text.index(":", name.end_mark.index) + 1
    return f"{text[:colon]} {value}{text[_end(old) :]}"


def _root(text: str) -> yaml.Node | None:
    """The root of the document, for the positions of its parts."""
    # Not by the loader in C, whose positions are those of bytes.
    root: yaml.Node | None = yaml.compose(without_old_breaks(text)[0], Loader=yaml.SafeLoader)
    return root


def _end(node: yaml.Node) -> int:
    """Where the text of a node ends, without what follows a block."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _edited(text: str, key: str, inner: str, value: str) -> str:
    """`text` with the value, where its style is one that this function knows; else some text that has not the value."""
    newline = "\r\n" if "\r\n" in text else "\n"
    root = _root(text)
    found = _value_of(root, key)
    if found is None:
        if isinstance(root, yaml.MappingNode) and root.flow_style:
            return text
        gap = "" if not text or text.endswith("\n") else newline
        return f"{text}{gap}{key}: {{{inner}: {value}}}{newline}"
    if isinstance(found, yaml.ScalarNode):
        # `key:` without a value, or null.
        return _replaced(text, found, f" {{{inner}: {value}}}" if not found.value else f"{{{inner}: {value}}}")
    if (old := _value_of(found, inner)) is not None:
        return _replaced(text, old, value)
    start = found.start_mark.index
    if isinstance(found, yaml.CollectionNode) and found.flow_style:
        rest = ", " if found.value else ""
        return f"{text[: start + 1]}{inner}: {value}{rest}{text[start + 1 :]}"
    indent = " " * found.start_mark.column
    return f"{text[:start]}{inner}: {value}{newline}{indent}{text[start:]}"


def _value_of(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _replaced(text: str, node: yaml.Node, value: str) -> str:
    return text[: node.start_mark.index] + value + text[node.end_mark.index :]


def _contains(text: str, document: dict[str, object]) -> bool:
    """Whether a file with this text would contain exactly this document."""
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / "candidate.yaml"
        candidate.write_bytes(text.encode())
        try:
            return bool(read_yaml(candidate)[0] == document)
        except ConfigurationError:
            return False
