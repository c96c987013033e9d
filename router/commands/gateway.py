"""`route gateway`: validate the configuration of `route serve`, and print the schema of `gateway.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router.commands import options

app = typer.Typer(help="Validate the gateway's configuration; print the schema of gateway.yaml.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the command group."""
    parent.add_typer(app, name="gateway")


@app.command("check")
def check(
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    gateway: Annotated[
        Path | None, typer.Option("--gateway", help="Settings of the gateway.", show_default="./gateway.yaml")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="API keys of the clients.", show_default="./keys.yaml")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Validate cards, policies, settings, keys and evidence as `route serve` does. Exit code 3 if they are invalid."""
    sources = options.load_sources(cards, policies, gateway, keys)
    parsed = sources.read()
    counts = {
        "cards": len(parsed.catalog),
        "policies": len(parsed.policies),
        "aliases": len(parsed.config.aliases),
        "keys": len(parsed.keys),
    }
    if as_json:
        options.print_json({**counts, "fingerprint": sources.fingerprint()})
        return
    summary = ", ".join(f"{count} {name}" for name, count in counts.items())
    typer.echo(f"{summary}: configuration is valid (fingerprint {sources.fingerprint()})")
    if not sources.gateway.exists():
        typer.echo(f"{sources.gateway} does not exist: default settings apply")
    if not sources.keys.exists():
        typer.echo(f"{sources.keys} does not exist: requests need no API key")


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of `gateway.yaml`, for editors."""
    from router.gateway.config.gateway_yaml import json_schema

    options.print_json(json_schema())
