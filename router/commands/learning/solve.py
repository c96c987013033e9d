"""`route solve`: find the plan that is best for one kind of task, by a few examples with answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.errors import CallerError, did_you_mean

if TYPE_CHECKING:
    from router.cards import Catalog
    from router.decide.plans.spec import PlanSpec
    from router.learn.solving.ask import Asking
    from router.learn.solving.result import PlanFigures, Solution
    from router.learn.solving.solve import Outline

_USD_DIGITS = 3
_MOST_ROWS = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("solve")(solve)


def _print_schema(wanted: bool) -> None:
    if wanted:
        from router.learn.solving.task import json_schema

        options.print_json(json_schema())
        raise typer.Exit


def solve(
    task: Annotated[Path, typer.Argument(help="The task: a YAML file with description, examples and limits.")],
    max_usd: Annotated[
        float | None,
        typer.Option("--max-usd", min=0, help="Budget in USD over all runs, in place of the task's.", show_default="1"),
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Maximum number of concurrent calls.")] = 4,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the chosen plan to this file: plans/NAME.yaml.")
    ] = None,
    plan: Annotated[
        str | None, typer.Option("--plan", help="Save this plan of the result, not the chosen one.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be asked; call nothing.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for an answer to begin.")] = 120.0,
    policy: options.PolicyName = "default",
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    artifact: options.Artifact = None,
    as_json: options.Json = False,
    schema: Annotated[
        bool,
        typer.Option("--schema", help="Print the JSON Schema of a task.", callback=_print_schema, is_eager=True),
    ] = False,
) -> None:
    """Ask cards the examples of a task within a budget, and compare single cards and plans on their answers.

    Answers are stored beside the task: the same command continues an interrupted run, and asks nothing twice.
    """
    from router.learn.solving.answer_log import AnswerLog
    from router.learn.solving.save import check_target
    from router.learn.solving.solve import log_file, outline, prepare
    from router.learn.solving.task import load_task
    from router.loading import load_plan_gate, load_router

    if plan is not None and save is None:
        raise CallerError("--plan names the plan that --save writes; state --save plans/NAME.yaml too")
    if save is not None:
        check_target(save)
    router = load_router(cards, policies, artifact)
    read = load_task(task, router.catalog)
    chosen = prepare(router, read, policy, _not_callable(router.catalog, read.cards), options.today())
    limit_usd = read.max_usd if max_usd is None else max_usd
    planned = outline(router, read, chosen, log_file(task), limit_usd)
    if dry_run:
        _print_outline(planned, as_json)
        return
    gate = load_plan_gate(artifact)
    typer.echo(_outline_text(planned), err=True)

    async def run(log: AnswerLog) -> tuple[Solution, Mapping[str, PlanSpec]]:
        from router.commands.learning.onboard import one_try_dispatcher
        from router.learn.progress import step_progress
        from router.learn.solving.solve import solve as run_solve

        dispatcher = one_try_dispatcher(timeout)
        try:
            with step_progress() as show:

                def on_asking(state: Asking) -> None:
                    spent = _usd(state.spent_usd)
                    show(state.answered, state.wanted, f"{state.answered} of {state.wanted} answers, {spent} spent")

                def on_comparing(done: int, total: int) -> None:
                    show(done, total, f"comparing plans: {done} of {total} examples")

                return await run_solve(
                    router,
                    read,
                    chosen,
                    log,
                    dispatcher,
                    gate,
                    max_usd=limit_usd,
                    concurrency=concurrency,
                    on_asking=on_asking,
                    on_comparing=on_comparing,
                )
        finally:
            await dispatcher.aclose()

    with AnswerLog(log_file(task)) as log:
        try:
            solution, plans = asyncio.run(run(log))
        except KeyboardInterrupt:
            typer.echo(f"route: interrupted; the answers are stored in {log.file}; run again to continue", err=True)
            raise SystemExit(130) from None
    if as_json:
        options.print_json(solution)
    else:
        _print_solution(solution)
    if save is not None:
        _save(save, plan, solution, plans, router.catalog)


def _not_callable(catalog: Catalog, named: tuple[str, ...]) -> dict[str, str]:
    """Why each card that cannot be called here cannot. Servers on this machine must list the models of cards that the
    task does not name; where none does, calls show which respond.
    """
    from router.dispatch.availability import list_servers
    from router.dispatch.configured import missing_configuration

    missing = {card.id: problem for card in catalog if (problem := missing_configuration(card)) is not None}
    if named:
        return missing
    listed = asyncio.run(list_servers(catalog)).unavailable_cards(catalog)
    return listed if len(listed) < len(catalog) else missing


def _usd(amount: float) -> str:
    """An amount for people."""
    from router.formats import units

    return units.show_usd(amount, _USD_DIGITS)


def _save(file: Path, name: str | None, solution: Solution, plans: Mapping[str, PlanSpec], catalog: Catalog) -> None:
    from router.learn.solving.save import save_plan

    compared = solution.comparison
    name = compared.chosen if name is None else name.removeprefix("plan/")
    figures = compared.named(name)
    if figures is None:
        known = [each.id for each in compared.plans]
        what = f'there is no plan "{name}" in the result' if name else "no plan meets the limits"
        raise CallerError(f"{what}; nothing was saved{did_you_mean(name, known)}")
    if name not in plans:
        typer.echo(
            f"{name} is a card, which needs no plan, so nothing was saved: ask for it by its name (model: {name}), or "
            f"make it the default of a policy (guard, then `default: {name}`)",
            err=True,
        )
        return
    saved = save_plan(file, plans[name], catalog)
    typer.echo(
        f"{file}: saved; clients ask for it as the model {saved.name}, a policy considers it with "
        f"`plans: [{saved.id}]`",
        err=True,
    )


def _outline_text(planned: Outline) -> str:
    if not planned.calls:
        return f"{planned.examples} examples, {len(planned.cards)} cards: every answer is there, nothing is asked"
    return (
        f"{planned.examples} examples, {len(planned.cards)} cards: {planned.calls} calls, about "
        f"{_usd(planned.forecast_usd)} by forecast, {_usd(planned.left_usd)} of the budget are left"
    )


def _print_outline(planned: Outline, as_json: bool) -> None:
    if as_json:
        options.print_json(planned)
        return
    from rich.markup import escape

    from router.commands.render import console

    out = console()
    out.print(f"{escape(_outline_text(planned))}. At most {_usd(planned.worst_usd)}. No calls were made.")
    out.print(f"{planned.plans} plans would be compared on the answers of {escape(', '.join(planned.cards))}.")
    _print_left_out(planned.left_out)


def _print_solution(solution: Solution) -> None:
    from rich.markup import escape

    from router.commands.render import console, table

    out, compared = console(), solution.comparison
    for sentence in solution.findings:
        out.print(escape(sentence), soft_wrap=True)
    headers = ("right", "95 %", "cost", "95 % ", "if all called", "latency", "calls")
    shown = table("plan", "members", "gate", *headers, right=headers)
    front = [plan for plan in compared.plans if plan.pareto or plan.id in (compared.chosen, compared.best_single)]
    by_use = sorted(front, key=lambda plan: plan.pareto == "latency")[:_MOST_ROWS]
    for plan in sorted(by_use, key=lambda plan: (plan.cost_usd, plan.quality)):
        mark = "→ " if plan.id == compared.chosen else ""
        shown.add_row(f"{mark}{escape(plan.id)}", escape(", ".join(plan.members)), plan.gate, *_cells(plan))
    out.print()
    out.print(shown)
    out.print(
        f"\n{len(compared.plans)} plans compared, {compared.over_limits} more exceed the limits. Shown are those that "
        "no other beats in quality, cost and latency; --json has all.",
        soft_wrap=True,
    )
    _print_left_out(solution.left_out)
    out.print(
        f"{_usd(solution.spent_usd)} of {_usd(solution.max_usd)} spent, {_usd(solution.spent_now_usd)} of it now",
    )
    out.print(f"[dim]answers {escape(solution.answers)}[/]", soft_wrap=True)


def _cells(plan: PlanFigures) -> tuple[str, ...]:
    low, high = plan.quality_ci95
    return (
        f"{100 * plan.quality:.1f} %",
        f"{100 * low:.0f} to {100 * high:.0f}",
        _usd(plan.cost_usd),
        f"{_usd(plan.cost_ci95[0])} to {_usd(plan.cost_ci95[1])}",
        _usd(plan.most_cost_usd),
        f"{plan.latency_ms:.0f} ms",
        f"{plan.calls:.2f}",
    )


def _print_left_out(left_out: Mapping[str, str]) -> None:
    from rich.markup import escape

    from router.commands.render import console

    reasons: dict[str, list[str]] = {}
    for card, reason in left_out.items():
        reasons.setdefault(reason, []).append(card)
    from router.formats.text import shortened

    for reason, cards in reasons.items():
        console().print(f"[dim]not asked: {escape(shortened(cards, 4))}: {escape(reason)}[/]", soft_wrap=True)
