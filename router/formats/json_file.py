"""Small JSON files that other programs write, such as the configuration of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from router.errors import FileError
from router.formats.json import read_json
from router.formats.yaml.file import bytes_of

_MAX_BYTES = 10_000_000


def read_json_object(file: Path) -> dict[str, Any]:
    """The object in `file`. Raises FileError with the line where it is known."""
    raw = bytes_of(file, _MAX_BYTES)
    try:
        document = read_json(raw)
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        raise FileError(str(file), line, f"is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise FileError(str(file), 1, "must be a JSON object")
    return document
