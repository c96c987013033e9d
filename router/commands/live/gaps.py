"""`route gaps`: kinds of prompt that come again and again and are unlike everything that the predictor learned from."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.commands.history import stores
from router.commands.history.savings import read_since

if TYPE_CHECKING:
    from router.analysis.gaps import Gaps


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command("gaps")(gaps)


def gaps(
    since: Annotated[
        str, typer.Option("--since", help="Only requests since then: 7d, or a date such as 2026-11-01 (UTC).")
    ] = "7d",
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    artifact: options.Artifact = None,
    store: stores.Store = None,
    records_url: options.Records = None,
    as_json: options.Json = False,
) -> None:
    """Print groups of novel prompts, the best card for each today, and what an adapter would be worth."""
    from router import Router
    from router.analysis.gaps import gaps_of
    from router.store.records.snapshots import CatalogSnapshot

    start_s, now_s = read_since(since), time.time()
    recorded = stores.read_records(store, records_url)
    if recorded is None:
        return
    router = Router.default(cards, policies, artifact)
    with recorded:
        found = gaps_of(recorded, start_s, now_s, CatalogSnapshot(router.catalog, router.evidence), router.predictor)
    if as_json:
        options.print_json(found)
    else:
        _print(found)


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
