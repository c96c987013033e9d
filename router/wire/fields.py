"""Reading the client's body, field by field, and refusing what cannot be converted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from router.errors import FieldError


def reject(where: str, problem: str) -> NoReturn:
    """Raise FieldError."""
    raise FieldError(where, problem)


def text_of(value: Any, where: str) -> str:
    """`value`, which must be a text."""
    return value if isinstance(value, str) else reject(where, "must be a text")


def non_empty_text(value: Any, where: str) -> str:
    """`value`, which must be a text that is not empty."""
    return value if isinstance(value, str) and value else reject(where, "must be a text, and not an empty one")


def fields_of(value: Any, where: str) -> Mapping[str, Any]:
    """`value`, which must be an object."""
    # Decoded JSON has no other mappings, and asking for any is four times as slow.
    return value if isinstance(value, dict) else reject(where, "must be an object")


def entries(value: Any, where: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The objects of the list `value`, each with its place, such as `tools[0]`; none where `value` is None."""
    if value is None:
        return
    if not isinstance(value, list):
        reject(where, "must be a list")
    for position, entry in enumerate(value):
        place = f"{where}[{position}]"
        yield fields_of(entry, place), place


def kind_of(entry: Mapping[str, Any], where: str) -> str:
    """The `type` of an object."""
    return non_empty_text(entry.get("type"), f"{where}.type")
