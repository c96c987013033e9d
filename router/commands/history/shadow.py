"""`route records shadow`: what answers of shadows show beside those that clients got."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.commands.history import stores

if TYPE_CHECKING:
    from router.analysis.experiments.shadows import Half, ShadowReport


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command("shadow")(shadow)


def shadow(
    since: Annotated[
        str | None, typer.Option("--since", help="Only later requests: 7d, or a date such as 2026-11-01 (UTC).")
    ] = None,
    store: stores.Store = None,
    records_url: options.Records = None,
    as_json: options.Json = False,
) -> None:
    """Compare the answers of shadows with those that clients got."""
    from router.analysis.experiments.shadows import shadows_in
    from router.commands.history.savings import read_since
    from router.store.records.protocol import Filter

    start = None if since is None else read_since(since)
    recorded = stores.read_records(store, records_url)
    if recorded is None:
        return
    with recorded:
        reports = shadows_in(recorded.scan(Filter(since=start, shadows=True)))
    if as_json:
        options.print_json(reports)
    elif not reports:
        typer.echo("no answers of shadows: a policy asks for them with the key `shadow`", err=True)
    else:
        _print(reports)


def _print(reports: list[ShadowReport]) -> None:
    from rich.markup import escape

    from router.commands.render import console, table

    out = console()
    for report in reports:
        out.print(f"[bold]{escape(report.target)}[/] in the shadow of the policy [bold]{escape(report.policy)}[/]")
        failed = f", and {report.failed:,} without an answer" if report.failed else ""
        out.print(f"{report.pairs:,} pairs of answers{failed}; all calls cost {report.spent_usd:.4g}$")
        if report.same is not None and report.same_low is not None and report.same_high is not None:
            interval = f"{100 * report.same_low:.1f}% to {100 * report.same_high:.1f}%"
            out.print(
                f"same final answer: {100 * report.same:.1f}% ({interval}) of the {report.compared:,} pairs that have "
                "one to compare"
            )
        if report.first is not None and report.second is not None:
            shown = table("", "clients got", "in the shadow", right=("clients got", "in the shadow"))
            for name, first, second in _rows(report.first, report.second):
                shown.add_row(name, first, second)
            out.print(shown)


def _rows(first: Half, second: Half) -> list[tuple[str, str, str]]:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}%"

    def number(value: float | None, form: str, unit: str = "") -> str:
        return "-" if value is None else format(value, form) + unit

    rows = [
        ("refused", share(first.refused), share(second.refused)),
        ("meets its JSON schema", share(first.schema), share(second.schema)),
        ("graders", number(first.grade, ".3f"), number(second.grade, ".3f")),
        ("characters", number(first.characters, ",.0f"), number(second.characters, ",.0f")),
        ("output tokens", number(first.output_tokens, ",.0f"), number(second.output_tokens, ",.0f")),
        ("cost of an answer", number(first.cost_usd, ".4g", "$"), number(second.cost_usd, ".4g", "$")),
        ("median time", number(first.median_ms, ",.0f", " ms"), number(second.median_ms, ",.0f", " ms")),
    ]
    return [row for row in rows if row[1:] != ("-", "-")]
