"""The fields of a chat body in the dialect of a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.wire.dialect.rules import FIELDS, Dialect
from router.wire.fields import reject

_LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
_KNOWN = _LIMITS.union(FIELDS)
# Without tools these say nothing, and several servers reject them.
_ABOUT_TOOLS = ("tool_choice", "parallel_tool_calls")
_NO_CHOICE = (None, "auto", "none")
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


def fit_fields(body: Mapping[str, Any], dialect: Dialect) -> tuple[dict[str, Any], list[str]]:
    """The body with the fields that the server accepts, and the names of those that were left out or limited.

    Fields with their default value are left out without a note. Raises FieldError for a field without which the
    answer would have another meaning.
    """
    fitted = dict(body)
    changed: list[str] = []
    _fit_tools(fitted, changed)
    _fit_limit(fitted, dialect)
    if not fitted.get("logprobs") and "top_logprobs" in fitted:
        del fitted["top_logprobs"]
    for name in [name for name in fitted if name in FIELDS or name in dialect.rejects or name in dialect.bounds]:
        value = fitted[name]
        if not _is_accepted(name, value, dialect):
            _leave_out(fitted, name, dialect, changed)
            continue
        _limit(fitted, name, value, dialect, changed)
        if name in dialect.renames:
            fitted[dialect.renames[name]] = fitted.pop(name)
    for first, second in dialect.exclusive:
        if fitted.get(first) is not None and fitted.get(second) is not None:
            _leave_out(fitted, second, dialect, changed)
    return fitted, changed


def has_usual_fields(body: Mapping[str, Any], dialect: Dialect) -> bool:
    """Whether the body has none of the fields of which something is known, here or of the server."""
    if not (_KNOWN.isdisjoint(body) and dialect.rejects.isdisjoint(body)):
        return False
    if dialect.bounds and not dialect.bounds.keys().isdisjoint(body):
        return False
    return not (dialect.exclusive and any(second in body for _, second in dialect.exclusive))


def leave_out(fitted: dict[str, Any], name: str, changed: list[str]) -> None:
    """Remove a field, and add its name to `changed` where its value is not the default."""
    if not _is_default(name, fitted.pop(name, None)):
        changed.append(name)


def _fit_tools(fitted: dict[str, Any], changed: list[str]) -> None:
    tools = fitted.get("tools")
    if isinstance(tools, list) and any(map(_lacks_properties, tools)):
        fitted["tools"] = [_with_properties(tool) if _lacks_properties(tool) else tool for tool in tools]
    if tools or fitted.get("functions"):
        return
    for name in ("tools", "functions"):
        if name in fitted and fitted[name] in ([], None):
            del fitted[name]
    if "tools" in fitted or "functions" in fitted:
        # Of the wrong type: the server rejects it.
        return
    for name in _ABOUT_TOOLS:
        if name in fitted and fitted.pop(name) not in _NO_CHOICE and name == "tool_choice":
            changed.append(name)


def _lacks_properties(tool: Any) -> bool:
    """Whether it is a function whose schema is missing, or one of an object without `properties`."""
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping):
        return False
    schema = function.get("parameters")
    return schema is None or schema == {} or (isinstance(schema, Mapping) and schema.keys() == {"type"})


def _with_properties(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The tool with the schema of no parameters: strict servers require it, and tools of MCP servers often lack it."""
    function = tool["function"]
    return {**tool, "function": {**function, "parameters": {**_NO_PARAMETERS, **(function.get("parameters") or {})}}}


def _fit_limit(fitted: dict[str, Any], dialect: Dialect) -> None:
    stated = [name for name in _LIMITS if name in fitted]
    if not stated or stated == [dialect.output_limit]:
        return
    values = [fitted.pop(name) for name in sorted(stated)]
    limit = next((value for value in values if value is not None), None)
    if limit is not None:
        fitted[dialect.output_limit] = limit


def _is_accepted(name: str, value: Any, dialect: Dialect) -> bool:
    if not dialect.supports(name):
        return False
    allowed = dialect.only.get(name)
    if allowed is None or value is None:
        return True
    return (value.get("type") if isinstance(value, Mapping) else value) in allowed


def _leave_out(fitted: dict[str, Any], name: str, dialect: Dialect, changed: list[str]) -> None:
    value = fitted[name]
    field = FIELDS.get(name)
    if field is not None and not field.hint and not _is_default(name, value):
        only = "is not supported" if name not in dialect.only else "has a value that is not supported"
        reject(
            name,
            f"{only} by {dialect.name}, and without it the answer would be another; remove it, or name a model whose "
            "server supports it",
        )
    leave_out(fitted, name, changed)


def _limit(fitted: dict[str, Any], name: str, value: Any, dialect: Dialect, changed: list[str]) -> None:
    bounds, longest = dialect.bounds.get(name), dialect.longest.get(name)
    if bounds is not None and isinstance(value, int | float):
        limited = min(max(value, bounds[0]), bounds[1])
        if limited != value:
            fitted[name] = limited
            changed.append(name)
    if longest is not None and isinstance(value, str | list) and len(value) > longest:
        if isinstance(value, list):
            reject(name, f"has {len(value)} entries, but {dialect.name} accepts {longest}; send fewer")
        # Identifiers: their beginning still tells users apart.
        if name != "stop":
            fitted[name] = value[:longest]


def _is_default(name: str, value: Any) -> bool:
    field = FIELDS.get(name)
    return value is None or (field is not None and any(value == default for default in field.defaults))
