"""Alarms about one card, from judgements of its answers as they come: pure, of a size that does not grow.

One test (`router.analysis.drift.cusum`) is for all prompts, and one for each kind of prompt. Each is made eight times:
with all judgements, and without those of each of six keys, and of all other keys together. There is an alarm for
everybody only where all of them say so, those that leave a key out with `CONFIRMED` of the evidence of all, or enough
for an alarm themselves: no key raises one alone. The operator's own judgements are never left out. Where there is only
one key, or none, nobody else could say so, and its judgements are those of everybody.

The forecasts are also counted in bins of equal width, to be compared with the judgements.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
from msgspec import Struct

from router.analysis.drift.calibration import BINS, counted
from router.analysis.drift.cusum import DIRECTIONS, RULE, Cusum, CusumRule, Direction
from router.types import Doubles, Indices

KINDS = 15
"""How many kinds of prompt have a test of their own; those that come later are tested with all prompts only."""
NAMED = 6
_OPERATOR, _OTHERS = 0, NAMED + 1
COLUMNS = NAMED + 2
_ALL_COLUMNS = np.arange(COLUMNS)
CONFIRMED = 0.6
OTHERS = "other keys"
"""The name of all keys beyond those that are counted one by one."""
SILENT_S = 30 * 86_400.0
"""A key that has judged nothing for so long gives its place to another one."""
_KIND_RULE = msgspec.structs.replace(RULE, worse=8.4, better=10.9, prior=4.0)
_MOST_ALARMS, _KEEP_S = 16, 90 * 86_400.0
_FIELDS = Cusum.__struct_fields__
JUDGEMENTS_AN_ALARM = {
    ("worse", False): 20_000,
    ("worse", True): 130_000,
    ("better", False): 450_000,
    ("better", True): 1_500_000,
}
"""After how many judgements without a change each test raises an alarm, on average: by its direction,
and whether it is of one kind of prompt. Simulated for the first, and extrapolated to the others by `exp(threshold)`."""


class Judged(Struct, frozen=True):
    """A judgement `value` of an answer with the forecast `expected`, both in [0, 1], in seconds since 1970, UTC.

    `tenant` is the key that judged, None for the operator; `kind` is the kind of prompt, empty where none is known.
    """

    at_s: float
    tenant: str | None
    expected: float
    value: float
    kind: str = ""


class Alarm(Struct, frozen=True, omit_defaults=True):
    """The answers of a card are worse or better since `since_s` (estimated), which was certain enough at `raised_s`.

    `kind` is the kind of prompt, empty for all. The `judged` answers between were expected to be right with the mean
    probability `expected`, by the forecasts corrected by earlier judgements, and `value` is what they got.
    `key` is the key without whose judgements it is not certain, None where it is. `ended_s` is when the answers were
    found to be as before.
    """

    kind: str
    direction: Direction
    since_s: float
    raised_s: float
    judged: int
    expected: float
    value: float
    key: str | None = None
    ended_s: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the change has not ended yet."""
        return self.ended_s is None

    @property
    def judgements_a_false_alarm(self) -> int:
        """After how many judgements such an alarm is raised without a change, on average."""
        return JUDGEMENTS_AN_ALARM[self.direction, bool(self.kind)]


