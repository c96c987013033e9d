"""`route savings`: compare the cost of routed requests with that of one model, or of what clients asked for."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.commands.history import stores
from router.commands.history.records import show_cost
from router.errors import CallerError

if TYPE_CHECKING:
    from router.analysis.savings import Comparison, Savings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("savings")(savings)


def savings(
    since: Annotated[
        str | None, typer.Option("--since", help="Only later requests: 7d, or a date such as 2026-11-01 (UTC).")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Also group by day, card, policy or key.")] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="Card to compare with, or `client`: the model that each client named.",
            show_default="the best single model",
        ),
    ] = None,
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    artifact: options.Artifact = None,
    store: stores.Store = None,
    records_url: options.Records = None,
    as_json: options.Json = False,
) -> None:
    """Compare the cost and forecast quality of routed requests with those of a baseline."""
    from router import Router
    from router.analysis.savings import check_grouping
    from router.analysis.savings import savings as compare
    from router.store.records.protocol import Filter
    from router.store.records.snapshots import CatalogSnapshot, read_unavailable

    check_grouping(by)
    start = None if since is None else read_since(since)
    recorded = stores.read_records(store, records_url)
    if recorded is None:
        return
    router = Router.default(cards, policies, artifact)

    def unavailable(fingerprint: str) -> dict[str, str]:
        content = recorded.snapshot(fingerprint)
        return {} if content is None else dict(read_unavailable(content))

    current = CatalogSnapshot(router.catalog, router.evidence)
    with recorded:
        selected = recorded.scan(Filter(since=start))
        result = compare(selected, current, router.predictor, unavailable, by=by, against=against)
    if as_json:
        options.print_json(result)
    else:
        _print_savings(result, by)


def read_since(text: str) -> float:
    """Convert an age such as `7d`, or a date, to seconds since 1970. Raises CallerError."""
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


def _print_savings(result: Savings, by: str | None) -> None:
    from rich.markup import escape

    from router.commands.render import console, table
    from router.formats.units import show_usd_per_1000

    out = console()
    out.print(f"{_count(result.requests, 'request')}, {show_cost(result.spent_usd)} spent")
    total, cheaper = result.total, result.best_within_budget
    if total is None:
        out.print("none of them can be compared:")
    else:
        best = " (best single model)" if result.best else ""
        single = f"{result.card} for all{best}" if result.card else result.baseline
        rows = [("as routed", total.routed), (single, total.single)]
        if cheaper is not None and cheaper[0] != result.card:
            rows.append((f"{cheaper[0]} for all (best at equal or lower cost)", cheaper[1]))
        out.print(f"{_count(total.requests, 'routed request')} compared, against {escape(result.baseline)}:\n")
        numbers = ("cost", "per request", "per 1,000", "forecast quality")
        shown = table("", *numbers, right=numbers)
        for name, side in rows:
            each_usd = side.cost_usd / total.requests
            costs = (show_cost(side.cost_usd), show_cost(each_usd), show_usd_per_1000(each_usd))
            shown.add_row(escape(name), *costs, f"{side.quality:.3f}")
        out.print(shown)
        out.print(f"\n[bold]{escape(_verdict(result.baseline, total))}[/]")
    if by is not None and result.groups:
        out.print()
        heads = ("requests", "cost", "baseline's cost", "saved", "quality", "baseline's quality")
        shown = table(by, *heads, right=heads)
        for line in result.groups:
            saved = "" if line.saved is None else _percent(line.saved)
            costs = (show_cost(line.routed.cost_usd), show_cost(line.single.cost_usd), saved)
            qualities = (f"{line.routed.quality:.3f}", f"{line.single.quality:.3f}")
            shown.add_row(escape(line.group), str(line.requests), *costs, *qualities)
        out.print(shown)
    for note in _notes(result):
        out.print(f"[dim]• {escape(note)}[/]")


def _verdict(baseline: str, total: Comparison) -> str:
    saved, routed, single = total.saved, total.routed, total.single
    difference = routed.quality - single.quality
    quality = f"{abs(difference):.3f} {'more' if difference >= 0 else 'less'} forecast quality"
    if saved is None:
        return f"against {baseline}, which costs nothing: {quality}"
    money = single.cost_usd - routed.cost_usd
    word = "saved" if money >= 0 else "more spent"
    return f"{show_cost(abs(money))} {word} ({_percent(abs(saved))}) against {baseline}, with {quality}"


def _notes(result: Savings) -> list[str]:
    notes = []
    if result.total is not None:
        notes += [
            "The baseline's cost is its card's price times the recorded tokens.",
            "Quality is a forecast by the current predictor and cards; the answers were not graded.",
        ]
    if result.incapable:
        incapable, model = _count(result.incapable, "request"), result.card or "The model asked for"
        notes.append(f"{model} could not have served {incapable} (context too long or unsupported input).")
    if result.unpriced:
        notes.append(f"Not compared, as they have no price: {', '.join(result.unpriced)}.")
    if result.uncallable:
        notes.append(
            f"Not compared, as they could not be called at most requests: {_count(result.uncallable, 'card')}."
        )
    notes += [f"left out: {_count(count, 'request')}: {reason}" for reason, count in result.left_out.items()]
    return notes


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _percent(share: float) -> str:
    # Adding 0 turns a negative zero into 0.
    return f"{round(share, 2) + 0.0:.0%}"
