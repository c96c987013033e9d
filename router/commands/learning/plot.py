"""The plot of a Pareto front as PNG, SVG or HTML (extra `plot`)."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from pathlib import Path

from router.analysis.pareto import Point
from router.errors import ConfigurationError, MissingExtraError

_AXES = {
    "cheapest": ("mean cost in USD per 1,000 requests", 1e3),
    "fastest": ("mean latency in s", 1e-3),
    "smallest": ("mean size in B parameters", 1e-9),
}


def write_plot(file: Path, points: Sequence[Point], goal: str, title: str) -> None:
    """Write a PNG, SVG or HTML file, according to its suffix. Raises MissingExtraError without matplotlib."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtraError("matplotlib", "plot", "a plot") from None
    label, scale = _AXES[goal]
    placed = [(point.value * scale, point) for point in points if point.value is not None]
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    xs = [x for x, _ in placed]
    axes.plot(xs, [point.quality for _, point in placed], "o-", color="#1f6f8b", label="forecast")
    measured = [(x, point.measured_quality) for x, point in placed if point.measured_quality is not None]
    if measured:
        axes.plot(*zip(*measured, strict=True), "s--", color="#c8553d", label="measured")
        axes.legend()
    leading = ""
    for x, point in placed:
        if point.cards[0][0] != leading:
            leading = point.cards[0][0]
            axes.annotate(f" {leading}", (x, point.quality), fontsize=8, rotation=20, va="bottom")
    axes.set(xlabel=label, ylabel="quality")
    # A prompt may contain characters that no font has, and dollar signs, which must not be read as mathematics.
    printable = "".join(character if character.isprintable() else " " for character in title)
    axes.set_title(printable if len(printable) < 70 else f"{printable[:67]}…", parse_math=False)
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    try:
        if file.suffix.lower() == ".html":
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg")
            file.write_text(_page(buffer.getvalue(), points, label, scale, title), encoding="utf-8")
        else:
            figure.savefig(file, dpi=150)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from None
    finally:
        pyplot.close(figure)


def _page(svg: str, points: Sequence[Point], label: str, scale: float, title: str) -> str:
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{html.escape(cell)}</td>"
            for cell in (
                f"{point.weight:g}",
                f"{point.quality:.4f}",
                "" if point.measured_quality is None else f"{point.measured_quality:.4f}",
                "?" if point.value is None else f"{point.value * scale:.4g}",
                ", ".join(f"{card} {share:.0%}" for card, share in point.cards),
            )
        )
        + "</tr>"
        for point in points
    )
    heads = "".join(f"<th>{html.escape(head)}</th>" for head in ("λ", "quality", "measured", label, "cards"))
    style = "body{font:15px system-ui;max-width:60em;margin:2em auto}td,th{padding:.2em .8em;text-align:left}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{style}</style><body><h1>{html.escape(title)}</h1>{svg[svg.index('<svg') :]}"
        f"<table><tr>{heads}</tr>{rows}</table></body></html>\n"
    )
