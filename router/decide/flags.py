"""The flag language: `size<7B,cheapest*0.5,!beta`, the same on the command line, in headers and in prompts.

    flags = flag {"," flag}
    flag  = field op value | goal ["*" weight] | "!" tag
    op    = "<" | "<=" | ">" | ">=" | "=" | "!="

Forms that no shell touches: `size.lt=7B` (also le, gt, ge, eq, ne), `size..7B` for `size<=7B`,
`cheapest=0.5` for `cheapest*0.5`.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from router.cards.facets import MANY_VALUED
from router.decide.fields import FIELD_NAMES, NUMBERS, WORDS
from router.decide.goals import GOALS
from router.decide.limits import Limit
from router.errors import FlagError, did_you_mean
from router.formats.json import encodable

MAX_LENGTH = 2_000
_WORD = re.compile(r"[A-Za-z_]+")
_SHELL_OPERATORS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "=", "ne": "!="}
_OPERATOR = re.compile(r"<=|>=|!=|==|<|>|=|\.\.|\.(?:lt|le|gt|ge|eq|ne)=", re.IGNORECASE)


class Flags(Struct, frozen=True):
    """Hard limits, and goals with their weights."""

    limits: tuple[Limit, ...] = ()
    goals: Mapping[str, float] = {}

    def __str__(self) -> str:
        return ",".join(
            [
                *(limit.text for limit in self.limits),
                *(f"{goal}*{float(weight)!r}".removesuffix(".0") for goal, weight in self.goals.items()),
            ]
        )

    def overridden_by(self, other: Flags) -> Flags:
        """Both sets of limits, each once; `other`'s weight where both name a goal."""
        limits = {(limit.field, limit.op, limit.value): limit for limit in (*self.limits, *other.limits)}
        return Flags(tuple(limits.values()), {**self.goals, **other.goals})


@functools.lru_cache(maxsize=1024)
def parse_flags(text: str) -> Flags:
    """Read flags. Raises FlagError with the position and what was expected there."""
    return _Parser(text).flags()


class _Parser:
    """Reads one flag after the other; `self.at` is where it stands."""

    def __init__(self, text: str) -> None:
        # JSON may carry lone surrogates, which an answer with the error in it could not; positions stay.
        self.text, self.at = encodable(text), 0

    def flags(self) -> Flags:
        if len(self.text) > MAX_LENGTH:
            raise FlagError(f"flags are at most {MAX_LENGTH} characters long", self.text[:60] + "…", 60)
        limits: list[Limit] = []
        goals: dict[str, float] = {}
        self._blank()
        while self.at < len(self.text):
            start = self.at
            self._flag(limits, goals)
            self._check_consistent(limits, start)
            self._blank()
            if self.at < len(self.text) and self.text[self.at] != ",":
                raise self._error('expected "," before the next flag', self.at)
            comma, self.at = self.at, self.at + 1
            self._blank()
            if comma < len(self.text) and self.at >= len(self.text):
                raise self._error('expected a flag after ","', comma)
        return Flags().overridden_by(Flags(tuple(limits), goals))

    def _flag(self, limits: list[Limit], goals: dict[str, float]) -> None:
        start = self.at
        if self.text[start] == "!":
            self.at += 1
            tag = self._value("a tag")
            limits.append(Limit("tag", "!=", tag.lower(), f"!{tag}"))
            return
        name = self._name()
        self._blank()
        if name in GOALS:
            goals[name] = self._weight(name)
        else:
            limits.append(self._limit(name, start))

    def _name(self) -> str:
        found = _WORD.match(self.text, self.at)
        if found is None:
            raise self._error(f"expected a field ({_some(FIELD_NAMES)}) or a goal ({_some(GOALS)})", self.at)
        name = found[0].lower()
        if name not in GOALS and name not in FIELD_NAMES:
            known = (*FIELD_NAMES, *GOALS)
            hint = did_you_mean(name, known) or f"; known: {', '.join(known)}"
            raise self._error(f'unknown flag "{found[0]}"{hint}', self.at)
        self.at = found.end()
        return name

    def _weight(self, goal: str) -> float:
        found = re.compile(r"models?\b", re.IGNORECASE).match(self.text, self.at)
        if found:
            self.at = found.end()
            self._blank()
        if self.at >= len(self.text) or self.text[self.at] not in "*=":
            return 1.0
        self.at += 1
        position = self.at
        text = self._value(f"a weight such as {goal}*0.5")
        try:
            weight = float(text)
        except ValueError:
            weight = math.nan
        if not 0 <= weight <= 1000:
            raise self._error(f'expected a weight between 0 and 1000, got "{text}"', position)
        return weight

    def _limit(self, field: str, start: int) -> Limit:
        found = _OPERATOR.match(self.text, self.at)
        if found is None:
            example = NUMBERS[field].what if field in NUMBERS else f"{field}=…"
            raise self._error(f"expected an operator (< <= > >= = !=) after {field} ({example})", self.at)
        position, self.at = self.at, found.end()
        sign = found[0]
        op = {"==": "=", "..": "<="}.get(sign) or _SHELL_OPERATORS.get(sign.strip(".=").lower(), sign)
        value_at = self.at
        text = self._value(f"a value after {self.text[start:position].strip()}{sign}")
        if field in WORDS:
            if op not in ("=", "!="):
                raise self._error(f"{field} takes = or !=, not {op}", position)
            return Limit(field, op, text.lower(), f"{field}{op}{text}")
        try:
            return Limit(field, op, NUMBERS[field].read(text), f"{field}{op}{text}")
        except ValueError as error:
            raise self._error(f"{field}: {error}", value_at) from None

    def _value(self, expected: str) -> str:
        end = self.text.find(",", self.at)
        end = len(self.text) if end < 0 else end
        value = self.text[self.at : end].strip()
        if not value or value.startswith("="):
            raise self._error(f"expected {expected}", self.at)
        self.at = end
        return value

    def _blank(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def _check_consistent(self, limits: Sequence[Limit], start: int) -> None:
        """Whether the newest limit, which was read at `start`, can be met together with those before it."""
        for other in limits[:-1]:
            if other.field == limits[-1].field and _exclude_each_other(other, limits[-1]):
                raise self._error(f"no card can meet both {other.text} and {limits[-1].text}", start)

    def _error(self, problem: str, position: int) -> FlagError:
        return FlagError(problem, self.text.replace("\n", " "), position)


def _exclude_each_other(one: Limit, two: Limit) -> bool:
    if isinstance(one.value, str) or isinstance(two.value, str):
        if one.op != two.op:
            return one.value == two.value
        return one.op == "=" and one.field not in MANY_VALUED and one.value != two.value
    for lower, upper in ((one, two), (two, one)):
        if lower.op in (">", ">=", "=") and upper.op in ("<", "<=", "="):
            both_reach = lower.op != ">" and upper.op != "<"
            # Both are numbers: words have returned above.
            if lower.value > upper.value or (lower.value == upper.value and not both_reach):  # type: ignore[operator]
                return True
    return {one.op, two.op} == {"=", "!="} and one.value == two.value


def _some(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:5]) + " …"
