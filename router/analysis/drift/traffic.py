"""Whether the prompts of a day differ from those of the days before: in their topics, and in how novel they are.

Days differ even where nothing happens: conversations and batches bring many prompts of one kind at once. So a day is an
alarm only if the permutation test rejects that its prompts could be of the days before, at `ALPHA`, which both tests
of a day share (Bonferroni), and its distance is also twice that of any of the days before from the others.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

import numpy as np
from msgspec import Struct

from router.analysis.drift.two_sample import difference, distance, distances_of
from router.perceive.predictor import Predictor
from router.store.records.protocol import Filter, RecordStore
from router.store.records.record import Record
from router.store.records.totals import DAY_S
from router.types import Doubles, Floats

Aspect = Literal["topics", "novelty"]
ASPECTS: tuple[Aspect, ...] = ("topics", "novelty")
ALPHA = 0.01
"""The greatest probability that a day is an alarm by chance alone; one in a hundred days."""
REFERENCE_DAYS = 7
_LEAST_DAYS, _LEAST_PROMPTS = 3, 50
BEYOND_USUAL = 2.0
"""How many times as far from the days before as any of these from the others a day has to be."""
_PARTS, _OF_A_PART, _OF_A_REFERENCE = 4, 50, 40


class DayPrompts(Struct, frozen=True, eq=False):
    """A sample of the prompts of one day, which begins at `start_s`: their topics `(prompts, numbers)` and how novel
    each is `(prompts,)`.
    """

    start_s: float
    topics: Doubles
    novelty: Doubles


class DayTest(Struct, frozen=True):
    """How the prompts of a day differ in one aspect from those of up to seven days before.

    `before` is the mean novelty of those, `now` that of the day. `usual` is the greatest distance of one of the days
    before from the others. `since` is the first of the days in a row that are alarms, None where this is none.
    """

    day: str
    aspect: Aspect
    prompts: int
    distance: float
    usual: float
    p: float
    before: float
    now: float
    since: str | None = None

    @property
    def is_alarm(self) -> bool:
        """Whether the prompts have changed, as far as the tests show."""
        return self.since is not None


def compared_days(days: Sequence[DayPrompts]) -> list[DayTest]:
    """The tests of every day that has enough days before it, oldest first."""
    found: list[DayTest] = []
    since: dict[Aspect, str] = {}
    reference: list[DayPrompts] = []
    for day in sorted(days, key=lambda each: each.start_s):
        if len(day.novelty) < _LEAST_PROMPTS:
            continue
        if len(reference) >= _LEAST_DAYS:
            for aspect in ASPECTS:
                found.append(_compared(day, reference, aspect, since))
        # A day that is unlike the others is no measure for the next one, until it has become usual.
        if not since or _is_usual(found, since):
            reference = [*reference, day][-REFERENCE_DAYS:]
    return found


def _compared(day: DayPrompts, reference: Sequence[DayPrompts], aspect: Aspect, since: dict[Aspect, str]) -> DayTest:
    """The test of a day, which begins or ends a row of alarms in `since`."""
    parts = [_values(each, aspect)[:_OF_A_REFERENCE] for each in reference]
    sizes = [len(part) for part in parts]
    distances = distances_of(np.concatenate([*parts, _values(day, aspect)]))
    before, owner = sum(sizes), np.repeat(np.arange(len(parts)), sizes)
    usual = max(distance(distances[:before, :before], owner == number) for number in range(len(parts)))
    result = difference(distances, np.arange(len(distances)) >= before)
    name = datetime.datetime.fromtimestamp(day.start_s, datetime.UTC).date().isoformat()
    if result.p <= ALPHA / len(ASPECTS) and result.distance > BEYOND_USUAL * usual:
        since.setdefault(aspect, name)
    else:
        since.pop(aspect, None)
    return DayTest(
        name,
        aspect,
        len(day.novelty),
        round(result.distance, 4),
        round(usual, 4),
        round(result.p, 4),
        round(float(np.concatenate([each.novelty for each in reference]).mean()), 4),
        round(float(day.novelty.mean()), 4),
        since.get(aspect),
    )


def _values(day: DayPrompts, aspect: Aspect) -> Doubles:
    return day.topics if aspect == "topics" else day.novelty[:, None]


def _is_usual(found: Sequence[DayTest], since: dict[Aspect, str]) -> bool:
    """Whether the prompts have been as they are for a week."""
    return any(sum(test.since == first for test in found) >= REFERENCE_DAYS for first in since.values())


def read_days(records: RecordStore, since_s: float, until_s: float, predictor: Predictor) -> list[DayPrompts]:
    """The prompts of the days of this time: at most 50 of each quarter of a day, and one of a conversation."""
    found = []
    first = int(since_s // DAY_S)
    for day in range(first, int(-(-until_s // DAY_S))):
        sample: list[Record] = []
        for part in range(_PARTS):
            start_s = (day + part / _PARTS) * DAY_S
            wanted = Filter(routed=True, since=start_s, until=min(start_s + DAY_S / _PARTS, until_s))
            sample += records.tail(_OF_A_PART, wanted, prompts=False)
        vectors = vectors_of(once_a_conversation(sample), predictor)[1]
        if len(vectors):
            # In no order of time, since of a day in the reference only the first count.
            vectors = vectors[np.random.default_rng(day).permutation(len(vectors))]
            found.append(DayPrompts(day * DAY_S, predictor.topics(vectors), predictor.profile(vectors).novelty))
    return found


def once_a_conversation(records: Iterable[Record]) -> list[Record]:
    """The records without those of conversations that were there before."""
    seen: set[tuple[str | None, str]] = set()
    found = []
    for record in records:
        conversation = (record.key, record.session or record.id)
        if conversation not in seen:
            seen.add(conversation)
            found.append(record)
    return found


def vectors_of(records: Collection[Record], predictor: Predictor) -> tuple[list[Record], Floats]:
    """The records whose features `predictor` can read, and these `(records, width)`."""
    reader = "" if predictor.reader is None else predictor.reader.id
    pairs = ((record, record.decision) for record in records)
    read = [
        (record, decision.vector)
        for record, decision in pairs
        if decision is not None and len(decision.vector) == 4 * predictor.width and decision.reader == reader
    ]
    raw = b"".join(vector for _, vector in read)
    vectors = np.frombuffer(raw, dtype="<f4").astype(np.float32).reshape(len(read), predictor.width)
    return [record for record, _ in read], vectors
