"""Editing `keys.yaml` without touching what people wrote in it: comments, order and spacing stay."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from router.cards.catalog import Catalog
from router.decide.policy import Policies
from router.errors import CallerError, ConfigurationError
from router.formats.quantities import read_quantity
from router.formats.yaml_file import read_yaml
from router.gateway.config.keys import Key, Keys, load_keys, problems_of

_HEADER = "# Keys of clients, as hashes. `route keys` writes here, and so may you.\nkeys:\n"


def append_key(file: Path, facts: Mapping[str, Any], catalog: Catalog, policies: Policies) -> Key:
    """Append the key with these facts to `file`, which is made where it is missing.

    Raises CallerError where the facts cannot be, or the file has a form to whose end nothing can be appended, and
    ConfigurationError where the file is broken already.
    """
    key = _checked(facts)
    with _locked(file):
        before = load_keys(file)
        for field, problem in problems_of(key, tuple(before), catalog, policies):
            raise CallerError(f"{field}: {problem}")
        old = file.read_bytes() if file.exists() else b""
        added = _entry(facts, _indent(file, before)).encode()
        if not before and not _begins_a_list(file):
            added = _HEADER.encode() + added
        if old and not old.endswith(b"\n"):
            added = b"\n" + added
        if not _holds(old + added, [*before, key]):
            raise CallerError(
                f"{file} has a form to which nothing can be appended; put this into it:\n{added.decode()}"
            )
        # One write at the end: whoever reads meanwhile sees all of it or nothing.
        with file.open("ab", buffering=0) as opened:
            opened.write(added)
            os.fsync(opened.fileno())
    return key


def revoke(file: Path, key_id: str, day: datetime.date) -> None:
    """Write into the key's entry that it opens nothing from `day` on. Raises CallerError where there is no such key, or
    where the entry has a form into which nothing can be written.
    """
    with _locked(file):
        before = load_keys(file)
        position = next((number for number, key in enumerate(before) if key.id == key_id), None)
        if position is None:
            known = ", ".join(key.id for key in before) or "none"
            raise CallerError(f'there is no key "{key_id}" in {file}; known: {known}')
        if before[position].revoked is not None:
            raise CallerError(f'the key "{key_id}" {before[position].inactive_reason(day) or "is revoked already"}')
        line = read_yaml(file)[1]["keys", position, "hash"]
        lines = file.read_bytes().splitlines(keepends=True)
        beginning = re.match(rb"[ \t]*(?:-[ \t]+)?", lines[line - 1])
        indent = b" " * len(beginning[0]) if beginning else b""
        if not lines[line - 1].endswith(b"\n"):
            lines[line - 1] += b"\n"
        lines.insert(line, indent + f"revoked: {day}\n".encode())
        wanted = list(before)
        wanted[position] = msgspec.structs.replace(before[position], revoked=day)
        text = b"".join(lines)
        if not _holds(text, wanted):
            raise CallerError(
                f'{file}:{line}: nothing can be written here; put `revoked: {day}` into the entry "{key_id}"'
            )
        _replace(file.resolve(), text)


def _checked(facts: Mapping[str, Any]) -> Key:
    # Through YAML's own types, so that the command line takes what the file takes.
    plain = {name: str(fact) if isinstance(fact, datetime.date) else fact for name, fact in facts.items()}
    try:
        return msgspec.convert(plain, Key, dec_hook=read_quantity)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$.")
        raise CallerError(f"{path.rstrip('`') or 'key'}: {problem[0].lower()}{problem[1:]}") from None


def _entry(facts: Mapping[str, Any], indent: str) -> str:
    """One item of a list: a line a fact, lists in brackets."""
    first, *others = "".join(_line(name, fact) for name, fact in facts.items()).splitlines()
    return "".join(f"{line}\n" for line in (f"{indent}- {first}", *(f"{indent}  {line}" for line in others)))


def _line(name: str, fact: Any) -> str:
    if isinstance(fact, list):
        return f"{name}: {yaml.safe_dump(fact, allow_unicode=True, default_flow_style=True, width=10**6)}"
    return yaml.safe_dump({name: fact}, allow_unicode=True, default_flow_style=False, width=10**6)


def _indent(file: Path, keys: Keys) -> str:
    """As the last entry has it."""
    if not keys:
        return "  "
    line = read_yaml(file)[1]["keys", len(keys) - 1]
    text = file.read_text(encoding="utf-8-sig").splitlines()[line - 1]
    return text[: len(text) - len(text.lstrip(" "))]


def _begins_a_list(file: Path) -> bool:
    document = read_yaml(file)[0] if file.exists() else None
    return isinstance(document, dict) and "keys" in document


def _holds(text: bytes, keys: list[Key]) -> bool:
    """Whether a file with this text would hold these keys, and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / "keys.yaml"
        candidate.write_bytes(text)
        try:
            return list(load_keys(candidate)) == keys
        except ConfigurationError:
            return False


def _replace(file: Path, text: bytes) -> None:
    """Put `text` in the file's place in one step, with the same owner and mode."""
    was = file.stat()
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as other:
            other.write(text)
            os.fchmod(descriptor, was.st_mode & 0o7777)
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, was.st_uid, was.st_gid)
            other.flush()
            os.fsync(descriptor)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Keeps other runs of `route keys` out, so that none undoes what another one writes."""
    folder = file.resolve().parent
    if not folder.is_dir():
        raise CallerError(f"there is no folder {folder}")
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
