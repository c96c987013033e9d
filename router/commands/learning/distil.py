"""`route distil`: distil the static encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router.commands import options


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("distil")(distil)


def distil(
    out: Annotated[Path, typer.Option("--out", help="Folder for the encoder.")],
    engine_name: options.EngineName = "local",
    as_json: options.Json = False,
) -> None:
    """Distil the static encoder again; takes about an hour (extras `train` and `distil`)."""
    from router.learn.encoder.distil import distil as run
    from router.learn.engine import open_engine

    with open_engine(engine_name) as engine:
        card = run(out, engine=engine)
    if as_json:
        options.print_json(card)
    else:
        typer.echo(f"{out}: {card.tokens} tokens × {card.dimensions} dimensions")
