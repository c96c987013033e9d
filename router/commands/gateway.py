"""`route gateway`: check what `route serve` would read, and describe `gateway.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router.commands import options

app = typer.Typer(help="Check what the gateway would read, and the schema of gateway.yaml.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the command group."""
    parent.add_typer(app, name="gateway")


@app.command("check")
def check(
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    gateway: Annotated[
        Path | None, typer.Option("--gateway", help="The gateway's settings.", show_default="./gateway.yaml")
    ] = None,
    keys: Annotated[Path | None, typer.Option("--keys", help="File of keys.", show_default="./keys.yaml")] = None,
    as_json: options.Json = False,
) -> None:
    """Read cards, policies, settings, keys and evidence as `route serve` does. A fault ends with exit code 3."""
    sources = options.load_sources(cards, policies, gateway, keys)
    said = sources.read()
    counts = {
        "cards": len(said.catalog),
        "policies": len(said.policies),
        "aliases": len(said.config.aliases),
        "keys": len(said.keys),
    }
    if as_json:
        options.print_json({**counts, "fingerprint": sources.fingerprint()})
        return
    found = ", ".join(f"{count} {name}" for name, count in counts.items())
    typer.echo(f"{found}: all of it can be read (fingerprint {sources.fingerprint()})")
    for what, file in (("settings", sources.gateway), ("keys", sources.keys)):
        if not file.exists():
            typer.echo(f"{file} does not exist: {'defaults hold' if what == 'settings' else 'no key is needed'}")


@app.command("schema")
def schema() -> None:
    """The JSON Schema of `gateway.yaml`, for editors."""
    from router.gateway.config.gateway_yaml import json_schema

    options.print_json(json_schema())
