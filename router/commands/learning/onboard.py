"""`route onboard`: estimate the ability of a card by asking it probes."""

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
    from router.dispatch import Dispatcher
    from router.learn.onboarding import Change, OnboardingResult, Outlook, PlannedProbe, Progress

_USD_DIGITS = 4
_KNOWN = 0.005


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("onboard")(onboard)


def onboard(
    card: Annotated[str, typer.Argument(help="Id or alias of the card to ask.")],
    probes: Annotated[
        int, typer.Option("--probes", min=1, help="Number of probes, including those of earlier runs.")
    ] = 32,
    max_usd: Annotated[
        float | None,
        typer.Option("--max-usd", min=0, help="Budget in USD, including earlier runs. Default: no limit."),
    ] = None,
    from_set: Annotated[
        Path | None,
        typer.Option("--from", help="Folder with prompts.jsonl whose lines have an `answer`.", show_default="built in"),
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option("--evidence", help="Folder for the outcomes.", show_default="./evidence")
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Maximum number of concurrent calls.")] = 4,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, help="Maximum tokens per answer, including reasoning.")
    ] = 2048,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for an answer to begin.")] = 120.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the planned probes; call nothing.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Archive earlier answers and start over.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --reset: do not ask for confirmation.")] = False,
    cards: options.Cards = None,
    artifact: options.Artifact = None,
    as_json: options.Json = False,
) -> None:
    """Ask a card's live endpoint probes, grade its answers, and show how its expected quality changes."""
    from router.learn.onboarding import (
        EvidenceLog,
        Terms,
        check_callable,
        earlier_outcomes,
        load_probes,
        outlook,
        plan_probes,
        set_aside,
        start_test,
    )
    from router.learn.onboarding import onboard as run
    from router.learn.progress import step_progress
    from router.loading import load_predictor

    terms = Terms(probes, max_usd, concurrency, max_tokens)
    catalog = options.load_cards(cards)
    chosen = catalog.named(card)
    if not dry_run:
        check_callable(chosen, terms)
    probe_set = load_probes(from_set or settings.shipped_probes_folder())
    folder = evidence or settings.default_evidence_folder()
    test = start_test(load_predictor(artifact), catalog, chosen, probe_set.probes)
    earlier = {} if reset else earlier_outcomes(folder, chosen.id)
    planned = plan_probes(chosen, probe_set, test, earlier, terms)
    prospect = outlook(probe_set, test, earlier, planned)
    if dry_run:
        _print_plan(planned, prospect, chosen.id, as_json)
        return
    if planned:
        typer.echo(_outlook_text(chosen.id, len(planned), prospect), err=True)
    if reset:
        count = len(earlier_outcomes(folder, chosen.id))
        if count and not yes:
            _confirm(f"Archive {count} answers of {chosen.id} and start over?")
        if archived := set_aside(folder, chosen.id):
            typer.echo(f"{archived}: earlier answers", err=True)

    async def ask(log: EvidenceLog) -> OnboardingResult:
        dispatcher = one_try_dispatcher(timeout)
        try:
            with step_progress() as show:

                def on_progress(progress: Progress) -> None:
                    show(progress.answered, progress.wanted, _progress_text(progress))

                return await run(chosen, probe_set, test, log, dispatcher, terms, on_progress)
        finally:
            await dispatcher.aclose()

    with EvidenceLog(folder, chosen.id) as log:
        if log.repaired:
            typer.echo(f"{log.file}: removed an incomplete last line", err=True)
        try:
            result = asyncio.run(ask(log))
        except KeyboardInterrupt:
            typer.echo(f"route: interrupted; the answers are stored in {log.file}; run again to continue", err=True)
            raise SystemExit(130) from None
    if as_json:
        options.print_json(result)
    else:
        _print_result(result)


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise CallerError("--reset asks for confirmation, which needs a terminal: add --yes")
    typer.confirm(question, abort=True, err=True)


def one_try_dispatcher(timeout_s: float) -> Dispatcher:
    """A dispatcher without retries: `Endpoint` retries by itself, since every call may cost money."""
    from router.dispatch import Dispatcher, DispatchSettings, Timeouts
    from router.formats.quantities import Seconds

    total_s = Seconds(max(timeout_s, Timeouts().total_s))
    return Dispatcher(DispatchSettings(Timeouts(first_token_s=Seconds(timeout_s), total_s=total_s), retries=0))


def _progress_text(progress: Progress) -> str:
    spent = "" if progress.spent_usd is None else f", {_usd(progress.spent_usd)}"
    return f"{progress.answered} of {progress.wanted} answered, {progress.score:g} right{spent}"


