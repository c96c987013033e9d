"""`route serve`: the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router import settings
from router.commands import options

GatewayFile = Annotated[
    Path | None, typer.Option("--gateway", help="The gateway's own settings.", show_default="./gateway.yaml, if any")
]
KeysFile = Annotated[Path | None, typer.Option("--keys", help="The clients' keys.", show_default="./keys.yaml, if any")]
Store = Annotated[
    Path | None,
    typer.Option("--store", help="Folder of records and counters.", show_default="the user's state folder"),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    artifact: options.Artifact = None,
    gateway: GatewayFile = None,
    keys: KeysFile = None,
    store: Store = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; beyond this machine only with keys.")
    ] = settings.DEFAULT_HOST,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = settings.DEFAULT_PORT,
    workers: Annotated[int, typer.Option("--workers", min=1, max=256, help="Processes that share the port.")] = 1,
    drain_s: Annotated[
        float, typer.Option("--drain", min=0, help="Seconds of /readyz saying 503 before SIGTERM takes effect.")
    ] = 2.0,
    records: Annotated[bool, typer.Option(help="Keep a record of every request.")] = True,
    access_log: Annotated[bool, typer.Option(help="Write a line of JSON for every request.")] = True,
) -> None:
    """Run the gateway that OpenAI and Anthropic clients can use as their base URL."""
    from router.gateway.server.serve import Serving
    from router.gateway.server.serve import serve as run

    sources = options.load_sources(cards, policies, gateway, keys)
    serving = Serving(
        sources=sources,
        artifact=artifact or settings.default_artifact_folder(),
        store=store or settings.default_store_folder(),
        records=records,
        host=host,
        port=port,
        workers=workers,
        drain_s=drain_s,
        access_log=access_log,
    )
    run(serving, tell=_tell)


def _tell(line: str) -> None:
    typer.echo(line, err=True)
