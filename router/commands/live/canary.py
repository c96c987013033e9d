"""`route canary`: let a card answer a share of another's conversations, watch how it does, and roll it back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router.commands import options
from router.commands.live.shared_state import State, Store, with_state
from router.errors import CallerError

if TYPE_CHECKING:
    from router.cards import Catalog
    from router.cards.adapter.canary import Canary

app = typer.Typer(help="Let a card answer a share of another's conversations.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the command group."""
    parent.add_typer(app, name="canary")


@app.command("start")
def start(
    file: Annotated[Path, typer.Argument(help="Card file of the canary.")],
    of: Annotated[str, typer.Option("--of", help="Card of whose conversations it takes a share.")],
    share: Annotated[str, typer.Option("--share", help="The share, such as 5%.")] = "5%",
    cards: options.Cards = None,
    store: Store = None,
    state: State = None,
) -> None:
    """Set lineage.state, of and share in a card's file, and begin its trial anew. A running gateway follows."""
    from router.cards.schema import Card
    from router.formats.quantities import Share, read_quantity
    from router.formats.yaml.edit import set_in_mapping
    from router.formats.yaml.file import load

    card, _ = load(file, Card, "a card (keys and values)")
    try:
        percent = f"{100 * read_quantity(Share, share):.12g}%"
    except ValueError as error:
        raise CallerError(f"--share: {error}") from None
    old = options.load_cards(cards or file.parent).named(of)
    if old.id == card.id:
        raise CallerError(f"--of: {of} is the card itself; name the one whose place it may take")
    set_in_mapping(file, "lineage", {"of": old.id, "share": percent, "state": "canary"})
    with_state(store, state, lambda opened: opened.restart_trial((card.id, old.id)))
    typer.echo(f"{file}: {card.id} takes {percent} of the conversations of {old.id}")


@app.command("status")
def status(
    cards: options.Cards = None, store: Store = None, state: State = None, as_json: options.Json = False
) -> None:
    """Print how the canaries do beside the cards whose conversations they share."""
    import msgspec

    from router.analysis.canary_trial import ALPHA, e_value
    from router.store.state.protocol import TrialCounts

    catalog = options.load_cards(cards)
    trials = {(each.card, each.of): each for each in with_state(store, state, lambda opened: opened.trials())}
    rows: list[dict[str, Any]] = []
    for trial, canary in _canaries(catalog).items():
        counts = trials.get(trial) or TrialCounts(*trial)
        evidence = e_value(counts.new, counts.new_bad, counts.old, counts.old_bad)
        rows.append({**msgspec.structs.asdict(counts), "share": canary.share, "evidence": evidence})
    if as_json:
        options.print_json(rows)
        return
    if not rows:
        typer.echo("no card has lineage.state: canary (route canary start CARD.yaml --of OLD)")
        return
    from rich.markup import escape

    from router.commands.history.records import show_time
    from router.commands.render import console, table

    numbers = ("share", "answers", "bad", "of OLD", "bad of OLD", "evidence")
    shown = table("canary", "of", *numbers, "state", right=numbers)
    for row in rows:
        shown.add_row(
            escape(row["card"]),
            escape(row["of"]),
            f"{100 * row['share']:.4g}%",
            f"{row['new']:,}",
            f"{row['new_bad']:,}",
            f"{row['old']:,}",
            f"{row['old_bad']:,}",
            f"{row['evidence']:.3g}",
            f"rolled back {show_time(row['stopped_s'])}" if row["stopped"] else "running",
        )
    console().print(shown)
    for row in rows:
        if row["stopped"]:
            typer.echo(f"{row['card']}: {row['stopped']}")
    typer.echo(f"A canary is rolled back when the evidence that it is worse reaches {1 / ALPHA:.0f}.")


@app.command("rollback")
def rollback(
    name: Annotated[str, typer.Argument(help="Id or alias of the canary.")],
    why: Annotated[str, typer.Option("--why", help="The reason, for route canary status.")] = "by the operator",
    cards: options.Cards = None,
    store: Store = None,
    state: State = None,
) -> None:
    """Send all conversations to the old card again. All workers follow within about a second."""
    import time

    catalog = options.load_cards(cards)
    card = catalog.named(name)
    trial = next((trial for trial in _canaries(catalog) if trial[0] == card.id), None)
    if trial is None:
        raise CallerError(f"{card.id} is no canary: its lineage.state is not canary")
    is_first = with_state(store, state, lambda opened: opened.stop_trial(trial, why, time.time()))
    typer.echo(f"{card.id} {'is' if is_first else 'was already'} rolled back to {trial[1]}")


def _canaries(catalog: Catalog) -> dict[tuple[str, str], Canary]:
    """The canaries by the ids of both cards, without their efforts."""
    return {canary.trial: canary for canary in catalog.canaries.values() if canary.card == canary.trial[0]}
