"""JSON Schemas of the YAML files, from which editors complete and check."""

from __future__ import annotations

from typing import Any

import msgspec

from router.formats.quantities import quantity_schema


def file_schema(kind: type, title: str) -> dict[str, Any]:
    """The JSON Schema of a file that is read as the Struct `kind`; `title` is the schema's name for people."""
    _, definitions = msgspec.json.schema_components([kind], schema_hook=quantity_schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **definitions.pop(kind.__name__),
        "title": title,
        "$defs": definitions,
    }
