"""`route serve`: run the gateway."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from router import settings
from router.commands import options
from router.errors import CallerError
from router.garbage import search_paused

GatewayFile = Annotated[
    Path | None, typer.Option("--gateway", help="Settings of the gateway.", show_default="./gateway.yaml, if it exists")
]
KeysFile = Annotated[
    Path | None, typer.Option("--keys", help="API keys of the clients.", show_default="./keys.yaml, if it exists")
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store", help="Folder for records, budgets and conversations.", show_default="the user's state folder"
    ),
]
State = Annotated[
    str | None,
    typer.Option(
        "--state",
        help="URL of a Redis or Valkey server for budgets, rate limits and conversations of several gateways.",
        show_default="PULVINAR_STATE, else the store",
    ),
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
    state: State = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on. Addresses beyond this machine require API keys.")
    ] = settings.DEFAULT_HOST,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = settings.DEFAULT_PORT,
    uds: Annotated[
        Path | None,
        typer.Option("--uds", help="Listen on a unix socket at this path instead.", show_default="no socket"),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=256, help="Number of worker processes that share the port.")
    ] = 1,
    drain_s: Annotated[
        float, typer.Option("--drain", min=0, help="Seconds between SIGTERM, when /readyz turns 503, and the shutdown.")
    ] = 2.0,
    records: options.Records = None,
    no_records: Annotated[bool, typer.Option("--no-records", help="Record no request.")] = False,
    access_log: Annotated[bool, typer.Option(help="Write a line of JSON per request to standard output.")] = True,
) -> None:
    """Run the gateway. OpenAI and Anthropic clients use it as their base URL."""
    from router.gateway.server.workers import SHARED, start_sharing

    if workers > 1:
        # Before this process imports the same.
        start_sharing(SHARED)
    # Until the gateway is ready, which ends the pause. Workers share what one process has loaded before.
    with search_paused("start") if workers == 1 else contextlib.nullcontext():
        from router.gateway.server.serve import ServeOptions
        from router.gateway.server.serve import serve as run

        if records is not None and no_records:
            raise CallerError("--records and --no-records contradict each other")
        _warn_of_password("--records", records, "in PULVINAR_RECORDS, or the password in PGPASSWORD or ~/.pgpass")
        _warn_of_password("--state", state, "in PULVINAR_STATE")
        sources = options.load_sources(cards, policies, gateway, keys)
        serve_options = ServeOptions(
            sources=sources,
            artifact=artifact or settings.default_artifact_folder(),
            store=store or settings.default_store(),
            state=state or settings.default_state(),
            records=not no_records,
            records_url=None if no_records else records or settings.default_records(),
            host=host,
            port=port,
            uds=uds,
            workers=workers,
            drain_s=drain_s,
            access_log=access_log,
        )
        run(serve_options, notify=_print_to_stderr)


def _print_to_stderr(line: str) -> None:
    # A log on a full disk, or whose reader has gone, stops no gateway.
    with contextlib.suppress(OSError):
        typer.echo(line, err=True)


def _warn_of_password(option: str, url: str | None, instead: str) -> None:
    from router.store.records.postgres.address import without_password

    if url is not None and without_password(url) != url:
        _print_to_stderr(f"the password in {option} can be seen by other users of this machine (`ps`); state the URL")
        _print_to_stderr(instead)
