"""`route gaps`: kinds of prompt that come again and again and are unlike everything that the predictor learned from."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.commands.history import stores
from router.commands.history.records import show_time
from router.commands.history.savings import read_since
from router.commands.live.shared_state import State, with_state

if TYPE_CHECKING:
    from router.analysis.gaps import Gaps
    from router.store.state.protocol import StateStore

_WEEK = "7d"


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command("gaps")(gaps)


def gaps(
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            help="Look now, at requests since then: 7d, or a date such as 2026-11-01 (UTC).",
            show_default="what a gateway has found last night, else 7d",
        ),
    ] = None,
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    artifact: options.Artifact = None,
    store: stores.Store = None,
    state: State = None,
    records_url: options.Records = None,
    as_json: options.Json = False,
) -> None:
    """Print groups of novel prompts, the best card for each today, and what an adapter would be worth."""
    from router import Router
    from router.analysis.gaps import gaps_of
    from router.store.records.snapshots import CatalogSnapshot
    from router.store.state.protocol import StateError

    # Other cards, another predictor or other records would have others.
    is_asked = any((since, cards, policies, artifact, records_url))
    result = None
    if not is_asked:
        try:
            result = with_state(store, state, _nightly)
        except StateError as error:
            typer.echo(f"what a gateway has found cannot be read ({error}); looking at the records now", err=True)
    if result is None:
        start_s, now_s = read_since(since or _WEEK), time.time()
        recorded = stores.read_records(store, records_url)
        if recorded is None:
            return
        router = Router.default(cards, policies, artifact)
        snapshot = CatalogSnapshot(router.catalog, router.evidence)
        with recorded:
            result = gaps_of(recorded, start_s, now_s, snapshot, router.predictor)
    elif not as_json:
        typer.echo(
            f"as a gateway found them at {show_time(result.until_s)} UTC, in seven days; --since {_WEEK} looks again"
        )
    if as_json:
        options.print_json(result)
    else:
        _print(result)


async def _nightly(state: StateStore) -> Gaps | None:
    from router.analysis.gaps import NIGHTLY, Gaps
    from router.gateway.learning.periodic import decoded
    from router.store.state.protocol import blob_named

    blob = await blob_named(state, NIGHTLY)
    return None if blob is None else decoded(blob.content, Gaps)[1]


def _print(found: Gaps) -> None:
    from rich.markup import escape

    from router.commands.render import console, table

    out = console()
    share = f", {found.novel / found.read:.0%} of them novel" if found.read else ""
    out.print(f"{found.read:,} of {found.of:,} routed requests read{share}")
    if not found.gaps:
        out.print("no group of prompts is unlike what the predictor was trained on")
        return
    numbers = ("requests a week", "share", "novelty", "forecast", "usual", "worth a week")
    shown = table("prompts", *numbers, "best card", right=numbers)
    for gap in found.gaps:
        shown.add_row(
            escape(", ".join(gap.terms) or f"such as {gap.examples[0]}"),
            f"{gap.weekly:,.0f}",
            f"{gap.share:.1%}",
            f"{gap.novelty:.2f}",
            f"{gap.forecast:.2f}",
            f"{gap.usual:.2f}",
            f"{gap.worth:,.0f} right answers",
            escape(gap.card),
        )
    out.print(shown)
    for gap in found.gaps:
        out.print(escape(gap.proposal))
