"""What answers of shadows show beside those that clients got."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from msgspec import Struct

from router.learn.solving.result import wilson
from router.store.records.record import Record, ShadowRecord, Side


class Half(Struct, frozen=True):
    """The answers of one side. Shares are in [0, 1], None where nothing says so."""

    refused: float
    schema: float | None
    grade: float | None
    characters: float
    output_tokens: float | None
    cost_usd: float | None
    median_ms: float


class ShadowReport(Struct, frozen=True):
    """The answers of `target` beside those of the policy `policy`.

    `pairs` have both answers, and `failed` calls have none. Of the `compared` pairs, whose final answers can be
    compared, a share is the `same`, within the 95 % interval. `spent_usd` is the cost of all calls.
    """

    policy: str
    target: str
    pairs: int
    failed: int
    compared: int
    same: float | None
    same_low: float | None
    same_high: float | None
    first: Half | None
    second: Half | None
    spent_usd: float


def shadows_in(records: Iterable[Record]) -> list[ShadowReport]:
    """One report for each policy and target among these records, of which those without a shadow do not count."""
    groups: dict[tuple[str, str], list[tuple[ShadowRecord, float]]] = {}
    for record in records:
        if record.shadow is not None:
            place = record.shadow.policy, record.asked
            groups.setdefault(place, []).append((record.shadow, record.outcome.cost_usd or 0.0))
    return [_report(*place, those) for place, those in sorted(groups.items())]


def _report(policy: str, target: str, those: Sequence[tuple[ShadowRecord, float]]) -> ShadowReport:
    pairs = [(shadow.first, shadow.second) for shadow, _ in those if shadow.second is not None]
    same = [shadow.same for shadow, _ in those if shadow.same is not None]
    interval = wilson(float(sum(same)), len(same)) if same else None
    return ShadowReport(
        policy,
        target,
        len(pairs),
        len(those) - len(pairs),
        len(same),
        sum(same) / len(same) if same else None,
        None if interval is None else interval[0],
        None if interval is None else interval[1],
        _half([first for first, _ in pairs]) if pairs else None,
        _half([second for _, second in pairs]) if pairs else None,
        sum(cost for _, cost in those),
    )


def _half(sides: Sequence[Side]) -> Half:
    return Half(
        sum(side.refused for side in sides) / len(sides),
        _mean([float(side.schema) for side in sides if side.schema is not None]),
        _mean([side.grade for side in sides if side.grade is not None]),
        sum(side.characters for side in sides) / len(sides),
        _mean([float(side.output_tokens) for side in sides if side.output_tokens is not None]),
        _mean([side.cost_usd for side in sides if side.cost_usd is not None]),
        statistics.median(side.total_ms for side in sides),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
