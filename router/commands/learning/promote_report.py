"""The text that `route promote` prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from router.commands.render import console, table
from router.formats.units import show_usd_per_1000

if TYPE_CHECKING:
    from rich.console import Console

    from router.analysis.promotion import Budget, Means, Promotion
    from router.analysis.route_flips import RouteFlips

_NUMBERS = ("prompts", "old", "new", "difference", "negative", "positive")


def print_promotion(result: Promotion, budget: Budget, routed: RouteFlips | str, write: Path | None) -> None:
    """Print the figures, the domains, what routing does, and the verdict at the end."""
    out, flips = console(), result.flips
    left_out = f" ({result.left_out:,} left out: only one of the two was run on them)" if result.left_out else ""
    out.print(f"{escape(result.new)} in the place of {escape(result.old)}")
    out.print(f"{escape(result.source)}: {flips.prompts:,} prompts{left_out}\n")
    shown = table("", "share", "prompts", "95 %", right=("share", "prompts", "95 %"))
    low, high = flips.difference_ci95
    shown.add_row("right before", f"{flips.old_accuracy:.2%}", f"{flips.both_right + flips.negative:,}", "")
    shown.add_row("right now", f"{flips.new_accuracy:.2%}", f"{flips.both_right + flips.positive:,}", "")
    change = f"{flips.positive - flips.negative:+,}"
    shown.add_row("difference", f"{flips.difference:+.2%}", change, f"{low:+.2%} to {high:+.2%}")
    low, high = flips.negative_ci95
    interval = f"{low:.2%} to {high:.2%}"
    shown.add_row(
        "negative flips: right before, wrong now", f"{flips.negative_share:.2%}", f"{flips.negative:,}", interval
    )
    shown.add_row("positive flips: wrong before, right now", f"{flips.positive_share:.2%}", f"{flips.positive:,}", "")
    if result.wrong_changed is not None:
        share = result.wrong_changed / flips.prompts
        shown.add_row("wrong before and now, another answer", f"{share:.2%}", f"{result.wrong_changed:,}", "")
    shown.add_row("right before that stays right (BTC)", _share(flips.btc), "", "")
    shown.add_row("mistakes now that are old ones (BEC)", _share(flips.bec), "", "")
    out.print(shown)
    _print_graded(out, result)
    _print_means(out, "cost per 1,000", result.cost_usd, show_usd_per_1000)
    _print_means(out, "output tokens", result.output_tokens, lambda tokens: f"{tokens:,.0f}")
    _print_routed(out, routed)
    _print_domains(out, result)
    _print_verdict(out, result, budget, write)


def _share(share: float | None) -> str:
    return "?" if share is None else f"{share:.1%}"


def _print_graded(out: Console, result: Promotion) -> None:
    graded = result.graded
    if graded is None:
        return
    low, high = graded.difference_ci95
    out.print(
        f"mean score: {graded.old:.3f} before, {graded.new:.3f} now ({graded.difference:+.3f}, 95 % {low:+.3f} to "
        f"{high:+.3f}); {graded.gain:.3f} gained and {graded.loss:.3f} lost"
    )


def _print_means(out: Console, name: str, means: Means | None, show: Callable[[float], str]) -> None:
    if means is None:
        return
    change = "" if means.change is None else f" ({means.change:+.1%})"
    of = f", {means.prompts:,} prompts"
    out.print(f"{name}: {show(means.old)} before, {show(means.new)} now{change}{of}")


def _print_routed(out: Console, routed: RouteFlips | str) -> None:
    if isinstance(routed, str):
        out.print(f"route flips: unknown, {escape(routed)}")
        return
    out.print(
        f"route flips: {routed.flips:,} of {routed.prompts:,} prompts ({routed.share:.1%}) are sent elsewhere under "
        f"policy {escape(routed.policy)}",
        soft_wrap=True,
    )
    old_ones = routed.taken_over + routed.lost
    if not routed.flips and not old_ones:
        out.print("  neither of the two is chosen for any of them (--policy, --flags, --cards change the candidates)")
        return
    out.print(
        f"  {routed.taken_over:,} of the old card's {old_ones:,} are taken over, {routed.lost:,} go to others; "
        f"{routed.won:,} come from others, {routed.other:,} move between others"
    )
    if routed.compared:
        out.print(f"  of the {routed.compared:,} flips whose cards both have scores, {routed.worse:,} score lower now")


def _print_domains(out: Console, result: Promotion) -> None:
    if not result.domains:
        return
    out.print()
    shown = table("domain", *_NUMBERS, "", right=_NUMBERS)
    for line in result.domains:
        flips = line.flips
        shown.add_row(
            escape(line.domain or "(none)"),
            f"{flips.prompts:,}",
            f"{flips.old_accuracy:.1%}",
            f"{flips.new_accuracy:.1%}",
            f"{flips.difference:+.1%}",
            f"{flips.negative_share:.1%}",
            f"{flips.positive_share:.1%}",
            "measurably worse" if line.is_worse else "",
        )
    out.print(shown)


def _print_verdict(out: Console, result: Promotion, budget: Budget, write: Path | None) -> None:
    out.print()
    if not result.promoted:
        out.print("[bold red]refused[/]")
        for reason in result.refusals:
            out.print(f"• {escape(reason)}", soft_wrap=True)
        if write is not None:
            out.print(f"{escape(str(write))}: unchanged")
        return
    out.print("[bold green]promoted[/]")
    if budget.negative_share is None:
        out.print("• no budget of negative flips was given (--max-negative-flips 2%)")
    if result.flips.difference_ci95[0] <= 0 <= result.flips.difference_ci95[1]:
        out.print("• the interval of the difference contains 0: neither measurably better nor worse")
    if write is not None:
        out.print(f"{escape(str(write))}: lineage.state is promoted")