class CardDrift(Struct, frozen=True, eq=False):
    """What the judgements of a card's answers add up to. `basis` is what its forecasts come from.

    `tenants` are the keys that are counted one by one, and `last_s` `(NAMED,)` when each judged last. `kinds` are those
    with a test, which have the rows after the first. `tests` has `len(rows) * COLUMNS` tests. `bins` are counts of
    forecasts.
    """

    basis: str
    tenants: tuple[str, ...]
    last_s: Doubles
    kinds: tuple[str, ...]
    tests: Cusum
    bins: Doubles
    judged: int = 0
    alarms: tuple[Alarm, ...] = ()

    @classmethod
    def empty(cls, basis: str) -> CardDrift:
        """Nothing was judged yet."""
        return cls(basis, (), np.zeros(NAMED), (), Cusum.start(COLUMNS), np.zeros((BINS, 4)))

    def add(self, judged: Judged, *, one_key: bool = False) -> CardDrift:
        """After one more judgement; `one_key`: there are no two keys, so the alarms of one are for everybody."""
        drift = self._with_slot_for(judged.tenant, judged.at_s)._with_row_for(judged.kind)
        slot, last_s = drift._slot_of(judged.tenant), drift.last_s.copy()
        if 0 < slot < _OTHERS:
            last_s[slot - 1] = max(last_s[slot - 1], judged.at_s)
        rows = [0, *([1 + drift.kinds.index(judged.kind)] if judged.kind in drift.kinds else [])]
        columns = np.concatenate([row * COLUMNS + _ALL_COLUMNS for row in rows])
        if slot != _OPERATOR:
            columns = columns[columns % COLUMNS != slot]
        own = Cusum(*(getattr(drift.tests, name)[..., columns] for name in _FIELDS))
        tests = _written(drift.tests, columns, own.add(judged.expected, judged.value, judged.at_s))
        bins = counted(drift.bins, judged.expected, judged.value)
        drift = msgspec.structs.replace(drift, last_s=last_s, tests=tests, bins=bins, judged=drift.judged + 1)
        for row in rows:
            drift = drift._alarmed(row, judged.at_s, one_key=one_key)
        return drift

    def _alarmed(self, row: int, now_s: float, *, one_key: bool) -> CardDrift:
        """With the alarms of a row, whose test begins anew after one for everybody."""
        rule = _KIND_RULE if row else RULE
        kind = self.kinds[row - 1] if row else ""
        first = row * COLUMNS
        drift = self
        for index, direction in enumerate(DIRECTIONS):
            sums = self.tests.sums[index, first : first + COLUMNS]
            threshold = rule.thresholds[index, 0]
            others = [each for each in drift.alarms if not _is_doubt(each, kind, direction)]
            if sums[0] < threshold:
                if sums[0] < threshold / 2 and len(others) < len(drift.alarms):
                    drift = msgspec.structs.replace(drift, alarms=tuple(others))
                continue
            weakest = 1 + int(sums[1:].argmin())
            # Beyond the threshold, too: who waits until the others have a bad day by chance has raised the sum by then.
            needed = min(threshold, CONFIRMED * sums[0])
            key = None if one_key or sums[weakest] >= needed else self._name_of(weakest)
            found = self._alarm(first, index, kind, direction, now_s, key)
            drift = msgspec.structs.replace(drift, alarms=_with(others, found))
            if key is None:
                return msgspec.structs.replace(drift, tests=_restarted(self.tests, first, index, rule))
        return drift

    def _alarm(self, first: int, index: int, kind: str, direction: Direction, now_s: float, key: str | None) -> Alarm:
        tests = self.tests
        count = max(float(tests.counts[index, first]), 1.0)
        value = float(tests.values[index, first]) / count
        expected = value - float(tests.excess[index, first]) / count
        since_s = float(tests.starts[index, first]) or now_s
        return Alarm(kind, direction, since_s, now_s, int(count), round(expected, 4), round(value, 4), key)

    def _slot_of(self, tenant: str | None) -> int:
        if tenant is None:
            return _OPERATOR
        return 1 + self.tenants.index(tenant) if tenant in self.tenants else _OTHERS

    def _name_of(self, slot: int) -> str:
        return self.tenants[slot - 1] if slot <= len(self.tenants) else OTHERS

    def _with_slot_for(self, tenant: str | None, now_s: float) -> CardDrift:
        if tenant is None or tenant in self.tenants:
            return self
        if len(self.tenants) < NAMED:
            return msgspec.structs.replace(self, tenants=(*self.tenants, tenant))
        place = int(self.last_s.argmin())
        if now_s - self.last_s[place] < SILENT_S:
            return self
        tenants, last_s = list(self.tenants), self.last_s.copy()
        tenants[place], last_s[place] = tenant, now_s
        # What was left out of this test was another key's; some of the new key's may be in it, so it begins anew.
        columns = np.arange(len(self.tests.level)) % COLUMNS == 1 + place
        tests = Cusum(*(np.where(columns & _is_sum(name), 0.0, getattr(self.tests, name)) for name in _FIELDS))
        return msgspec.structs.replace(self, tenants=tuple(tenants), last_s=last_s, tests=tests)

    def _with_row_for(self, kind: str) -> CardDrift:
        if not kind or kind in self.kinds or len(self.kinds) >= KINDS:
            return self
        # What is known of all prompts is the first guess for the new kind, and soon forgotten: forecasts are further
        # off for one kind than for all.
        fresh = Cusum.start(COLUMNS, _KIND_RULE)
        fresh = msgspec.structs.replace(fresh, level=self.tests.level[:COLUMNS])
        pairs = ((getattr(self.tests, name), getattr(fresh, name)) for name in _FIELDS)
        tests = Cusum(*(np.concatenate(pair, axis=-1) for pair in pairs))
        return msgspec.structs.replace(self, kinds=(*self.kinds, kind), tests=tests)


