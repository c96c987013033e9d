"""Editing `keys.yaml` in place: comments, order and spacing stay unchanged.

The new lines are inserted as text, and the result is parsed before it is written. A YAML round trip would normalize the
indentation of the other entries.
"""

from __future__ import annotations

import codecs
import contextlib
import datetime
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from router.cards.catalog import Catalog
from router.decide.policy import Policies
from router.errors import CallerError, ConfigurationError
from router.formats.files import lock, replace_file
from router.formats.quantities import read_quantity
from router.formats.yaml.file import read_yaml
from router.formats.yaml.writing import yaml_text
from router.gateway.config.keys import Key, Keys, load_keys, problems_of

# It contains no secrets, and the service that reads it may run as another user than the one who adds keys.
_NEW_FILE_MODE = 0o644
_HEADER = "# Hashes of the clients' API keys. Edit this file by hand or with `route keys`.\nkeys:\n"


def append_key(file: Path, fields: Mapping[str, Any], catalog: Catalog, policies: Policies) -> Key:
    """Append a key with these fields to `file`, which is created if it does not exist.

    Raises CallerError if a field is invalid, or nothing can be appended to the file's YAML style, and
    ConfigurationError if the file is already invalid.
    """
    key = _validated(fields)
    with _locked(file):
        before = load_keys(file)
        for field, problem in problems_of(key, tuple(before), catalog, policies):
            raise CallerError(f"{field}: {problem}")
        old = file.read_bytes() if file.exists() else b""
        entry = _entry(fields, _indent(file, before)).encode()
        if not before and not _has_keys_field(file):
            entry = _HEADER.encode() + entry
        if old and not old.endswith(b"\n"):
            entry = b"\n" + entry
        if not _contains(old + entry, [*before, key]):
            problem = "cannot append to a list that is written in brackets, only to one of lines with a dash"
            raise CallerError(f"{file}: {problem}; add this entry by hand:\n{entry.decode()}")
        # In one step: a full disk leaves the file as it was, and concurrent readers never see a part of the entry.
        replace_file(file.resolve(), old + entry, mode=_NEW_FILE_MODE)
    return key


def revoke(file: Path, key_id: str, day: datetime.date) -> None:
    """Add `revoked: <day>` to the entry of a key.

    Raises CallerError if the key is unknown or already revoked, or if its entry's YAML style cannot be edited.
    """
    with _locked(file):
        before = load_keys(file)
        position = next((number for number, key in enumerate(before) if key.id == key_id), None)
        if position is None:
            known = ", ".join(key.id for key in before) or "none"
            raise CallerError(f'there is no key "{key_id}" in {file}; known: {known}')
        if before[position].revoked is not None:
            raise CallerError(f'the key "{key_id}" {before[position].inactive_reason(day) or "is already revoked"}')
        line = read_yaml(file)[1]["keys", position, "hash"]
        lines = file.read_bytes().splitlines(keepends=True)
        prefix = re.match(rb"[ \t]*(?:-[ \t]+)?", lines[line - 1])
        indent = b" " * len(prefix[0]) if prefix else b""
        if not lines[line - 1].endswith(b"\n"):
            lines[line - 1] += b"\n"
        lines.insert(line, indent + f"revoked: {day}\n".encode())
        after = list(before)
        after[position] = msgspec.structs.replace(before[position], revoked=day)
        text = b"".join(lines)
        if not _contains(text, after):
            raise CallerError(
                f'{file}:{line}: cannot edit this YAML style; add `revoked: {day}` to the entry "{key_id}" by hand'
            )
        replace_file(file.resolve(), text)


def _validated(fields: Mapping[str, Any]) -> Key:
    # As in YAML, so that the command line accepts the same values as the file.
    plain = {name: str(value) if isinstance(value, datetime.date) else value for name, value in fields.items()}
    try:
        return msgspec.convert(plain, Key, dec_hook=read_quantity)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$.")
        raise CallerError(f"{path.rstrip('`') or 'key'}: {problem[0].lower()}{problem[1:]}") from None


def _entry(fields: Mapping[str, Any], indent: str) -> str:
    """One list item: a line per field, lists in brackets."""
    first, *others = "".join(_line(name, value) for name, value in fields.items()).splitlines()
    return "".join(f"{line}\n" for line in (f"{indent}- {first}", *(f"{indent}  {line}" for line in others)))


def _line(name: str, value: Any) -> str:
    if isinstance(value, list):
        return f"{name}: {yaml_text(value, is_flow=True, width=10**6)}"
    return yaml_text({name: value}, width=10**6)


def _indent(file: Path, keys: Keys) -> str:
    """The indentation of the last entry."""
    if not keys:
        return "  "
    line = read_yaml(file)[1]["keys", len(keys) - 1]
    # A text would be split at more characters than YAML counts.
    text = file.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()[line - 1]
    return " " * (len(text) - len(text.lstrip(b" ")))


def _has_keys_field(file: Path) -> bool:
    document = read_yaml(file)[0] if file.exists() else None
    return isinstance(document, dict) and "keys" in document


def _contains(text: bytes, keys: list[Key]) -> bool:
    """Whether a file with this text would contain exactly these keys."""
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / "keys.yaml"
        candidate.write_bytes(text)
        try:
            return list(load_keys(candidate)) == keys
        except ConfigurationError:
            return False


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Lock the file's folder, so that concurrent runs of `route keys` do not overwrite each other's changes."""
    folder = file.resolve().parent
    if not folder.is_dir():
        raise CallerError(f"the folder {folder} does not exist")
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)
