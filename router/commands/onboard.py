"""`route onboard`: place a card by asking it probes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router import settings
from router.commands import options
from router.errors import CallerError

if TYPE_CHECKING:
    from router.learn.onboarding.session import Change, Onboarding, Planned, Progress

_SHOW_EVERY = 8


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("onboard")(onboard)


def onboard(
    card: Annotated[str, typer.Argument(help="The card to ask: its id, or an alias.")],
    probes: Annotated[
        int, typer.Option("--probes", min=1, help="How many probes, those of earlier runs included.")
    ] = 32,
    max_usd: Annotated[
        float | None,
        typer.Option(
            "--max-usd", min=0, help="Ask no more than this pays for, earlier runs included. Default: no limit."
        ),
    ] = None,
    from_set: Annotated[
        Path | None,
        typer.Option("--from", help="Folder with prompts.jsonl whose lines have an `answer`.", show_default="built in"),
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option("--evidence", help="Folder for the outcomes.", show_default="./evidence")
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Calls at once.")] = 4,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, help="Tokens that an answer may have, thoughts included.")
    ] = 2048,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for an answer to begin.")] = 120.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be asked, and call nothing.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Set earlier answers aside and start over.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --reset: do not ask.")] = False,
    cards: options.Cards = None,
    artifact: options.Artifact = None,
    as_json: options.Json = False,
) -> None:
    """Ask a card's live endpoint some probes, grade its answers, and say what they change."""
    from router.dispatch import Dispatcher, DispatchSettings, Timeouts
    from router.formats.quantities import Seconds
    from router.learn.onboarding.evidence_log import EvidenceLog, earlier_outcomes, set_aside
    from router.learn.onboarding.probes import load_probes
    from router.learn.onboarding.session import Terms, check, place, plan
    from router.learn.onboarding.session import onboard as run
    from router.loading import load_predictor

    terms = Terms(probes, max_usd, concurrency, max_tokens)
    catalog = options.load_cards(cards)
    chosen = catalog.named(card)
    if not dry_run:
        check(chosen, terms)
    probe_set = load_probes(from_set or settings.shipped_probes_folder())
    folder = evidence or settings.default_evidence_folder()
    placement = place(load_predictor(artifact), catalog, chosen, probe_set.probes)
    if dry_run:
        earlier = {} if reset else earlier_outcomes(folder, chosen.id)
        _print_plan(plan(chosen, probe_set, placement, earlier, terms), chosen.id, as_json)
        return
    if reset:
        count = len(earlier_outcomes(folder, chosen.id))
        if count and not yes:
            _confirm(f"Set {count} answers of {chosen.id} aside and start over?")
        if aside := set_aside(folder, chosen.id):
            typer.echo(f"{aside}: earlier answers", err=True)

    # The endpoint asks again by itself, for every call may cost money.
    total_s = Seconds(max(timeout, Timeouts().total_s))
    patience = DispatchSettings(Timeouts(first_token_s=Seconds(timeout), total_s=total_s), retries=0)

    async def ask(log: EvidenceLog) -> Onboarding:
        dispatcher, line = Dispatcher(patience), _ProgressLine(sys.stderr.isatty())
        try:
            return await run(chosen, probe_set, placement, log, dispatcher, terms, line)
        finally:
            line.end()
            await dispatcher.aclose()

    with EvidenceLog(folder, chosen.id) as log:
        if log.mended:
            typer.echo(f"{log.file}: the last line was never finished, and is cut off", err=True)
        try:
            report = asyncio.run(ask(log))
        except KeyboardInterrupt:
            typer.echo(f"route: stopped; {log.file} keeps the answers, and the same command goes on", err=True)
            raise SystemExit(130) from None
    if as_json:
        options.print_json(report)
    else:
        _print_report(report)


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise CallerError("--reset asks before it starts over, and nobody is there to answer: add --yes")
    typer.confirm(question, abort=True, err=True)


