"""The result of an onboarding run: what was asked, what it cost, and how the expected quality changed."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from msgspec import Struct, field

from router.learn.onboarding.adaptive_test import AdaptiveTest
from router.learn.onboarding.probes import Probe
from router.perceive.ability.evidence import ProbeOutcome

_FEW = 4

StopReason = Literal["done", "budget", "all asked"]
"""As many probes as requested are answered · the next call might exceed the budget · no probes are left in the set."""


class Progress(Struct, frozen=True):
    """The progress of a run: probes answered and requested, the sum of their scores, their cost."""

    answered: int
    wanted: int
    score: float
    spent_usd: float | None


class Change(Struct, frozen=True):
    """The change of the forecast on some probes: expected quality and its standard deviation, before and after.

    `score` is the mean score of the `answered` probes, None where there are none.
    """

    domain: str
    answered: int
    score: float | None
    before: float
    before_std: float = field(name="before_doubt")
    after: float
    after_std: float = field(name="after_doubt")


class OnboardingResult(Struct, frozen=True):
    """What a run asked and changed.

    `spent_usd` is the cost of all answers to this set, `spent_now_usd` that of this run; None where the card states no
    price. Medians are over the answers that have the value. `unconfirmed` counts the probes that were being asked
    when an earlier run was killed. `warnings` are sentences about outcomes that hint at a mistake in the set-up.
    """

    card: str
    probe_set: str
    evidence: str
    answered: int
    answered_now: int
    stopped: StopReason
    spent_usd: float | None
    spent_now_usd: float | None
    latency_ms: float | None
    ttft_ms: float | None
    output_tokens: float | None
    cut_off: int
    unconfirmed: int = field(name="lost")
    overall: Change
    domains: tuple[Change, ...]
    warnings: tuple[str, ...] = ()


def warnings_of(outcomes: Collection[ProbeOutcome]) -> tuple[str, ...]:
    """Warnings about outcomes that say more about the set-up than about the model, with the likely cause."""
    if len(outcomes) < _FEW:
        return ()
    answers = {outcome.answer for outcome in outcomes}
    if answers == {""}:
        return (
            f"All {len(outcomes)} answers are empty: a reasoning model may need more --max-tokens, or the server has "
            "no chat template for the model.",
        )
    if len(answers) == 1:
        return (
            f"All {len(outcomes)} answers are the same: the server may ignore the prompt; check its chat template and "
            "the card's base_url.",
        )
    if not any(outcome.score for outcome in outcomes):
        return (
            f"None of {len(outcomes)} answers is right: check the card's model name, the server's chat template, and "
            "`answer` in the evidence; --reset discards it.",
        )
    return ()


def changes(
    probes: Sequence[Probe], outcomes: Mapping[int, ProbeOutcome], before: AdaptiveTest, after: AdaptiveTest
) -> tuple[Change, tuple[Change, ...]]:
    """The change over all probes, and by domain in the order of the probe set."""
    rows_of: dict[str, list[int]] = {}
    for row, probe in enumerate(probes):
        rows_of.setdefault(probe.domain, []).append(row)
    overall = _change("all", range(len(probes)), outcomes, before, after)
    return overall, tuple(
        _change(domain or "no domain", rows, outcomes, before, after) for domain, rows in rows_of.items()
    )


def _change(
    domain: str, rows: Sequence[int], outcomes: Mapping[int, ProbeOutcome], before: AdaptiveTest, after: AdaptiveTest
) -> Change:
    scores = [outcomes[row].score for row in rows if row in outcomes]
    index = np.array(rows, dtype=np.intp)
    prior, posterior = before.average(index), after.average(index)
    return Change(
        domain=domain,
        answered=len(scores),
        score=statistics.fmean(scores) if scores else None,
        before=prior.quality,
        before_std=prior.std,
        after=posterior.quality,
        after_std=posterior.std,
    )


def median(values: Iterable[float | None]) -> float | None:
    """The median of the known values; None where there are none."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
