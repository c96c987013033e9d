"""`route serve`: the gateway."""

from __future__ import annotations

from typing import Annotated

import typer

from router import settings
from router.commands import options


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    artifact: options.Artifact = None,
    host: Annotated[str, typer.Option("--host", help="Loopback address to listen on.")] = settings.DEFAULT_HOST,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = settings.DEFAULT_PORT,
) -> None:
    """Run the gateway that OpenAI clients can use as their base URL."""
    from router.gateway.serve import serve as run

    run(options.load_router(cards, policies, artifact), host, port, tell=typer.echo)
