"""`route policies`: list policies; print their JSON Schema."""

from __future__ import annotations

import typer

from router.commands import options

app = typer.Typer(help="List policies; print the schema of their files.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the command group."""
    parent.add_typer(app, name="policies")


@app.command("list")
def list_policies(policies: options.PoliciesFolder = None, as_json: options.Json = False) -> None:
    """List the policies."""
    loaded = options.load_policy_folder(policies)
    if as_json:
        options.print_json(list(loaded.values()))
        return
    from rich.markup import escape

    from router.commands.render import console, table
    from router.formats.units import show_usd

    shown = table("policy", "limits and goals", "wrong answer", "description")
    for policy in loaded.values():
        mistake = "" if policy.mistake_usd is None else show_usd(policy.mistake_usd)
        shown.add_row(policy.id, escape(str(policy.flags)), mistake, escape(policy.description))
    console().print(shown)


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a policy, for editors."""
    from router.decide.policy import json_schema

    options.print_json(json_schema())
