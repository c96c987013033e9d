"""`route savings`: what routing cost, and what one model for everything would have cost."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options, records
from router.errors import CallerError

if TYPE_CHECKING:
    from router.analysis.savings import Savings, Side


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("savings")(savings)


def savings(
    since: Annotated[
        str | None, typer.Option("--since", help="Only later ones: 7d, or a date such as 2026-11-01 (UTC).")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Also by day, card, policy or key.")] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", help="The card to compare with.", show_default="the best single model"),
    ] = None,
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    artifact: options.Artifact = None,
    store: records.Store = None,
    as_json: options.Json = False,
) -> None:
    """What routed requests cost, and what the best single model would have cost, with the forecast quality of both."""
    from router import Router
    from router.analysis.savings import savings as compare
    from router.store.records.snapshots import CatalogSnapshot, read_unavailable
    from router.store.records.sqlite import Filter

    start = None if since is None else read_since(since)
    kept = records.open_store(store)
    if kept is None:
        return
    router = Router.default(cards, policies, artifact)

    def unavailable(fingerprint: str) -> dict[str, str]:
        content = kept.snapshot(fingerprint)
        return {} if content is None else dict(read_unavailable(content))

    setting = CatalogSnapshot(router.catalog, router.evidence)
    with kept:
        found = compare(kept.each(Filter(since=start)), setting, router.predictor, unavailable, by=by, against=against)
    if as_json:
        options.print_json(found)
    else:
        _print_savings(found, by)


def read_since(text: str) -> float:
    """`7d` or a date as seconds since 1970. Raises CallerError."""
    from router.formats import units

    try:
        day = datetime.datetime.combine(units.date(text), datetime.time(), datetime.UTC)
    except ValueError:
        pass
    else:
        return day.timestamp()
    try:
        age = datetime.timedelta(days=units.days(text))
        return (datetime.datetime.now(datetime.UTC) - age).timestamp()
    except (ValueError, OverflowError):
        raise CallerError(f"--since takes an age such as 7d or a date such as 2026-11-01, got {text!r}") from None


def _print_savings(found: Savings, by: str | None) -> None:
    from rich.markup import escape

    from router.commands.render import console, table

    out = console()
    out.print(f"{_count(found.requests, 'request')}, {_usd(found.spent_usd)} spent")
    total = found.total
    if total is None:
        out.print("none of them can be compared:")
    else:
        single = f"{found.card} for all" if not found.best else f"{found.card} for all (best single model)"
        rows = [("as routed", total.routed), (single, total.single)]
        if found.thrifty is not None and found.thrifty[0] != found.card:
            rows.append((f"{found.thrifty[0]} for all (best for no more money)", found.thrifty[1]))
        out.print(f"{_count(total.requests, 'routed request')} compared:\n")
        shown = table("", "cost", "a request", "forecast quality", right=("cost", "a request", "forecast quality"))
        for name, side in rows:
            each = _usd(side.cost_usd / total.requests)
            shown.add_row(escape(name), _usd(side.cost_usd), each, f"{side.quality:.3f}")
        out.print(shown)
        out.print(f"\n[bold]{_verdict(total.saved, total.routed, total.single)}[/]")
    if by is not None and found.groups:
        out.print()
        heads = ("requests", "cost", "single's cost", "saved", "quality", "single's quality")
        shown = table(by, *heads, right=heads)
        for line in found.groups:
            saved = "" if line.saved is None else _percent(line.saved)
            costs = (_usd(line.routed.cost_usd), _usd(line.single.cost_usd), saved)
            qualities = (f"{line.routed.quality:.3f}", f"{line.single.quality:.3f}")
            shown.add_row(escape(line.group), str(line.requests), *costs, *qualities)
        out.print(shown)
    for note in _notes(found):
        out.print(f"[dim]• {escape(note)}[/]")


def _verdict(saved: float | None, routed: Side, single: Side) -> str:
    difference = routed.quality - single.quality
    quality = f"{abs(difference):.3f} {'more' if difference >= 0 else 'less'} forecast quality"
    if saved is None:
        return f"the single model costs nothing; {quality}"
    money = single.cost_usd - routed.cost_usd
    word = "saved" if money >= 0 else "more spent"
    return f"{_usd(abs(money))} {word} ({_percent(abs(saved))}), with {quality}"


def _notes(found: Savings) -> list[str]:
    notes = []
    if found.total is not None:
        notes += [
            "A single model counts as having read and written as many tokens as were counted, at its card's price.",
            "Quality is forecast, by the predictor and the cards of now; nobody has graded these answers.",
        ]
    if found.unfit:
        notes.append(
            f"{found.card} could not have served {found.unfit} of them: too long, or with what it does not take."
        )
    if found.unpriced:
        notes.append(f"Without a price, so not compared with: {', '.join(found.unpriced)}.")
    if found.uncallable:
        notes.append(f"{_count(found.uncallable, 'card')} could not be called at most requests, so not compared with.")
    notes += [f"left out: {_count(count, 'request')}: {why}" for why, count in found.left_out.items()]
    return notes


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _percent(share: float) -> str:
    # Adding 0 makes of a negative zero a plain one.
    return f"{round(share, 2) + 0.0:.0%}"


def _usd(amount: float) -> str:
    from router.formats import units

    return units.show_usd(amount, 4)