def _with(alarms: list[Alarm], found: Alarm) -> tuple[Alarm, ...]:
    """The alarms with one that is new; where it ends one in the other direction, that says so instead."""
    kept = [each for each in alarms if found.raised_s - each.raised_s < _KEEP_S]
    if found.key is None:
        opposite = [each for each in kept if each.is_open and each.kind == found.kind and each.key is None]
        opposite = [each for each in opposite if each.direction != found.direction]
        if opposite:
            ended = msgspec.structs.replace(opposite[-1], ended_s=found.since_s)
            return tuple(ended if each is opposite[-1] else each for each in kept)
    return (*kept, found)[-_MOST_ALARMS:]


def _is_doubt(alarm: Alarm, kind: str, direction: Direction) -> bool:
    """Whether it is the alarm of one key alone about the same: a later one of the same test takes its place."""
    return alarm.key is not None and (alarm.kind, alarm.direction) == (kind, direction)


def _restarted(tests: Cusum, first: int, index: int, rule: CusumRule) -> Cusum:
    columns = first + _ALL_COLUMNS
    row = Cusum(*(getattr(tests, name)[..., columns] for name in _FIELDS))
    return _written(tests, columns, row.restarted(index, rule))


def _written(tests: Cusum, columns: Indices, part: Cusum) -> Cusum:
    """The tests with other states in some columns."""
    arrays = [getattr(tests, name).copy() for name in _FIELDS]
    for name, array in zip(_FIELDS, arrays, strict=True):
        array[..., columns] = getattr(part, name)
    return Cusum(*arrays)


def _is_sum(name: str) -> bool:
    return name not in ("level", "information")


def open_alarms(drifts: dict[str, CardDrift], *, one_key: bool = False) -> Iterator[tuple[str, Alarm]]:
    """The alarms by card that have not ended; with `one_key`, also those that one key alone raises."""
    for card, drift in sorted(drifts.items()):
        for alarm in drift.alarms:
            if alarm.is_open and (one_key or alarm.key is None):
                yield card, alarm


def advice(card: str, alarm: Alarm) -> str:
    """What an operator can do about an alarm, in a sentence or two."""
    if alarm.key is not None:
        look = "" if alarm.key == OTHERS else f": route records tail --key {alarm.key}"
        return f"{card}: not certain without the judgements of {alarm.key}; look at its requests first{look}"
    about = f" about {alarm.kind}" if alarm.kind else ""
    if alarm.direction == "better":
        return f"{card}: it answers prompts{about} better than its forecasts say; learning: apply gives it more of them"
    return (
        f"{card}: read its judged answers{about} (route records feedback --since 7d) and ask its provider what "
        "has changed; learning: apply sends such prompts elsewhere meanwhile, and limits exclude the card"
    )
