"""The flag language: `size<7B,cheapest*0.5,!beta`; the same on the command line, in headers and in prompts.

    flags = flag {"," flag}
    flag  = field op value | goal ["*" weight] | "!" tag
    op    = "<" | "<=" | ">" | ">=" | "=" | "!="

Equivalent forms without characters that a shell interprets: `size.lt=7B` (also le, gt, ge, eq, ne), `size..7B` for
`size<=7B`, `cheapest=0.5` for `cheapest*0.5`.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

from router.cards.facets import MANY_VALUED
from router.decide.fields import FIELD_NAMES, NUMBERS, WORDS
from router.decide.goals import GOALS
from router.decide.limits import Limit
from router.errors import FlagError, did_you_mean
from router.formats.json import encodable
from router.formats.text import shortened

MAX_LENGTH = 2_000
"""The greatest length of flags, in characters."""

_WORD = re.compile(r"[A-Za-z_]+")
_MODEL = re.compile(r"models?\b", re.IGNORECASE)
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
        """The limits of both, without duplicates, and the goals of both; where both name a goal, `other`'s weight."""
        limits = {(limit.field, limit.op, limit.value): limit for limit in (*self.limits, *other.limits)}
        return Flags(tuple(limits.values()), {**self.goals, **other.goals})


def combined(first: Flags, second: Flags) -> Flags:
    """`first` overridden by `second`. Raises FlagError where a limit of one contradicts a limit of the other."""
    flags = first.overridden_by(second)
    for number, limit in enumerate(flags.limits):
        if other := _contradicted(flags.limits[:number], limit):
            position = sum(len(earlier.text) + 1 for earlier in flags.limits[:number])
            raise FlagError(f"no card can meet both {other.text} and {limit.text}", str(flags), position)
    return flags


@functools.lru_cache(maxsize=1024)
def parse_flags(text: str) -> Flags:
    """Parse flags. Raises FlagError with the position and what was expected there."""
    return _Parser(text).flags()


class _Parser:
    """Parses one flag after the other; `self.at` is the position of the next character."""

    def __init__(self, text: str) -> None:
        # JSON may contain lone surrogates, which the error response could not encode. Replacing them keeps positions.
        self.text, self.at = encodable(text), 0

    def flags(self) -> Flags:
        if len(self.text) > MAX_LENGTH:
            raise FlagError(f"the flags are longer than {MAX_LENGTH} characters", self.text[:60] + "…", 60)
        limits: list[Limit] = []
        goals: dict[str, float] = {}
        self._skip_blanks()
        while self.at < len(self.text):
            start = self.at
            self._flag(limits, goals)
            self._check_consistent(limits, start)
            self._skip_blanks()
            if self.at < len(self.text) and self.text[self.at] != ",":
                raise self._error('expected "," before the next flag', self.at)
            comma, self.at = self.at, self.at + 1
            self._skip_blanks()
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
        self._skip_blanks()
        if name in GOALS:
            goals[name] = self._weight(name)
        else:
            limits.append(self._limit(name, start))

    def _name(self) -> str:
        word = _WORD.match(self.text, self.at)
        if word is None:
            raise self._error(f"expected a field ({shortened(FIELD_NAMES)}) or a goal ({shortened(GOALS)})", self.at)
        name = word[0].lower()
        if name not in GOALS and name not in FIELD_NAMES:
            known = (*FIELD_NAMES, *GOALS)
            hint = did_you_mean(name, known) or f"; known: {', '.join(known)}"
            raise self._error(f'unknown flag "{word[0]}"{hint}', self.at)
        self.at = word.end()
        return name

    def _weight(self, goal: str) -> float:
        # `cheapest model` means `cheapest`.
        if noun := _MODEL.match(self.text, self.at):
            self.at = noun.end()
            self._skip_blanks()
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
        operator = _OPERATOR.match(self.text, self.at)
        if operator is None:
            example = NUMBERS[field].meaning if field in NUMBERS else f"{field}=…"
            raise self._error(f"expected an operator (< <= > >= = !=) after {field} ({example})", self.at)
        position, self.at = self.at, operator.end()
        sign = operator[0]
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

    def _skip_blanks(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def _check_consistent(self, limits: Sequence[Limit], start: int) -> None:
        """Raise FlagError where the last limit, which begins at `start`, contradicts one before it."""
        if limits and (other := _contradicted(limits[:-1], limits[-1])):
            raise self._error(f"no card can meet both {other.text} and {limits[-1].text}", start)

    def _error(self, problem: str, position: int) -> FlagError:
        return FlagError(problem, self.text.replace("\n", " "), position)


def _contradicted(limits: Sequence[Limit], limit: Limit) -> Limit | None:
    """The first of `limits` that no card can meet together with `limit`."""
    return next((other for other in limits if other.field == limit.field and _exclude_each_other(other, limit)), None)


def _exclude_each_other(one: Limit, two: Limit) -> bool:
    if isinstance(one.value, str) or isinstance(two.value, str):
        if one.op != two.op:
            return one.value == two.value
        return one.op == "=" and one.field not in MANY_VALUED and one.value != two.value
    for lower, upper in ((one, two), (two, one)):
        if lower.op in (">", ">=", "=") and upper.op in ("<", "<=", "="):
            both_reach = lower.op != ">" and upper.op != "<"
            # Both are numbers: words returned above.
            if lower.value > upper.value or (lower.value == upper.value and not both_reach):  # type: ignore[operator]
                return True
    return {one.op, two.op} == {"=", "!="} and one.value == two.value
