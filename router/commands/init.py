"""`route init`: copies of the cards and policies, to edit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from router import settings
from router.errors import CallerError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def init(
    folder: Annotated[Path, typer.Argument(help="Where to put model_cards/ and policies/.")] = Path(),
) -> None:
    """Copy the cards and policies that came with the package, to edit. Nothing is ever overwritten."""
    sources = {"model_cards": settings.shipped_cards_folder(), "policies": settings.shipped_policies_folder()}
    for name in sources:
        if (folder / name).exists():
            raise CallerError(f"{folder / name} already exists; move it away, or name another folder: route init DIR")
    for name, source in sources.items():
        shutil.copytree(source, folder / name)
        count = len(list((folder / name).glob("*.yaml")))
        typer.echo(f"{folder / name}: {count} files")
    typer.echo(f"Edit them; every `route` command run in {folder.resolve()} reads them.")
