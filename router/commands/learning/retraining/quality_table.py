"""Forecasts before and now, beside the same judgements: a part of what `route train` and `route promote` print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.commands.render import table

if TYPE_CHECKING:
    from rich.console import Console

    from router.learn.traffic.comparison import ForecastComparison, ForecastQuality


def print_comparison(out: Console, comparison: ForecastComparison) -> None:
    """Print the figures of both, and by how much the squared error falls."""
    columns = ("squared error", "log loss", "AUC", "mean forecast")
    shown = table("", *columns, right=columns)
    shown.add_row("before", *_cells(comparison.old))
    shown.add_row("now", *_cells(comparison.new))
    out.print(shown)
    low, high = comparison.gain_ci95
    out.print(
        f"mean judgement {comparison.mean_value:.3f}; squared error less by {comparison.gain:+.4f} "
        f"(95 % {low:+.4f} to {high:+.4f}, drawing {comparison.drawn})\n"
    )


def _cells(quality: ForecastQuality) -> tuple[str, ...]:
    auc = "" if quality.auc is None else f"{quality.auc:.3f}"
    return f"{quality.brier:.4f}", f"{quality.log_loss:.4f}", auc, f"{quality.mean:.3f}"