class _ProgressLine:
    """Shows progress on standard error: one line that is rewritten at a terminal, some lines elsewhere."""

    def __init__(self, terminal: bool) -> None:
        self._terminal = terminal

    def __call__(self, progress: Progress) -> None:
        done, wanted = progress.answered, progress.wanted
        spent = "" if progress.spent_usd is None else f", {_usd(progress.spent_usd)}"
        words = f"{done} of {wanted} answered, {progress.score:g} right{spent}"
        if self._terminal:
            bar = "━" * round(24 * done / max(wanted, 1))
            typer.echo(f"\r\x1b[2K{bar:<24} {words}", err=True, nl=False)
        elif done % _SHOW_EVERY == 0 or done == wanted:
            typer.echo(words, err=True)

    def end(self) -> None:
        """Leave the line, so that what follows does not stand behind it."""
        if self._terminal:
            typer.echo(err=True)


def _print_plan(planned: tuple[Planned, ...], card: str, as_json: bool) -> None:
    known = [each.worst_usd for each in planned if each.worst_usd is not None]
    worst = sum(known) if len(known) == len(planned) else None
    if as_json:
        options.print_json({"card": card, "probes": planned, "worst_usd": worst})
        return
    from rich.markup import escape

    from router.commands.render import console, table

    out = console()
    shown = table("probe", "domain", "difficulty", "at most", right=("difficulty", "at most"))
    for each in planned:
        price = "?" if each.worst_usd is None else _usd(each.worst_usd)
        shown.add_row(escape(each.probe), escape(each.domain), str(each.difficulty or ""), price)
    out.print(shown)
    total = "unknown, as the card states no price" if worst is None else f"at most {_usd(worst)}"
    out.print(f"\n{escape(card)} would be asked {len(planned)} probes; cost: {total}. Nothing was called.")


def _print_report(report: Onboarding) -> None:
    from rich.markup import escape

    from router.commands.render import console, table

    out = console()
    spent = "price unknown" if report.spent_usd is None else f"{_usd(report.spent_usd)} spent"
    now = "" if report.spent_now_usd is None else f", {_usd(report.spent_now_usd)} of it now"
    out.print(
        f"[bold green]{escape(report.card)}[/]  {report.answered} probes of {escape(report.probe_set)} answered, "
        f"{report.answered_now} of them now; {spent}{now}"
    )
    figures = (("latency", report.latency_ms, " ms"), ("first token", report.ttft_ms, " ms"))
    known = [f"{name} {value:.0f}{unit}" for name, value, unit in figures if value is not None]
    if report.output_tokens is not None:
        known.append(f"{report.output_tokens:g} output tokens")
    out.print(f"median: {', '.join(known)}\n" if known else "")
    headers = ("asked", "right", "expected before", "after", "change")
    shown = table("domain", *headers, right=headers)
    for change in (*report.domains, report.overall):
        shown.add_row(escape(change.domain), *_cells(change))
    out.print(shown)
    out.print("\nExpected quality is over all probes of the domain; ± is one standard deviation.")
    out.print(_why_it_ended(report), soft_wrap=True)
    if report.cut_off:
        out.print(f"{report.cut_off} answers were cut off at the limit of tokens: --max-tokens raises it.")
    if report.lost:
        out.print(
            f"{report.lost} calls were under way when an earlier run was killed; they count for the most they cost."
        )
    out.print(f"[dim]evidence {escape(report.evidence)}[/]", soft_wrap=True)


def _cells(change: Change) -> tuple[str, ...]:
    return (
        str(change.answered),
        "" if change.score is None else f"{change.score:.0%}",
        f"{change.before:.2f} ± {change.before_doubt:.2f}",
        f"{change.after:.2f} ± {change.after_doubt:.2f}",
        f"{change.after - change.before:+.2f}",
    )


def _why_it_ended(report: Onboarding) -> str:
    if report.stopped == "budget":
        return "Stopped at --max-usd: the next answer might have cost more than is left."
    if report.stopped == "all asked":
        return f"Every probe of {report.probe_set} is answered."
    return "More probes narrow the doubt: the same command with a larger --probes asks only the further ones."


def _usd(amount: float) -> str:
    return f"{amount:.2f}$" if amount >= 1 else f"{float(f'{amount:.3g}'):.10f}".rstrip("0").rstrip(".") + "$"
