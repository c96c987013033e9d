"""Segments: which card answers which task of a prompt, in which calls, and whether to split at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

Scores = Callable[[int], Mapping[str, float]]
"""The routing of one task, by its number from 0: the score of each card that may answer it, the lower the better, such
as `Candidate.score` of the decision for its text alone.
"""

_Best = dict[str, tuple[float, tuple[str, ...]]]


class Group(Struct, frozen=True):
    """One call: the `card` answers the tasks `segments`, which follow one another.

    `after` is the number of the group whose answer it needs; None where it can begin at once.
    """

    card: str
    segments: tuple[int, ...]
    after: int | None = None


class SegmentPlan(Struct, frozen=True):
    """The calls that answer a prompt, in the order of its tasks.

    One group where the prompt is not split, of the card that answers all of it. `gain` is by how much the mean score of
    the tasks is better than that of this card, as far as it was compared; `reason` says why the prompt is not split.
    """

    groups: tuple[Group, ...]
    gain: float = 0.0
    reason: str = ""

    @property
    def is_split(self) -> bool:
        """Whether several cards answer."""
        return len(self.groups) > 1


def plan_segments(
    depends: Sequence[bool],
    scores: Scores,
    whole: str,
    *,
    min_gain: float = 0.0,
    most_calls: int = 8,
    call_score: float = 0.0,
) -> SegmentPlan:
    """The calls of least total score for a prompt with `len(depends)` tasks.

    `depends` says of each task whether it needs the answers before it. `whole` is the card that answers the prompt
    where it is not split. The prompt is split only where its tasks want different cards, in at most `most_calls` calls,
    and where the mean score of a task then falls by more than `min_gain`. Neighbouring tasks of one card are one call;
    `call_score` is what each further call adds, for the instructions that are sent again. Equal scores go to the first
    card by its id. Exact, by dynamic programming over tasks, calls and cards.
    """
    count = len(depends)
    alone = Group(whole, tuple(range(count)))
    if count < 2:
        return SegmentPlan((alone,), reason="the prompt is one task")
    tables = [scores(number) for number in range(count)]
    total, cards = _assigned(tables, most_calls, call_score)
    if not math.isfinite(total):
        return SegmentPlan((alone,), reason=f"no cards answer the tasks in {most_calls} calls")
    groups = _grouped(cards, depends)
    if len(groups) < 2:
        return SegmentPlan((alone,), reason="one card is best for all tasks")
    gain = (sum(table.get(whole, math.inf) for table in tables) - total) / count
    if gain <= min_gain:
        return SegmentPlan((alone,), gain, f"the expected gain {gain:.3f} does not exceed {min_gain:g}")
    return SegmentPlan(groups, gain)


def _assigned(
    tables: Sequence[Mapping[str, float]], most_calls: int, call_score: float
) -> tuple[float, tuple[str, ...]]:
    """The least total score, and the card of each task; infinite where there is none."""
    # By number of calls so far, less one: the best total and cards for each card that answers the newest task.
    rows: list[_Best] = [{card: (score, (card,)) for card, score in tables[0].items()}]
    for table in tables[1:]:
        following: list[_Best] = [{} for _ in range(min(len(rows) + 1, most_calls))]
        for calls, row in enumerate(rows):
            if not row:
                continue
            total, before = min(row.values())
            for card, score in table.items():
                if card in row:
                    _keep(following[calls], card, row[card][0] + score, row[card][1])
                if calls + 1 < most_calls:
                    _keep(following[calls + 1], card, total + score + call_score, before)
        rows = following
    return min((best for row in rows for best in row.values()), default=(math.inf, ()))


def _keep(row: _Best, card: str, total: float, before: tuple[str, ...]) -> None:
    found = (total, (*before, card))
    if card not in row or found < row[card]:
        row[card] = found


def _grouped(cards: Sequence[str], depends: Sequence[bool]) -> tuple[Group, ...]:
    groups: list[Group] = []
    for number, card in enumerate(cards):
        if groups and groups[-1].card == card:
            group = groups[-1]
            groups[-1] = Group(card, (*group.segments, number), group.after)
        else:
            groups.append(Group(card, (number,), len(groups) - 1 if groups and depends[number] else None))
    return tuple(groups)
