"""`route cards`: list, show, check, compare and import model cards; print their JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from router.commands import options
from router.errors import CallerError

app = typer.Typer(help="List, show, check, compare and import model cards.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the command group."""
    from router.commands.catalogue import card_value, fit_latency, profiles

    card_value.register(app)
    profiles.register(app)
    fit_latency.register(app)
    parent.add_typer(app, name="cards")


@app.command("list")
def list_cards(cards: options.Cards = None, artifact: options.Artifact = None, as_json: options.Json = False) -> None:
    """List the cards."""
    from router.cards.schema import to_plain
    from router.loading import load_predictor

    catalog = options.load_cards(cards)
    if as_json:
        options.print_json([to_plain(card) for card in catalog.stated])
        return
    from router.commands.render import print_cards

    predictor = load_predictor(artifact)
    measured = [predictor.column(catalog, position) is not None for position in range(len(catalog))]
    print_cards(catalog, measured)


@app.command("show")
def show_card(
    name: Annotated[str, typer.Argument(help="Id or alias of a card.")],
    cards: options.Cards = None,
    as_json: options.Json = False,
) -> None:
    """Print one card as YAML, and what it inherits from its base."""
    from router.cards.schema import to_plain

    catalog = options.load_cards(cards)
    card = catalog.named(name)
    plain = to_plain(catalog.stated[catalog.ids.index(card.id)])
    if as_json:
        options.print_json(plain)
        return
    typer.echo(_as_yaml(plain))
    if shared := catalog.inherited(card.id):
        typer.echo(f"# inherits from {card.base}: {', '.join(shared)}")
        typer.echo("\n".join(f"#   {line}" for line in _as_yaml(shared).splitlines()))
    if (speed := catalog.fitted_speed(card)) is not None:
        typer.echo(f"# latency: {speed}")


def _as_yaml(plain: Mapping[str, Any]) -> str:
    import json

    from router.formats.yaml.writing import yaml_text

    # Through JSON, so that tuples become lists.
    return yaml_text(json.loads(json.dumps(plain))).rstrip()


@app.command("lint")
def lint_cards(
    folder: Annotated[Path | None, typer.Argument(help="Folder of cards.", show_default="that of --cards")] = None,
    cards: options.Cards = None,
    as_json: options.Json = False,
) -> None:
    """Check every card, report how complete it is, and which cards are nearly the same. Exit code 3: one is invalid."""
    import msgspec

    from router import settings
    from router.cards.lint import lint

    # The candidates of efforts have no files of their own.
    catalog = options.load_cards(folder or cards)
    reports = [lint(card) for card in catalog if card.effort_of is None]
    alike: dict[str, list[str]] = {}
    profiles = settings.profiles_folder(folder or cards or settings.default_cards_folder())
    # Without either, no predictor is needed.
    compared = any(card.examples for card in catalog) or profiles.is_dir()
    for pair in options.card_views(folder or cards, None).pairs() if compared else ():
        alike.setdefault(pair.one, []).append(f"for nearly the same prompts as {pair.other} ({pair.cosine:.3f})")
    reports = [msgspec.structs.replace(each, hints=(*each.hints, *alike.get(each.card, ()))) for each in reports]
    if as_json:
        options.print_json(reports)
        return
    from rich.markup import escape

    from router.commands.render import console, table

    shown = table("card", "complete", "missing", right=("complete",))
    for report in reports:
        shown.add_row(escape(report.card), f"{report.completeness:.0%}", escape(", ".join(report.missing)))
    console().print(shown)
    for report in reports:
        for hint in report.hints:
            console().print(escape(f"{report.card}: {hint}"))


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a card, for editors."""
    from router.cards.schema import json_schema

    options.print_json(json_schema())


@app.command("arch")
def arch(
    file: Annotated[Path, typer.Argument(help="The config.json of a model's weights.")],
    accelerator: Annotated[str, typer.Option("--on", help="Accelerator for the estimates: h100, l4 …")] = "h100",
    context: Annotated[str, typer.Option("--context", help="Tokens of the prompt in the estimates.")] = "1k",
    as_json: options.Json = False,
) -> None:
    """Print the shape of a model for `arch` of its card, and what time and memory it needs."""
    import msgspec

    from router.cards.machine.config_json import read_arch
    from router.commands.catalogue.estimates import estimate_on
    from router.formats.quantities import write_quantity

    shape = read_arch(file)
    estimate = estimate_on(accelerator, shape, context)
    plain = msgspec.to_builtins(shape, enc_hook=write_quantity)
    if as_json:
        options.print_json({"arch": plain, "estimate": estimate})
    else:
        typer.echo(_as_yaml({"arch": plain}))
        typer.echo(f"# {estimate}")


@app.command("import")
def import_card(
    name: Annotated[str, typer.Argument(help="The model's name in litellm, such as openai/gpt-4o-mini.")],
    out: Annotated[Path | None, typer.Option("--out", help="File to write, such as model_cards/mine.yaml.")] = None,
    as_json: options.Json = False,
) -> None:
    """Create a card from litellm's price map. Print it, or write it with --out."""
    from router.cards.sources.litellm_map import card_facts
    from router.formats.yaml.writing import yaml_text

    facts = {"id": name.rpartition("/")[2], **card_facts(name)}
    text = yaml_text(facts)
    if out is not None:
        if out.exists():
            raise CallerError(f"{out} already exists; give another file")
        out.write_text(text, encoding="utf-8")
    if as_json:
        options.print_json(facts)
    else:
        typer.echo(text.rstrip() if out is None else f"{out}: card {facts['id']}")


@app.command("refresh")
def refresh_cards(
    cards: options.Cards = None,
    provider: Annotated[str | None, typer.Option("--provider", help="Only this provider, such as openai.")] = None,
    months: Annotated[int, typer.Option("--months", min=0, max=1200, help="Age at which a benchmark is old.")] = 6,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Models without a card to show, per provider.")] = 5,
    today: Annotated[str | None, typer.Option("--today", help="Day of the report.", show_default="today")] = None,
    as_json: options.Json = False,
) -> None:
    """Report what may be out of date: new models and prices in litellm's price map, old and missing facts."""
    from router.cards.sources.refresh import refresh_report
    from router.formats import units

    try:
        day = units.date(today) if today else options.today()
    except ValueError as error:
        raise CallerError(f"--today: {error}") from None
    report = refresh_report(options.load_cards(cards), day, months, limit, provider)
    if as_json:
        options.print_json(report)
        return
    from router.commands.render import print_refresh_report

    print_refresh_report(report)
