"""`route pareto`: the trade-off between quality and a goal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.errors import CallerError

if TYPE_CHECKING:
    from router.learn.data import RoutingSet
    from router.wire.chat.request import ChatRequest


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pareto")(pareto)


def pareto(
    prompt: Annotated[str | None, typer.Argument(help="The prompt.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of a routing data set, instead of one prompt.")
    ] = None,
    goal: Annotated[
        str, typer.Option("--goal", help="Goal to trade quality for: cheapest, fastest or smallest.")
    ] = "cheapest",
    flags: options.Flags = "",
    policy: options.PolicyName = "best",
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    artifact: options.Artifact = None,
    sample: Annotated[
        int, typer.Option("--sample", min=1, help="With --data: number of prompts, evenly spaced.")
    ] = 300,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write a plot: .png, .svg or .html (requires the extra `plot`).")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Print the Pareto front of quality against a goal. Decide at a series of weights λ of the goal."""
    from router import Router
    from router.analysis.pareto import PLOT_SUFFIXES, Sweep, front_of

    if (prompt is None) == (data is None):
        raise CallerError("give a prompt, or a data set with --data")
    if out is not None and out.suffix.lower() not in PLOT_SUFFIXES:
        raise CallerError(f"--out must end in {', '.join(PLOT_SUFFIXES)}; got {out.name}")
    router = Router.default(cards, policies, artifact)
    requests, outcomes = _requests(prompt, data, sample)
    today = options.today()
    sweep = Sweep(router, goal, policy, flags, today)
    points = front_of(sweep.points(requests, outcomes))
    if out is not None:
        from router.commands.learning.plot import write_plot

        title = prompt or "" if outcomes is None else f"{outcomes.name} ({len(requests)} prompts)"
        write_plot(out, points, goal, title)
    if as_json:
        options.print_json({"goal": goal, "prompts": len(requests), "points": points})
        return
    from rich.markup import escape

    from router.commands.render import console, table
    from router.formats.units import show_usd_per_1000

    with_outcomes = outcomes is not None
    is_cost = sweep.field == "cost"
    columns = (
        "λ",
        "quality",
        *(["measured"] if with_outcomes else []),
        sweep.field,
        *(["per 1,000"] if is_cost else []),
        "cards",
    )
    shown = table(*columns, right=columns[:-1])
    for point in points:
        measured = "" if point.measured_quality is None else f"{point.measured_quality:.3f}"
        cards_with_shares = ", ".join(f"{card} {share:.0%}" if share < 1 else card for card, share in point.cards[:4])
        cells = (f"{point.weight:g}", f"{point.quality:.3f}", *([measured] if with_outcomes else []))
        per_1000 = "?" if point.value is None else show_usd_per_1000(point.value)
        shown.add_row(*cells, sweep.unit(point.value), *([per_1000] if is_cost else []), escape(cards_with_shares))
    console().print(shown)
    if out is not None:
        typer.echo(f"plot: {out}", err=True)


def _requests(prompt: str | None, data: Path | None, sample: int) -> tuple[list[ChatRequest], RoutingSet | None]:
    import numpy as np

    from router.learn.data import load_set
    from router.wire.chat.request import ChatRequest

    if data is None:
        return [ChatRequest.from_prompt(prompt or "")], None
    whole = load_set(data)
    rows = np.unique(np.linspace(0, len(whole.prompts) - 1, min(sample, len(whole.prompts))).astype(int))
    outcomes = whole.rows(rows)
    return [
        ChatRequest.from_body({"messages": [{"role": "user", "content": turn} for turn in prompt.turns]})
        for prompt in outcomes.prompts
    ], outcomes
