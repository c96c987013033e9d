"""Read the fields of a client's body, and reject what is invalid or cannot be converted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from router.errors import FieldError


def reject(path: str, problem: str) -> NoReturn:
    """Raise FieldError for the field at `path`."""
    raise FieldError(path, problem)


def text_of(value: Any, path: str) -> str:
    """`value`, which must be a string."""
    return value if isinstance(value, str) else reject(path, "must be a string")


def non_empty_text(value: Any, path: str) -> str:
    """`value`, which must be a string that is not empty."""
    return value if isinstance(value, str) and value else reject(path, "must be a non-empty string")


def fields_of(value: Any, path: str) -> Mapping[str, Any]:
    """`value`, which must be an object."""
    # Decoded JSON has no other mappings, and a check for `Mapping` takes four times as long.
    return value if isinstance(value, dict) else reject(path, "must be an object")


def entries(value: Any, path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The objects in the list `value` with their paths, such as `tools[0]`; none where `value` is None."""
    if value is None:
        return
    if not isinstance(value, list):
        reject(path, "must be a list")
    for position, entry in enumerate(value):
        entry_path = f"{path}[{position}]"
        yield fields_of(entry, entry_path), entry_path


def kind_of(entry: Mapping[str, Any], path: str) -> str:
    """The `type` of an object."""
    return non_empty_text(entry.get("type"), f"{path}.type")
