"""Whether a value meets a JSON schema, in bounded time.

A schema may come from a client, so what it costs to check is bounded: by a number of steps, and by a time for all its
patterns. References lead only to the schema itself, never to an address. Keywords that are not known are ignored.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from router.formats.patterns import pattern_found

_MOST_STEPS = 50_000
_MOST_DEPTH = 100
_PATTERN_S = 0.05
_LONGEST_PATTERN = 1_000


class SchemaTooComplexError(ValueError):
    """The schema, or the value, needs more steps than are allowed."""


def violation(value: Any, schema: Any) -> str | None:
    """Why `value` does not meet `schema`; None where it does. Raises SchemaTooComplexError."""
    return _Check(schema).problem(value, schema, "", 0)


class _Check:
    def __init__(self, root: Any) -> None:
        self._root, self._steps, self._pattern_s = root, 0, _PATTERN_S

    def problem(self, value: Any, schema: Any, at: str, depth: int) -> str | None:
        self.count(1)
        if depth > _MOST_DEPTH:
            raise SchemaTooComplexError("the schema is nested too deeply")
        if schema is False:
            return f"{at or 'the value'} is not allowed"
        if not isinstance(schema, Mapping):
            return None
        if "$ref" in schema and (found := self._referred(schema["$ref"])) is not None:
            problem = self.problem(value, found, at, depth + 1)
            if problem:
                return problem
        for keyword, check in _CHECKS.items():
            if keyword in schema and (problem := check(self, value, schema, at, depth)):
                return problem
        return None

    def count(self, steps: int) -> None:
        """Count steps. Raises SchemaTooComplexError."""
        self._steps += steps
        if self._steps > _MOST_STEPS:
            raise SchemaTooComplexError("the schema needs too many steps")

    def found(self, pattern: str, text: str) -> bool | None:
        """See `pattern_found`. Raises SchemaTooComplexError once all patterns together have taken too long."""
        self.count(1)
        if len(pattern) > _LONGEST_PATTERN:
            return None
        if self._pattern_s <= 0:
            raise SchemaTooComplexError("the patterns of the schema take too long")
        began_s = time.perf_counter()
        found = pattern_found(pattern, text, self._pattern_s)
        self._pattern_s -= time.perf_counter() - began_s
        return found

    def comparable(self, value: Any, depth: int = 0) -> Hashable:
        """What is equal for equal JSON values: the order of keys says nothing, a boolean is no number, and 1 equals
        1.0. Raises SchemaTooComplexError.
        """
        self.count(1)
        if depth > _MOST_DEPTH:
            raise SchemaTooComplexError("the value is nested too deeply")
        if isinstance(value, str):
            return value
        if isinstance(value, Mapping):
            return frozenset([(name, self.comparable(inner, depth + 1)) for name, inner in value.items()])
        if isinstance(value, list):
            return tuple([self.comparable(inner, depth + 1) for inner in value])
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        # As text, since a client can choose many numbers of one hash.
        return type(value), repr(value)

    def _referred(self, reference: Any) -> Any:
        """What a reference within the schema leads to; None for any other."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        place: Any = self._root
        for step in reference[1:].split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(place, Mapping) and name in place:
                place = place[name]
            else:
                return None
        return place


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_Checker = Callable[[_Check, Any, Mapping[str, Any], str, int], str | None]
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, Mapping),
    "number": _is_number,
    "integer": lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
}


def _type(_: _Check, value: Any, schema: Mapping[str, Any], at: str, __: int) -> str | None:
    stated = schema["type"]
    names = stated if isinstance(stated, list) else [stated]
    known = [_TYPES[name] for name in names if isinstance(name, str) and name in _TYPES]
    if not known or any(is_type(value) for is_type in known):
        return None
    return f"{at or 'the value'} is not of the type {' or '.join(map(str, names))}"


def _enum(check: _Check, value: Any, schema: Mapping[str, Any], at: str, __: int) -> str | None:
    comparable = check.comparable(value)
    is_allowed = any(check.comparable(each) == comparable for each in _list(schema["enum"]))
    return None if is_allowed else f"{at or 'the value'} is none of the allowed values"


def _const(check: _Check, value: Any, schema: Mapping[str, Any], at: str, __: int) -> str | None:
    is_it = check.comparable(value) == check.comparable(schema["const"])
    return None if is_it else f"{at or 'the value'} is not the required value"


def _required(_: _Check, value: Any, schema: Mapping[str, Any], at: str, __: int) -> str | None:
    names = schema["required"]
    if not isinstance(value, Mapping) or not isinstance(names, list):
        return None
    missing = next((name for name in names if isinstance(name, str) and name not in value), None)
    return None if missing is None else f"{at}/{missing} is missing"


def _properties(check: _Check, value: Any, schema: Mapping[str, Any], at: str, depth: int) -> str | None:
    if not isinstance(value, Mapping):
        return None
    stated = schema.get("properties")
    stated = stated if isinstance(stated, Mapping) else {}
    patterns = schema.get("patternProperties")
    patterns = patterns if isinstance(patterns, Mapping) else {}
    others = schema.get("additionalProperties", True)
    for name, inner in value.items():
        schemas = [stated[name]] if name in stated else []
        schemas += [of for pattern, of in patterns.items() if check.found(pattern, name)]
        for each in schemas or [others]:
            if problem := check.problem(inner, each, f"{at}/{name}", depth + 1):
                return problem
    return None


