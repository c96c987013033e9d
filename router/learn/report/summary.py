"""The result of an evaluation in three sentences that need no knowledge of the field."""

from __future__ import annotations

from router.formats.units import show_dollars
from router.learn.evaluation.methods import HINDSIGHT
from router.learn.evaluation.report import BottomLine, Report

_SAME = 5e-4
_ALMOST_ONE, _JUST_ABOVE_ONE = 0.995, 1.005
_MOST_DOMAINS = 3


def sentences(report: Report) -> tuple[str, ...]:
    """What routing costs, what it gains where only quality counts, and where it does not pay.

    Empty for a report without methods (`--by model`).
    """
    line = report.bottom_line
    if line is None or not report.methods:
        return ()
    return _cost(report, line), _quality(report), _where_not(report, line)


def method_of(line: BottomLine, costs: str) -> str:
    """How the first sentence was computed; `costs` is the source of the costs."""
    if line.routed_usd_per_1000 is None:
        weight = "Choices are by forecast quality alone."
    elif line.in_hindsight:
        weight = "The weight of cost is chosen on these prompts, in hindsight."
    else:
        weight = "The weight of cost is chosen on the other folds, never on the prompts to which it is applied."
    return (
        f"{line.single} is the single model that is best on these prompts, which is known only in hindsight. {weight} "
        f"The difference in quality is {_signed(line.routed_quality - line.single_quality)}, with 95 % confidence "
        f"between {_signed(line.low)} and {_signed(line.high)}. Costs: {costs or 'none'}."
    )


def _cost(report: Report, line: BottomLine) -> str:
    start, always = f"On these {line.prompts:,} prompts, routing", f"always using {line.single}"
    against = f"{line.routed_quality:.3f} instead of {line.single_quality:.3f}"
    if line.routed_usd_per_1000 is None or line.single_usd_per_1000 is None:
        reason = report.costs or "there are no costs"
        return f"{start} has a quality of {against} of {always}; the costs cannot be compared ({reason})."
    routed, single = line.routed_usd_per_1000, line.single_usd_per_1000
    dollars = f"{show_dollars(routed)} instead of {show_dollars(single)} per 1,000 requests"
    if routed > single * _ALMOST_ONE:
        return f"{start} {_not_cheaper(line, routed < single * _JUST_ABOVE_ONE, always, against, dollars)}."
    return f"{start} {_cheaper(line, _percent(routed / single), always, against, dollars)}."


def _not_cheaper(line: BottomLine, costs_the_same: bool, always: str, against: str, dollars: str) -> str:
    if line.low > 0:
        return f"has a higher quality than {always} ({against}), but is not cheaper: {dollars}"
    if costs_the_same:
        return f"saves nothing: to keep the quality of {always}, it costs as much ({dollars})"
    return f"does not pay: it costs {dollars} of {always}, at a quality of {against}"


def _cheaper(line: BottomLine, share: str, always: str, against: str, dollars: str) -> str:
    if line.low > 0:
        return f"raises the quality of {always} ({against}) for {share} of its cost: {dollars}"
    if line.routed_quality >= line.single_quality - _SAME:
        return f"keeps the quality of {always} ({line.single_quality:.2f}) for {share} of its cost: {dollars}"
    if line.high >= 0:
        different = f"at a quality that is not measurably different ({against})"
        return f"costs {share} of what {always} costs, {different}: {dollars}"
    return f"is cheaper than {always} ({dollars}), but measurably worse: its quality is {against}"


def _quality(report: Report) -> str:
    ours = report.methods[0]
    gap = report.oracle_quality - report.best_single_quality
    values = f"{ours.quality:.3f} against {report.best_single_quality:.3f}"
    perfect = f"a perfect choice for every prompt would reach {report.oracle_quality:.2f}"
    results = {v.result for v in report.verdicts if v.against == HINDSIGHT and v.figure == "quality"}
    start = "Where only quality counts, routing "
    always = f"always using {report.best_single}"
    if "better" in results and gap > 0:
        share = _percent((ours.quality - report.best_single_quality) / gap)
        way = f"{share} of the way to a perfect choice for every prompt ({report.oracle_quality:.2f})"
        return f"{start}is better than {always}: {values}, {way}."
    if "worse" in results:
        return f"{start}does not pay: it is worse than {always} ({values}); {perfect}."
    return f"{start}is neither measurably better nor worse than {always} ({values}); {perfect}."


def _where_not(report: Report, line: BottomLine) -> str:
    always = f"always using {line.single}"
    domains = len(report.domains)
    if domains < 2:
        return "The prompts are of one kind (domain), so this report cannot say where routing pays less."
    if not line.worse_in:
        return f"In none of the {domains} kinds of prompts (domains) is routing measurably worse than {always}."
    named = [
        f"{domain.name or 'no domain'} ({domain.routed:.2f} instead of {domain.single:.2f}, {domain.prompts:,} prompts)"
        for domain in line.worse_in[:_MOST_DOMAINS]
    ]
    more = len(line.worse_in) - len(named)
    listed = ", ".join([*named, *([f"{more} more"] if more else [])])
    return f"Routing does not pay on these kinds of prompts (domains), where {always} is measurably better: {listed}."


def _signed(difference: float) -> str:
    # Adding 0 turns a negative zero into 0.
    return f"{round(difference, 3) + 0.0:+.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
