"""`route init`: copy the package's cards, policies and plans, to edit them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from router import settings
from router.commands import options
from router.errors import CallerError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def init(
    folder: Annotated[
        Path, typer.Argument(help="Folder in which to create model_cards/, policies/ and plans/.")
    ] = Path(),
    as_json: options.Json = False,
) -> None:
    """Copy the package's cards, policies and plans, to edit them. Nothing is overwritten."""
    sources = {
        "model_cards": settings.shipped_cards_folder(),
        "policies": settings.shipped_policies_folder(),
        "plans": settings.shipped_plans_folder(),
    }
    for name in sources:
        if (folder / name).exists():
            raise CallerError(f"{folder / name} already exists; move it, or give another folder: route init FOLDER")
    for name, source in sources.items():
        shutil.copytree(source, folder / name)
    counts = {str(folder / name): len(list((folder / name).glob("*.yaml"))) for name in sources}
    if as_json:
        options.print_json(counts)
        return
    cards, policies, plans = counts.items()
    typer.echo(f"{cards[0]}: {cards[1]} cards and an examples folder\n{policies[0]}: {policies[1]} policies")
    typer.echo(f"{plans[0]}: {plans[1]} plans")
    typer.echo(f"Every `route` command that runs in {folder.resolve()} uses them.")
