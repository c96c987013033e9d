"""`route experiment`: how experiments stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.commands.live.shared_state import State, Store, with_state
from router.errors import CallerError, did_you_mean

if TYPE_CHECKING:
    from router.analysis.experiments.standing import Standing


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command("experiment")(experiment)


def experiment(
    name: Annotated[str | None, typer.Argument(help="Name of the experiment; all without it.")] = None,
    store: Store = None,
    state: State = None,
    as_json: options.Json = False,
) -> None:
    """Print the arms of an experiment beside each other, as the running gateway knows them."""
    from router.analysis.experiments.standing import PREFIX, read

    blobs = with_state(store, state, lambda opened: opened.blobs_after(0, PREFIX))
    known = {blob.name.removeprefix(PREFIX): read(blob.content) for blob in blobs}
    standings = {each: standing for each, standing in sorted(known.items()) if standing is not None}
    if name is not None and name not in standings:
        hint = did_you_mean(name, standings) or "; a running gateway begins those that its policies have"
        raise CallerError(f'no experiment "{name}" has begun{hint}')
    chosen = standings if name is None else {name: standings[name]}
    if as_json:
        options.print_json([{"name": each, **_document(standing)} for each, standing in chosen.items()])
    elif not chosen:
        typer.echo("no experiment has begun: a policy has one with the key `experiment`", err=True)
    else:
        for each, standing in chosen.items():
            _print(each, standing)


def _document(standing: Standing) -> dict[str, object]:
    import msgspec

    document: dict[str, object] = msgspec.to_builtins(standing)
    return document


def _print(name: str, standing: Standing) -> None:
    from rich.markup import escape

    from router.analysis.experiments.standing import show
    from router.commands.history.records import show_time
    from router.commands.render import console, table

    out, metric = console(), standing.metric
    units = "keys" if standing.by == "key" else "conversations"
    out.print(
        f"[bold]{escape(name)}[/] of the policy {escape(standing.policy)}: {metric} by {standing.by}, since "
        f"{show_time(standing.began_s)} UTC"
    )
    numbers = (units, "mean", "interval", f"beside {standing.names[0]}", "at least", "at most")
    shown = table("arm", *numbers, right=numbers)
    beside: list[tuple[str, str, str]] = [("", "", "")]
    for each in standing.differences:
        beside.append((show(each.difference, metric), show(each.low, metric), show(each.high, metric)))
    for arm, known, cells in zip(standing.names, standing.arms, beside, strict=False):
        mean, low, high = (show(value, metric, signed=False) for value in (known.mean, known.low, known.high))
        shown.add_row(escape(arm), f"{known.units:,}", mean, f"{low} to {high}" if known.units else "", *cells)
    if standing.arms:
        out.print(shown)
    else:
        out.print("not looked at yet: a gateway with records does so within about 15 seconds")
    if standing.stopped_s is None:
        out.print("running")
    else:
        ended = f"ended {show_time(standing.stopped_s)} UTC, all requests go to {standing.goes_to}: {standing.why}"
        out.print(escape(ended))
