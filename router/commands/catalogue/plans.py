"""`route plans`: list, show and check plans; find chains of cards; print their JSON Schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.commands.catalogue import chains

if TYPE_CHECKING:
    from router.decide.plans.spec import Member, PlanSpec

app = typer.Typer(
    help="List, show and check plans; find chains of cards; print the schema of their files.", no_args_is_help=True
)


def register(parent: typer.Typer) -> None:
    """Add the command group."""
    chains.register(app)
    parent.add_typer(app, name="plans")


@app.command("list")
def list_plans(folder: options.PlansFolder = None, cards: options.Cards = None, as_json: options.Json = False) -> None:
    """List the plans. A policy uses those under its key `plans`; clients name one as the model `plan/NAME`."""
    loaded = options.load_plan_folder(folder, options.load_cards(cards))
    if as_json:
        options.print_json(list(loaded.values()))
        return
    from rich.markup import escape

    from router.commands.render import console, table

    shown = table("plan", "kind", "members", "calls", "description", right=("calls",))
    for plan in loaded.values():
        shown.add_row(plan.id, plan.kind, escape(_members(plan)), _calls(plan), escape(plan.description))
    console().print(shown)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="The id of a plan.")],
    folder: options.PlansFolder = None,
    cards: options.Cards = None,
) -> None:
    """Print a plan with all its keys, as JSON."""
    options.print_json(options.load_plan_folder(folder, options.load_cards(cards)).named(name))


@app.command("lint")
def lint(folder: options.PlansFolder = None, cards: options.Cards = None) -> None:
    """Check the plans and the policies that name them; exit with 3 where one is wrong."""
    from router import settings
    from router.decide.policy import load_policies

    catalog = options.load_cards(cards)
    plans = options.load_plan_folder(folder, catalog)
    policies = load_policies(settings.default_policies_folder(), catalog, plans)
    used = sorted({name for policy in policies.values() for name in policy.plans})
    typer.echo(f"{len(plans)} plans are valid; policies use {', '.join(used) or 'none of them'}")


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a plan, for editors."""
    from router.decide.plans.catalog import json_schema

    options.print_json(json_schema())


def _members(plan: PlanSpec) -> str:
    from router.decide.plans.shape import members_of
    from router.decide.plans.spec import Chain

    if isinstance(plan, Chain):
        return " → ".join(f"{stage.card or 'best 1'} ({stage.consumes} to {stage.produces})" for stage in plan.stages)
    shown = [
        f"{path[0]} {_shown(member)}" if path[0] == "writer" else _shown(member) for path, member in members_of(plan)
    ]
    return ", ".join(shown) or "all cards"


def _shown(member: Member) -> str:
    if isinstance(member, str):
        return member
    limits = f" with {','.join(member.limits)}" if member.limits else ""
    return f"best {member.best}{limits}"


def _calls(plan: PlanSpec) -> str:
    from router.decide.plans.shape import capped_calls
    from router.decide.plans.spec import Segments

    return f"2 to {plan.caps.calls}" if isinstance(plan, Segments) else f"up to {capped_calls(plan)}"
