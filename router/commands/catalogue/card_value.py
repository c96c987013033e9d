"""`route cards value`: what each card adds to the others, on a data set with outcomes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.errors import CallerError

if TYPE_CHECKING:
    from router.analysis.card_value import ValueReport

_SHOWN_PAIRS = 8
_SUFFIXES = (".png", ".svg")


def register(app: typer.Typer) -> None:
    """Add the command to the group `cards`."""
    app.command("value")(value)


def value(
    data: Annotated[Path, typer.Argument(help="Folder of a routing data set.")],
    most: Annotated[int, typer.Option("--most", min=1, max=20, help="Size of the greatest set of cards.")] = 5,
    budget_usd: Annotated[
        float | None, typer.Option("--budget-usd", min=0, help="Most that a call may cost on average, in dollars.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option("--prices", help="JSON file of list prices, for a set that records no costs.")
    ] = None,
    aliases: Annotated[
        Path | None, typer.Option("--aliases", help="JSON file with other names of the columns.")
    ] = None,
    only: Annotated[str, typer.Option("--only", help="Compare only these columns, separated by commas.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write a picture: .png or .svg (requires the extra `plot`).")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Print which cards add nothing, which pairs complement each other, and the best few cards for a budget."""
    import numpy as np

    from router.analysis.card_value import card_values
    from router.learn.data import load_set
    from router.learn.data.list_prices import costs_of, read_prices
    from router.learn.data.routing_set import read_aliases
    from router.loading import load_encoder
    from router.settings import STATIC_ENCODER

    if out is not None and out.suffix.lower() not in _SUFFIXES:
        raise CallerError(f"--out must end in {' or '.join(_SUFFIXES)}; got {out.name}")
    outcomes = load_set(data, None if aliases is None else read_aliases(aliases))
    if only:
        outcomes = outcomes.columns(_named(only, outcomes.models))
    stated = None if prices is None else read_prices(prices)
    cost_usd, source = costs_of(outcomes, load_encoder(STATIC_ENCODER), stated)
    report = card_values(
        outcomes.models, outcomes.scores.astype(np.float64), cost_usd, most_cards=most, budget_usd=budget_usd
    )
    if out is not None:
        from router.commands.catalogue.card_value_plot import write_picture

        write_picture(out, report, outcomes.name)
    if as_json:
        options.print_json(report)
        return
    _print(report, outcomes.name, source, budget_usd)
    if out is not None:
        typer.echo(f"picture: {out}", err=True)


def _named(text: str, known: tuple[str, ...]) -> list[str]:
    from router.errors import did_you_mean

    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in known:
            raise CallerError(f'--only: the set has no column "{name}"{did_you_mean(name, known)}')
    return names


def _print(report: ValueReport, name: str, costs: str, budget_usd: float | None) -> None:
    from rich.markup import escape

    from router.commands.render import console, table
    from router.formats.units import show_usd_per_1000

    out = console()
    left_out = f" ({report.left_out:,} left out: not every card was run on them)" if report.left_out else ""
    out.print(
        f"{escape(name)}: {report.prompts:,} prompts{left_out}, {len(report.cards)} cards; "
        f"the best card for every prompt would score {report.oracle:.3f}\ncosts: {escape(costs)}\n"
    )

    def money(usd: float | None) -> str:
        return "?" if usd is None else show_usd_per_1000(usd)

    shown = table("card", "quality", "value", "95 %", "only right", "per 1,000", "", right=_RIGHT)
    for card in report.cards:
        low, high = card.value_ci95
        note = f"same outcomes as {card.twin}" if card.twin else "adds nothing" if card.adds_nothing else ""
        shown.add_row(
            escape(card.card),
            f"{card.quality:.3f}",
            f"{card.value:.4f}",
            f"{low:.4f} – {high:.4f}",
            f"{card.only_right:.1%}",
            money(card.cost_usd),
            escape(note),
        )
    out.print(shown)
    best = next(card.quality for card in report.cards if card.card == report.best_single)
    pairs = [pair for pair in report.pairs if pair.quality > best][:_SHOWN_PAIRS]
    if pairs:
        out.print(f"\npairs that together could exceed the best card ({escape(report.best_single)}, {best:.3f}):")
        shown = table("first", "second", "together", "gain", "first better", "second better", right=_PAIR_RIGHT)
        for pair in pairs:
            cells = (f"{pair.quality:.3f}", f"{pair.gain:.3f}", f"{pair.first_better:.0%}", f"{pair.second_better:.0%}")
            shown.add_row(escape(pair.first), escape(pair.second), *cells)
        out.print(shown)
    within = "" if budget_usd is None else f" for at most {show_usd_per_1000(budget_usd)} per 1,000 requests"
    out.print(f"\nthe best cards to keep{within}:")
    shown = table("cards", "quality", "per 1,000", "which", right=("cards", "quality", "per 1,000"))
    for chosen in report.chosen:
        which = escape(", ".join(chosen.cards))
        shown.add_row(str(len(chosen.cards)), f"{chosen.quality:.3f}", money(chosen.cost_usd), which)
    out.print(shown)
    out.print(
        "\nAll qualities of several cards are those of an oracle: no router reaches them, `route eval` measures one."
    )


_RIGHT = ("quality", "value", "95 %", "only right", "per 1,000")
_PAIR_RIGHT = ("together", "gain", "first better", "second better")
