"""The heat map of a report: measured and forecast scores of every model on every domain, as a table with numbers.

A table, not a picture: its numbers can be read, copied, and heard by users of a screen reader.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from msgspec import Struct

# Ink on the strongest colour must stay readable on light and on dark pages.
_MOST_COLOUR_PERCENT = 45
_LEAST_SHARE = 0.005


class Cell(Struct, frozen=True):
    """One cell: measured mean (None where not run), forecast mean, share of choices; all in [0, 1]."""

    measured: float | None
    forecast: float
    chosen: float


def heat_map(rows: Sequence[tuple[str, int]], columns: Sequence[str], cells: Sequence[Sequence[Cell]]) -> str:
    """One row for each domain (name, prompts), one column for each model."""
    heads = "".join(f'<th scope="col"><span>{_text(name)}</span></th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row">{_text(name)}<small>{count:,} prompts</small></th>{"".join(map(_cell, row_cells))}</tr>'
        for (name, count), row_cells in zip(rows, cells, strict=True)
    )
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="scores by domain and model"><table class="heat">'
        f'<thead><tr><th scope="col">domain</th>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cell(cell: Cell) -> str:
    percent = 0 if cell.measured is None else round(_MOST_COLOUR_PERCENT * min(max(cell.measured, 0.0), 1.0))
    measured = "not run" if cell.measured is None else f"{cell.measured:.2f}"
    is_chosen = cell.chosen >= _LEAST_SHARE
    chosen = f'<small class="share">chosen {cell.chosen:.0%}</small>' if is_chosen else ""
    style = f"background:color-mix(in srgb,var(--accent) {percent}%,var(--paper))"
    mark = ' class="chosen"' if is_chosen else ""
    return f'<td{mark} style="{style}">{measured}<small>{cell.forecast:.2f}</small>{chosen}</td>'


def _text(text: str) -> str:
    return html.escape("".join(character if character.isprintable() else " " for character in text))