def _items(check: _Check, value: Any, schema: Mapping[str, Any], at: str, depth: int) -> str | None:
    if not isinstance(value, list):
        return None
    first = schema.get("prefixItems")
    first = first if isinstance(first, list) else []
    others = schema.get("items", True)
    for number, inner in enumerate(value):
        each = first[number] if number < len(first) else others
        if problem := check.problem(inner, each, f"{at}/{number}", depth + 1):
            return problem
    return None


def _all_of(check: _Check, value: Any, schema: Mapping[str, Any], at: str, depth: int) -> str | None:
    found = (check.problem(value, each, at, depth + 1) for each in _list(schema["allOf"]))
    return next(filter(None, found), None)


def _any_of(check: _Check, value: Any, schema: Mapping[str, Any], at: str, depth: int) -> str | None:
    problems = [check.problem(value, each, at, depth + 1) for each in _list(schema["anyOf"])]
    return None if not problems or None in problems else f"{at or 'the value'} meets none of the alternatives"


def _one_of(check: _Check, value: Any, schema: Mapping[str, Any], at: str, depth: int) -> str | None:
    problems = [check.problem(value, each, at, depth + 1) for each in _list(schema["oneOf"])]
    return None if not problems or problems.count(None) == 1 else f"{at or 'the value'} does not meet exactly one"


def _not(check: _Check, value: Any, schema: Mapping[str, Any], at: str, depth: int) -> str | None:
    return f"{at or 'the value'} is excluded" if check.problem(value, schema["not"], at, depth + 1) is None else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _pattern(check: _Check, value: Any, schema: Mapping[str, Any], at: str, __: int) -> str | None:
    if not isinstance(value, str) or not isinstance(schema["pattern"], str):
        return None
    return f"{at or 'the value'} does not match the pattern" if check.found(schema["pattern"], value) is False else None


def _limit(keyword: str, of: Callable[[Any], float | None], holds: Callable[[float, float], bool]) -> _Checker:
    def check(_: _Check, value: Any, schema: Mapping[str, Any], at: str, __: int) -> str | None:
        measured, limit = of(value), schema[keyword]
        if measured is None or not _is_number(limit) or holds(measured, limit):
            return None
        return f"{at or 'the value'} does not meet {keyword} {limit}"

    return check


def _size(kind: type[str] | type[list[Any]] | type[dict[str, Any]]) -> Callable[[Any], float | None]:
    return lambda value: len(value) if isinstance(value, kind) else None


def _number(value: Any) -> float | None:
    return value if _is_number(value) else None


def _unique(check: _Check, value: Any, schema: Mapping[str, Any], at: str, __: int) -> str | None:
    if schema["uniqueItems"] is not True or not isinstance(value, list):
        return None
    seen = {check.comparable(each) for each in value}
    return None if len(seen) == len(value) else f"{at or 'the value'} has equal items"


def _multiple(_: _Check, value: Any, schema: Mapping[str, Any], at: str, __: int) -> str | None:
    unit = schema["multipleOf"]
    if not _is_number(value) or not _is_number(unit) or unit <= 0:
        return None
    quotient = value / unit
    is_multiple = math.isfinite(quotient) and math.isclose(quotient, round(quotient), rel_tol=1e-9, abs_tol=1e-9)
    return None if is_multiple else f"{at or 'the value'} is no multiple of {unit}"


_CHECKS: Mapping[str, _Checker] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "required": _required,
    "properties": _properties,
    "additionalProperties": lambda check, value, schema, at, depth: (
        None if "properties" in schema else _properties(check, value, schema, at, depth)
    ),
    "patternProperties": lambda check, value, schema, at, depth: (
        None if schema.keys() & {"properties", "additionalProperties"} else _properties(check, value, schema, at, depth)
    ),
    "prefixItems": lambda check, value, schema, at, depth: (
        None if "items" in schema else _items(check, value, schema, at, depth)
    ),
    "items": _items,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "pattern": _pattern,
    "minimum": _limit("minimum", _number, lambda value, limit: value >= limit),
    "maximum": _limit("maximum", _number, lambda value, limit: value <= limit),
    "exclusiveMinimum": _limit("exclusiveMinimum", _number, lambda value, limit: value > limit),
    "exclusiveMaximum": _limit("exclusiveMaximum", _number, lambda value, limit: value < limit),
    "minLength": _limit("minLength", _size(str), lambda value, limit: value >= limit),
    "maxLength": _limit("maxLength", _size(str), lambda value, limit: value <= limit),
    "minItems": _limit("minItems", _size(list), lambda value, limit: value >= limit),
    "maxItems": _limit("maxItems", _size(list), lambda value, limit: value <= limit),
    "minProperties": _limit("minProperties", _size(dict), lambda value, limit: value >= limit),
    "maxProperties": _limit("maxProperties", _size(dict), lambda value, limit: value <= limit),
    "uniqueItems": _unique,
    "multipleOf": _multiple,
}
