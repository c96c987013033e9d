"""What a result means, in sentences: the choice, what supports it, and what so few examples cannot show."""

from __future__ import annotations

from collections.abc import Iterator

from router.formats import units
from router.learn.solving.result import SINGLE, Advantage, Interval, PlanFigures, Solution

_FEW = 100
_VERY_FEW = 20
_DIGITS = 3


def findings(solution: Solution) -> tuple[str, ...]:
    """The sentences, the most important first."""
    return tuple(_findings(solution))


def _findings(solution: Solution) -> Iterator[str]:
    compared = solution.comparison
    chosen, single = compared.named(compared.chosen), compared.named(compared.best_single)
    if chosen is None:
        yield f"None of {compared.over_limits} plans meets the limits on these examples."
        return
    yield _choice(chosen, single, solution.evaluated)
    if compared.advantage is not None and single is not None:
        yield _advantage(compared.advantage, chosen, solution)
    yield from _support(chosen, solution)
    if solution.stopped == "budget":
        yield (
            f"The budget of {solution.max_usd:g}$ ended before every card had answered every example: figures are on "
            f"the {solution.evaluated} of {solution.examples} that all have answered. A larger max_usd asks the others."
        )
    if solution.unanswered_calls:
        yield (
            f"{solution.unanswered_calls} calls were interrupted; they count as spent at the most that they may cost."
        )


def _choice(chosen: PlanFigures, single: PlanFigures | None, examples: int) -> str:
    if chosen.kind == SINGLE:
        return (
            f"Use {chosen.id} alone: right on {_count(chosen, examples)} of {examples} examples "
            f"({_percent(chosen.quality_ci95)}), {_usd(chosen.cost_usd)} a request."
        )
    beside = (
        ""
        if single is None
        else f" The best card alone, {single.id}, is right on {_count(single, examples)}, for {_usd(single.cost_usd)}."
    )
    return (
        f"Use {chosen.id}: right on {_count(chosen, examples)} of {examples} examples "
        f"({_percent(chosen.quality_ci95)}), {_usd(chosen.cost_usd)} a request with {chosen.calls:.2f} calls.{beside}"
    )


def _advantage(gain: Advantage, chosen: PlanFigures, solution: Solution) -> str:
    points = f"{100 * gain.quality:+.1f} points of quality ({_points(gain.quality_ci95)})"
    dollars = f"{_signed_usd(gain.cost_usd)} a request"
    if chosen.kind == SINGLE:
        return (
            f"No plan of several cards is better than that beyond chance: choosing among plans instead gives {points} "
            f"and {dollars} on examples not used for the choice."
        )
    seen = (
        f" On the examples by which it was chosen it is {100 * gain.quality_seen:+.1f} points, which flatters it."
        if gain.quality_seen > gain.quality
        else ""
    )
    return (
        f"Choosing a plan instead of a card gives {points} and {dollars} on examples not used for the choice; with a "
        f"mistake at {solution.mistake_usd:g}$ that is better beyond chance.{seen}"
    )


def _support(chosen: PlanFigures, solution: Solution) -> Iterator[str]:
    low, high = chosen.quality_ci95
    count = solution.evaluated
    if count < _FEW:
        few = "very few" if count < _VERY_FEW else "few"
        yield (
            f"{count} examples are {few}: the quality is only known to lie between {100 * low:.0f} and "
            f"{100 * high:.0f} %, and plans whose difference is below about {50 * (high - low):.0f} points cannot be "
            "distinguished. The intervals hold for requests like the examples and for no others."
        )
    gain = solution.comparison.advantage
    if chosen.kind != SINGLE and gain is not None and gain.quality_ci95 == (0, 0):
        yield (
            f"The plan and the card are right on the same examples, so the advantage is the cost. That the plan is not "
            f"wrong more often by up to {300 / count:.0f} points cannot be seen on {count} examples."
        )
    if chosen.quality in (0, 1):
        yield f"All examples are {'right' if chosen.quality else 'wrong'}: harder or easier ones would tell more."


def _count(plan: PlanFigures, examples: int) -> str:
    return f"{plan.quality * examples:g}" if plan.quality * examples % 1 else f"{plan.quality * examples:.0f}"


def _percent(interval: Interval) -> str:
    return f"{100 * interval[0]:.0f} to {100 * interval[1]:.0f} %"


def _points(interval: Interval) -> str:
    return f"95 %: {100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"


def _usd(amount: float) -> str:
    return units.show_usd(amount, _DIGITS)


def _signed_usd(amount: float) -> str:
    return f"{'-' if amount < 0 else '+'}{_usd(abs(amount))}"
