"""Tables for people: the decision, the catalogue, a report."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from router.cards import units

if TYPE_CHECKING:
    from router.cards import Card
    from router.learn.evaluate import Report
    from router.types import Candidate, Decision

_PIPE_WIDTH = 160


def console() -> Console:
    """Standard output. A pipe has no width, so tables are not squeezed there."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(width=width, highlight=False, soft_wrap=not sys.stdout.isatty())


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """An empty table; the columns in `right` are numbers."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        numeric = column in right
        made.add_column(column, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    return made


def print_decision(decision: Decision, top: int, explain: bool) -> None:
    """The chosen card, why, and the next best."""
    out = console()
    best: Candidate = decision.candidates[0]
    out.print(f"[bold green]{escape(decision.card)}[/]  {_why(best)}")
    if decision.flags:
        out.print(f"flags     {escape(decision.flags)}")
    for name, texts in (("binding", decision.binding), ("relaxed", decision.relaxed)):
        if texts:
            out.print(f"{name}   {escape(', '.join(texts))}")
    out.print()
    parts = list(best.parts) if explain else []
    columns = ("card", "score", "quality", "±", "cost", "latency", *(f"+{part}" for part in parts))
    shown = table(*columns, right=columns[1:])
    for candidate in decision.candidates[:top]:
        shown.add_row(
            escape(candidate.card),
            f"{candidate.score:.3f}",
            f"{candidate.quality:.2f}",
            f"{candidate.quality_std:.2f}",
            "?" if candidate.cost_usd is None else units.show_usd(round(candidate.cost_usd, 7)),
            "?" if candidate.latency_ms is None else units.show_milliseconds(candidate.latency_ms),
            *(f"{candidate.parts[part]:.3f}" for part in parts),
        )
    out.print(shown)
    hidden = len(decision.candidates) - top
    if hidden > 0:
        out.print(f"… and {hidden} more candidates (--top {len(decision.candidates)})")
    if explain:
        out.print("\nA score is the sum of its parts; the lowest wins.")
        _print_rejections(out, decision)
    elif decision.rejections:
        out.print(f"{len(decision.rejections)} cards rejected (--explain says why)")
    out.print(f"\n[dim]policy {decision.policy} · artifact {decision.artifact}[/]")


def _why(best: Candidate) -> str:
    cost = "unknown" if best.cost_usd is None else units.show_usd(round(best.cost_usd, 7))
    return f"quality {best.quality:.2f} ± {best.quality_std:.2f}, cost {cost}"


def _print_rejections(out: Console, decision: Decision) -> None:
    if not decision.rejections:
        return
    out.print()
    shown = table("rejected", "limit", "reason")
    for card, rejection in decision.rejections.items():
        shown.add_row(escape(card), escape(rejection.limit), escape("; ".join((rejection.reason, *rejection.also))))
    out.print(shown)


def print_cards(cards: Sequence[Card], measured: Sequence[bool]) -> None:
    """One line a card."""
    shown = table(
        "card",
        "provider",
        "size",
        "context",
        "input $/M",
        "output $/M",
        "released",
        "ability",
        right=("size", "context", "input $/M", "output $/M"),
    )
    for card, known in zip(cards, measured, strict=True):
        shown.add_row(
            escape(card.id),
            card.provider,
            units.show_parameters(card.size.total) if card.size else "?",
            units.show_tokens(card.context_tokens) if card.context_tokens else "?",
            f"{card.price.input_usd:g}" if card.price else "?",
            f"{card.price.output_usd:g}" if card.price else "?",
            card.released.isoformat()[:7] if card.released else "?",
            "measured" if known else "prior",
        )
    console().print(shown)


def print_report(report: Report) -> None:
    """The methods of an evaluation, side by side."""
    out = console()
    out.print(
        f"[bold]{escape(report.data_set)}[/]: {report.prompts} prompts, {report.models} models, {report.protocol}; "
        f"best single model {escape(report.best_single)} ({report.best_single_quality:.4f}), "
        f"oracle {report.oracle_quality:.4f}\n"
    )
    figures = (
        "auc",
        "quality",
        "selection_accuracy",
        "regret",
        "captured",
        "brier",
        "ece",
        "cost_95",
        "cost_99",
    )
    headers = ("AUC", "quality", "selection", "regret", "captured", "Brier", "ECE", "cost@95", "cost@99")
    shown = table("method", *headers, right=headers)
    for line in report.methods:
        values = (getattr(line, figure) for figure in figures)
        shown.add_row(escape(line.method), *("" if value is None else f"{value:.4f}" for value in values))
    out.print(shown)
    for reason in report.skipped:
        out.print(f"skipped: {escape(reason)}")
