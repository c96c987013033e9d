"""`route cards fit-latency`: how much slower than the roofline each card's server is, from recorded times."""

from __future__ import annotations

from typing import Annotated

import typer

from router import settings
from router.commands import options
from router.commands.history.stores import Store, read_records
from router.errors import CallerError


def register(app: typer.Typer) -> None:
    """Add the command to `route cards`."""
    app.command("fit-latency")(fit)


def fit(
    last: Annotated[int, typer.Option("--last", min=1, help="Newest records to read.")] = 100_000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the fit, and write nothing.")] = False,
    cards: options.Cards = None,
    store: Store = None,
    records_url: options.Records = None,
    as_json: options.Json = False,
) -> None:
    """Fit the estimated latency of cards to the recorded times of their streams.

    The factors are written to latency.json in the evidence folder, which a running gateway loads. Latency that a card
    states is used as it is.
    """
    from router.analysis.latency_fit import fit_latency, speeds_of
    from router.cards.machine.speeds import FILE_NAME, write_speeds
    from router.formats.files import replace_file

    records = read_records(store, records_url)
    if records is None:
        raise typer.Exit(CallerError.exit_code)
    catalog = options.load_cards(cards)
    with records:
        fits = fit_latency(records.tail(last, prompts=False), catalog)
    speeds = speeds_of(fits, catalog)
    file = settings.default_evidence_folder() / FILE_NAME
    if fits and not dry_run:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, write_speeds(speeds))
    if as_json:
        options.print_json({"fits": fits, "cards": speeds, "written": None if dry_run or not fits else str(file)})
        return
    if not fits:
        typer.echo("no card has measured streams of at least 8 tokens, and a size or a shape (arch) to estimate from")
        return
    from rich.markup import escape

    from router.commands.render import console, table

    columns = ("requests", "first token", "further tokens", "error before", "after")
    shown = table("card", *columns, right=columns)
    for each in fits:
        speed = each.speed
        shown.add_row(
            escape(each.card),
            f"{speed.requests:,}",
            f"x {speed.first:.3g}",
            f"x {speed.further:.3g}",
            f"{each.error_before:.0%}",
            f"{each.error_after:.0%}",
        )
    console().print(shown)
    typer.echo("nothing written (--dry-run)" if dry_run else f"{file}: {len(speeds)} card{'s' * (len(speeds) != 1)}")
