"""`route keys`: make, list, revoke and check the keys of clients."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from router import settings
from router.commands import options
from router.errors import CallerError, InvalidKeyError

app = typer.Typer(help="Make, list, revoke and check the keys of clients.", no_args_is_help=True)

KeysFile = Annotated[Path | None, typer.Option("--file", help="File of keys.", show_default="./keys.yaml")]


def register(parent: typer.Typer) -> None:
    """Add the command group."""
    parent.add_typer(app, name="keys")


@app.command("add")
def add_key(
    name: Annotated[str, typer.Argument(metavar="ID", help="Who the key is for, such as ci or alice@example.com.")],
    card: Annotated[list[str] | None, typer.Option("--card", help="A card it may use, or llama-*; repeat it.")] = None,
    policy: Annotated[list[str] | None, typer.Option("--policy", help="A policy it may use; repeat it.")] = None,
    default_policy: Annotated[str | None, typer.Option("--default-policy", help="What `auto` stands for.")] = None,
    rpm: Annotated[int | None, typer.Option("--rpm", help="Requests a minute.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="US dollars a day, such as 5$.")] = None,
    expires: Annotated[str | None, typer.Option("--expires", help="Day from which it opens nothing (UTC).")] = None,
    description: Annotated[str | None, typer.Option("--description", help="For people.")] = None,
    file: KeysFile = None,
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    as_json: options.Json = False,
) -> None:
    """Make a key, append its hash to the file, and print the key: this once, for it is kept nowhere."""
    from router.decide.policy import load_policies
    from router.gateway.config.keys import hash_of, new_key
    from router.gateway.config.keys_file import append_key

    key = new_key()
    facts: dict[str, Any] = {
        "id": name,
        "hash": hash_of(key),
        "description": description,
        "created": options.today(),
        "expires": expires,
        "cards": card,
        "policies": policy,
        "policy": default_policy,
        "rpm": rpm,
        "budget_usd_per_day": budget,
    }
    catalog = options.load_cards(cards)
    known = load_policies(policies or settings.default_policies_folder(), catalog)
    chosen = file or settings.default_keys_file()
    append_key(chosen, {name: fact for name, fact in facts.items() if fact not in (None, [])}, catalog, known)
    if as_json:
        options.print_json({"id": name, "key": key, "file": str(chosen)})
        return
    typer.echo(key)
    typer.echo(
        f'{chosen}: key "{name}". Keep it now: only its hash is stored. A running gateway takes it over.', err=True
    )


@app.command("list")
def list_keys(file: KeysFile = None, as_json: options.Json = False) -> None:
    """One line a key. What a key opens nobody can tell from its hash."""
    import msgspec

    from router.formats.quantities import write_quantity
    from router.gateway.config.keys import load_keys

    today = options.today()
    keys = load_keys(file or settings.default_keys_file())
    if as_json:
        plain = [
            {**msgspec.to_builtins(key, enc_hook=write_quantity), "closed": key.inactive_reason(today)} for key in keys
        ]
        for each in plain:
            del each["hash"]
        options.print_json(plain)
        return
    from rich.markup import escape

    from router.commands.render import console, table

    shown = table("key", "cards", "policies", "auto", "rpm", "budget a day", "state", right=("rpm", "budget a day"))
    for key in keys:
        shown.add_row(
            escape(key.id),
            escape(_listed(key.cards)),
            escape(_listed(key.policies)),
            escape(key.default_policy),
            str(key.rpm or ""),
            "" if key.budget_usd_per_day is None else write_quantity(key.budget_usd_per_day),
            key.inactive_reason(today) or (f"open until {key.expires}" if key.expires else "open"),
        )
    console().print(shown)


@app.command("revoke")
def revoke_key(
    name: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")],
    file: KeysFile = None,
    as_json: options.Json = False,
) -> None:
    """Note that the key opens nothing any more. Its entry stays, so that records still say whose it was."""
    from router.gateway.config.keys_file import revoke

    chosen = file or settings.default_keys_file()
    revoke(chosen, name, options.today())
    if as_json:
        options.print_json({"id": name, "revoked": options.today(), "file": str(chosen)})
    else:
        typer.echo(f'{chosen}: key "{name}" is revoked. A running gateway takes it over.')


@app.command("check")
def check_key(file: KeysFile = None, as_json: options.Json = False) -> None:
    """Read a key from standard input, and say which one it is. An unknown or closed one ends with exit code 2."""
    from router.gateway.config.keys import load_keys

    # Not an argument: those end up in the shell's history.
    typed = sys.stdin is not None and sys.stdin.isatty()
    presented = (typer.prompt("Key", hide_input=True) if typed else sys.stdin.read()).strip()
    if not presented:
        raise CallerError("no key came from standard input")
    keys = load_keys(file or settings.default_keys_file())
    if not keys:
        raise CallerError(f"{file or settings.default_keys_file()} holds no key")
    key = keys.find(presented)
    if key is None:
        raise InvalidKeyError("there is no such key")
    closed = key.inactive_reason(options.today())
    if as_json:
        options.print_json({"id": key.id, "closed": closed})
    else:
        typer.echo(f'the key "{key.id}" {closed or "is open"}')
    if closed:
        raise typer.Exit(InvalidKeyError.exit_code)


@app.command("schema")
def schema() -> None:
    """The JSON Schema of `keys.yaml`, for editors."""
    from router.gateway.config.keys import json_schema

    options.print_json(json_schema())


def _listed(names: tuple[str, ...] | None) -> str:
    return "all" if names is None else ", ".join(names) or "none"