def _outlook_text(card: str, probes: int, prospect: Outlook) -> str:
    """What the probes can change, in two sentences."""
    where = f"{probes} probes, from {prospect.domains} of {prospect.all_domains} domains"
    if prospect.std < _KNOWN:
        change = f"the quality of {card} over the set is known from outcomes ({prospect.quality:.2f})"
    else:
        before, after = (_interval(prospect.quality, std) for std in (prospect.std, prospect.std_after))
        change = f"the 80 % interval of {card}'s quality over the set, {before}, will narrow to a width as of {after}"
    return f"{where}: {change}. The answers change forecasts on prompts like the probes, others little."


def _interval(quality: float, std: float) -> str:
    """The central 80 % of a normal distribution, cut to [0, 1]."""
    low, high = max(quality - 1.28 * std, 0.0), min(quality + 1.28 * std, 1.0)
    return f"{low:.2f} to {high:.2f}"


def _print_plan(planned: tuple[PlannedProbe, ...], prospect: Outlook, card: str, as_json: bool) -> None:
    known = [probe.max_cost_usd for probe in planned if probe.max_cost_usd is not None]
    total_usd = sum(known) if len(known) == len(planned) else None
    if as_json:
        options.print_json({"card": card, "probes": planned, "worst_usd": total_usd, "outlook": prospect})
        return
    from rich.markup import escape

    from router.commands.render import console, table

    out = console()
    shown = table("probe", "domain", "difficulty", "at most", right=("difficulty", "at most"))
    for probe in planned:
        cost = "?" if probe.max_cost_usd is None else _usd(probe.max_cost_usd)
        shown.add_row(escape(probe.probe), escape(probe.domain), str(probe.difficulty or ""), cost)
    out.print(shown)
    total = "unknown, since the card states no price" if total_usd is None else f"at most {_usd(total_usd)}"
    out.print(f"\n{escape(card)} would be asked {len(planned)} probes; cost: {total}. No calls were made.")
    if planned:
        out.print(escape(_outlook_text(card, len(planned), prospect)), soft_wrap=True)


def _print_result(result: OnboardingResult) -> None:
    from rich.markup import escape

    from router.commands.render import console, table

    out = console()
    spent = "price unknown" if result.spent_usd is None else f"{_usd(result.spent_usd)} spent"
    now = "" if result.spent_now_usd is None else f", {_usd(result.spent_now_usd)} of it now"
    out.print(
        f"[bold green]{escape(result.card)}[/]  {result.answered} probes of {escape(result.probe_set)} answered, "
        f"{result.answered_now} of them now; {spent}{now}"
    )
    times = (("latency", result.latency_ms), ("first token", result.ttft_ms))
    medians = [f"{name} {time_ms:.0f} ms" for name, time_ms in times if time_ms is not None]
    if result.output_tokens is not None:
        medians.append(f"{result.output_tokens:g} output tokens")
    out.print(f"median: {', '.join(medians)}\n" if medians else "")
    headers = ("asked", "right", "expected before", "after", "change")
    shown = table("domain", *headers, right=headers)
    for change in (*result.domains, result.overall):
        shown.add_row(escape(change.domain), *_cells(change))
    out.print(shown)
    out.print(
        "\nExpected quality is over all probes of the domain; ± is one standard deviation. The answers change "
        "forecasts on prompts like the probes, others little.",
        soft_wrap=True,
    )
    for warning in result.warnings:
        out.print(f"[bold yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    out.print(_stop_message(result), soft_wrap=True)
    if result.cut_off:
        out.print(f"{result.cut_off} answers were cut off at the token limit; --max-tokens raises it.")
    if result.unconfirmed:
        out.print(
            f"{result.unconfirmed} calls were in progress when an earlier run was killed; they are counted at their "
            "maximum cost."
        )
    out.print(f"[dim]evidence {escape(result.evidence)}[/]", soft_wrap=True)


def _cells(change: Change) -> tuple[str, ...]:
    return (
        str(change.answered),
        "" if change.score is None else f"{change.score:.0%}",
        f"{change.before:.2f} ± {change.before_std:.2f}",
        f"{change.after:.2f} ± {change.after_std:.2f}",
        f"{change.after - change.before:+.2f}",
    )


def _stop_message(result: OnboardingResult) -> str:
    if result.stopped == "budget":
        return "Stopped at --max-usd: the next answer might exceed the budget."
    if result.stopped == "all asked":
        return f"Every probe of {result.probe_set} is answered."
    return "More probes reduce the uncertainty: a run with a larger --probes asks only the additional ones."


def _usd(amount: float) -> str:
    from router.formats import units

    return units.show_usd(amount, _USD_DIGITS)
