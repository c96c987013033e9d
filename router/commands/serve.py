"""`route serve`: the gateway."""

from __future__ import annotations

from typing import Annotated

import typer

from router.commands import options

DEFAULT_PORT = 8686


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    artifact: options.Artifact = None,
    host: Annotated[str, typer.Option("--host", help="Loopback address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = DEFAULT_PORT,
) -> None:
    """Run the gateway that OpenAI clients can use as their base URL."""
    from router.dispatch.reach import unavailable_cards
    from router.gateway.serve import serve as run

    router = options.load_router(cards, policies, artifact)
    ready = len(router.catalog) - len(unavailable_cards(router.catalog))

    def announce() -> None:
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"{ready} of {len(router.catalog)} cards can be called now (`route doctor` says why)")
        typer.echo(f'Point a client at it: base_url="http://{shown}:{port}/v1", model="auto"')

    run(router, host, port, when_ready=announce)
