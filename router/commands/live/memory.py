"""`route learning`: what the gateway has learned from judged answers, card by card."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router.commands import options
from router.commands.live.shared_state import State, Store, with_state
from router.errors import CallerError, did_you_mean

if TYPE_CHECKING:
    from router.perceive.memory.card import CardMemory
    from router.pipeline import Router
    from router.store.state.protocol import Blob, StateStore


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command("learning")(learning)


def learning(
    key: Annotated[str | None, typer.Option("--key", help="As the forecasts of this key see it.")] = None,
    forget: Annotated[str | None, typer.Option("--forget", metavar="CARD", help="Empty the card's memory.")] = None,
    cards: options.Cards = None,
    artifact: options.Artifact = None,
    store: Store = None,
    state: State = None,
    as_json: options.Json = False,
) -> None:
    """Print what judged answers say about the forecasts of each card, and whether forecasts are corrected by it."""
    blobs, judges = with_state(store, state, lambda opened: _learned(opened, forget))
    if forget is not None:
        typer.echo(f"{forget}: forgotten; running gateways follow within about a second")
        return
    rows = _rows(blobs, _router(cards, artifact), key) if blobs else []
    if as_json:
        options.print_json([*rows, *judges])
    else:
        _print(rows)
        for each in judges:
            typer.echo(
                f"judge {each['card']} of policy {each['policy']}: {each['judged']:,} answers judged, "
                f"{each['unreadable']:,} verdicts unreadable, {each['failed']:,} failed; "
                f"{each['cost_usd']:.4f}$ in all, {each['today_usd']:.4f}$ today"
            )


async def _learned(state: StateStore, forget: str | None) -> tuple[Sequence[Blob], list[dict[str, Any]]]:
    """What was learned, and what judges did. The memory of `forget` is emptied first. Raises
    CallerError.
    """
    from router.gateway.learning.memories import MEMORY, card_of

    blobs = await state.blobs_after(0, MEMORY)
    if forget is not None:
        of_card = [blob for blob in blobs if card_of(blob.name) == forget]
        if not of_card:
            hint = did_you_mean(forget, {card_of(blob.name) for blob in blobs})
            raise CallerError(f'nothing was learned about "{forget}"{hint}')
        for blob in of_card:
            if not await state.swap_blob(_emptied(blob), time.time()):
                raise CallerError(f"a vote on {forget} came at the same moment; try again")
    return blobs, await _judges(state)


async def _judges(state: StateStore) -> list[dict[str, Any]]:
    import msgspec

    from router.gateway.learning.judges import JUDGES, tally_in

    found = []
    for blob in sorted(await state.blobs_after(0, JUDGES), key=lambda blob: blob.name):
        name = blob.name.removeprefix(JUDGES)
        _, policy, card = name.split(":", 2)
        counts = msgspec.structs.asdict(tally_in(blob.content))
        today_usd = await state.spent_usd(name, time.time())
        found.append({"card": card, "state": "judges", "policy": policy, **counts, "today_usd": today_usd})
    return found


def _router(cards: Path | None, artifact: Path | None) -> Router:
    from router.loading import load_router

    return load_router(cards, None, artifact)


def _emptied(blob: Blob) -> Blob:
    import msgspec

    from router.perceive.memory.card import CardMemory
    from router.perceive.memory.stored import to_bytes

    return msgspec.structs.replace(blob, content=to_bytes(CardMemory.empty("")))


def _rows(blobs: Sequence[Blob], router: Router, key: str | None) -> list[dict[str, Any]]:
    from router.gateway.learning.memories import basis_of, card_of
    from router.perceive.memory.stored import from_bytes

    rows = []
    for card, blob in sorted(((card_of(blob.name), blob) for blob in blobs), key=lambda each: (each[0], each[1].name)):
        try:
            memory = from_bytes(blob.content)
        except ValueError as error:
            rows.append({"card": card, "state": f"damaged: it {error}"})
            continue
        position = router.catalog.position(card)
        known = None if position is None else router.catalog[position]
        if known is None:
            rows.append({"card": card, "state": "no such card"})
        elif memory.basis != basis_of(router.predictor.id, known, router.evidence.get(card)):
            rows.append({"card": card, "state": "emptied" if not memory.basis else "void: the card has changed since"})
        else:
            rows.append({"card": card, **_described(memory, key)})
    return rows


def _described(memory: CardMemory, key: str | None) -> dict[str, Any]:
    from router.perceive.memory.card import CHOICES, FAST, SKETCH, SLOW

    view = memory.view(key, time.time())
    row = None if view.choice is None else CHOICES[view.choice][0]
    kind = {None: "nothing", FAST: "recent votes", SLOW: "all votes", SKETCH: "kind of prompt"}[row]
    used = (memory.counts[SKETCH:].sum(axis=1) > 0).sum()
    return {
        "state": "corrects" if view.is_applied else "observes",
        "votes": memory.votes,
        "weight": round(float(memory.counts[SLOW].sum()), 1),
        "keys": len(memory.tenants),
        "cells": int(used),
        "mean_error": round(float(view.means[SLOW]), 4),
        "recent_error": round(float(view.means[FAST]), 4),
        "applied": kind if view.head is None else "fast head, where on",
        "strength": view.strength if view.head is None else 1.0,
        "score": round(view.score, 4),
    }


_COLUMNS = {
    "votes": "votes",
    "weight": "weight",
    "keys": "keys",
    "cells": "cells",
    "mean_error": "mean error",
    "recent_error": "recent",
    "applied": "corrected by",
    "strength": "strength",
    "score": "gain",
}


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape

    from router.commands.render import console, table

    if not rows:
        typer.echo("nothing was learned yet: no answer was judged (POST /v1/feedback)", err=True)
        return
    numbers = tuple(name for name in _COLUMNS.values() if name != "corrected by")
    shown = table("card", "state", *_COLUMNS.values(), right=numbers)
    for row in rows:
        cells = (
            f"{row[name]:+.3f}" if name.endswith("error") or name == "score" else f"{row[name]}" for name in _COLUMNS
        )
        shown.add_row(escape(row["card"]), escape(row["state"]), *(cells if "votes" in row else [""] * len(_COLUMNS)))
    console().print(shown)
