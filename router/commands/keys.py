"""`route keys`: add, list, revoke and check API keys."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router import settings
from router.commands import options
from router.errors import CallerError, InvalidKeyError

if TYPE_CHECKING:
    from router.gateway.config.keys import Key

app = typer.Typer(help="Add, list, revoke and check API keys.", no_args_is_help=True)

KeysFile = Annotated[Path | None, typer.Option("--file", help="File of API keys.", show_default="./keys.yaml")]


def register(parent: typer.Typer) -> None:
    """Add the command group."""
    parent.add_typer(app, name="keys")


@app.command("add")
def add_key(
    name: Annotated[str, typer.Argument(metavar="ID", help="Name of the key, such as ci or alice@example.com.")],
    card: Annotated[
        list[str] | None,
        typer.Option("--card", help="Card that the key may use, or a pattern such as llama-*. Repeatable."),
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", help="Policy that the key may use. Repeatable.")
    ] = None,
    default_policy: Annotated[
        str | None, typer.Option("--default-policy", help="Policy of the model name `auto`.")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", help="Extra that the key may use: web_search … or all. Repeatable."),
    ] = None,
    operator: Annotated[
        bool, typer.Option("--operator", help="Key of an operator, who loads and unloads adapters.")
    ] = False,
    rpm: Annotated[int | None, typer.Option("--rpm", help="Limit of requests per minute.")] = None,
    concurrency: Annotated[int | None, typer.Option("--concurrency", help="Limit of requests in progress.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="Budget in US dollars per day, such as 5$.")] = None,
    expires: Annotated[str | None, typer.Option("--expires", help="Expiry date (UTC).")] = None,
    description: Annotated[str | None, typer.Option("--description", help="Free text.")] = None,
    file: KeysFile = None,
    cards: options.Cards = None,
    policies: options.PoliciesFolder = None,
    as_json: options.Json = False,
) -> None:
    """Add a key: append its hash to the file and print the key. It is not stored and cannot be shown again."""
    from router.decide.policy import load_policies
    from router.gateway.config.keys import hash_of, new_key
    from router.gateway.config.keys_file import append_key

    key = new_key()
    fields: dict[str, Any] = {
        "id": name,
        "hash": hash_of(key),
        "description": description,
        "created": options.today(),
        "expires": expires,
        "cards": card,
        "policies": policy,
        "policy": default_policy,
        "rpm": rpm,
        "concurrency": concurrency,
        "budget_usd_per_day": budget,
        "allow": allow,
        "operator": operator or None,
    }
    catalog = options.load_cards(cards)
    known = load_policies(policies or settings.default_policies_folder(), catalog)
    path = file or settings.default_keys_file()
    added = append_key(path, {name: value for name, value in fields.items() if value not in (None, [])}, catalog, known)
    if as_json:
        options.print_json({"id": name, "key": key, "file": str(path)})
        return
    typer.echo(key)
    typer.echo(
        f'{path}: added the key "{name}". Save it now: only its hash is stored. A running gateway reloads the file.',
        err=True,
    )
    problem = added.inactive_reason(options.today())
    typer.echo(_reach(added) if problem is None else f"It {problem}, so requests with it are refused.", err=True)


@app.command("list")
def list_keys(file: KeysFile = None, as_json: options.Json = False) -> None:
    """List keys. Key values cannot be recovered from their hashes."""
    import msgspec

    from router.formats.quantities import write_quantity
    from router.gateway.config.keys import load_keys

    today = options.today()
    keys = load_keys(file or settings.default_keys_file())
    if as_json:
        plain = [
            {**msgspec.to_builtins(key, enc_hook=write_quantity), "closed": key.inactive_reason(today)} for key in keys
        ]
        for entry in plain:
            del entry["hash"]
        options.print_json(plain)
        return
    from rich.markup import escape

    from router.commands.render import console, table

    listing = table(
        "key", "cards", "policies", "auto", "rpm", "budget per day", "state", right=("rpm", "budget per day")
    )
    for key in keys:
        listing.add_row(
            escape(key.id),
            escape(_joined(key.cards)),
            escape(_joined(key.policies)),
            escape(key.default_policy),
            str(key.rpm or ""),
            "" if key.budget_usd_per_day is None else write_quantity(key.budget_usd_per_day),
            key.inactive_reason(today) or (f"active until {key.expires}" if key.expires else "active"),
        )
    console().print(listing)


@app.command("revoke")
def revoke_key(
    name: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")],
    file: KeysFile = None,
    as_json: options.Json = False,
) -> None:
    """Revoke a key. The entry is kept so that old records stay attributable."""
    from router.gateway.config.keys_file import revoke

    path = file or settings.default_keys_file()
    revoke(path, name, options.today())
    if as_json:
        options.print_json({"id": name, "revoked": options.today(), "file": str(path)})
    else:
        typer.echo(f'{path}: revoked the key "{name}". A running gateway reloads the file.')


@app.command("check")
def check_key(file: KeysFile = None, as_json: options.Json = False) -> None:
    """Identify a key from standard input. Exit code 2 if it is unknown or inactive."""
    from router.gateway.config.keys import load_keys

    # Not an argument, which would end up in the shell's history.
    is_terminal = sys.stdin is not None and sys.stdin.isatty()
    presented = (typer.prompt("Key", hide_input=True) if is_terminal else sys.stdin.read()).strip()
    if not presented:
        raise CallerError("standard input contains no key")
    path = file or settings.default_keys_file()
    keys = load_keys(path)
    if not keys:
        raise CallerError(f"{path} contains no keys")
    key = keys.find(presented)
    if key is None:
        raise InvalidKeyError("invalid API key")
    inactive = key.inactive_reason(options.today())
    if as_json:
        options.print_json({"id": key.id, "closed": inactive})
    else:
        typer.echo(f'the key "{key.id}" {inactive or "is active"}')
    if inactive:
        raise typer.Exit(InvalidKeyError.exit_code)


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of `keys.yaml`, for editors."""
    from router.gateway.config.keys import json_schema

    options.print_json(json_schema())


def _reach(key: Key) -> str:
    """What a key reaches, in a sentence."""
    from router.wire.reading.extras import EXTRAS

    if key.only_narrows:
        names = "no card by name (add `cards` for that; flags only narrow the choice)"
    else:
        names = "every card by name" if key.cards is None else f"the cards {_joined(key.cards)} by name"
    policies = "every policy" if key.policies is None else f"the policies {_joined(key.policies)}"
    extras = [extra for extra in EXTRAS if key.allows_extra(extra)]
    return f"The key reaches {policies} and {names}; extras (`allow`): {', '.join(extras) or 'none'}."


def _joined(names: tuple[str, ...] | None) -> str:
    return "all" if names is None else ", ".join(names) or "none"
