"""Structured output: the JSON schema of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def response_format(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Chat's `response_format` for `schema`, with `strict` where the schema allows it."""
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "schema": schema, "strict": _may_be_strict(schema)},
    }


def _may_be_strict(schema: Mapping[str, Any]) -> bool:
    """Whether OpenAI accepts `strict`: no object may have additional or optional properties."""
    pending: list[Any] = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, Mapping):
            if not _is_closed(node):
                return False
            pending += (value for key, value in node.items() if key not in ("enum", "const", "default"))
    return True


def _is_closed(schema: Mapping[str, Any]) -> bool:
    properties, required = schema.get("properties"), schema.get("required")
    if schema.get("type") != "object" and not isinstance(properties, Mapping):
        return True
    required_names = required if isinstance(required, list) else []
    return schema.get("additionalProperties") is False and all(name in required_names for name in properties or ())
