"""`route adapters import` and `command`: cards from adapter folders, and the command that starts their server."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.errors import CallerError, ConfigurationError

if TYPE_CHECKING:
    from router.adapters.cards import Imported
    from router.adapters.served import Serving
    from router.cards import Card


class Server(StrEnum):
    """What serves the adapters."""

    VLLM = "vllm"
    SGLANG = "sglang"
    LORAX = "lorax"
    LLAMA_CPP = "llama.cpp"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("import")(import_adapters)
    app.command("command")(show_command)


def import_adapters(
    folder: Annotated[Path, typer.Argument(help="Folder of one adapter in PEFT's format, or of many.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of cards to write to, such as cards/.")] = None,
    base_card: Annotated[str | None, typer.Option("--base-card", help="Id of the base's card.")] = None,
    provider: Annotated[
        str | None,
        typer.Option("--provider", help="Provider of the cards.", show_default="the base's, else hosted_vllm"),
    ] = None,
    server: Annotated[
        Server | None, typer.Option("--server", help="What serves them; the base's card then says so.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="Base URL of that server, for the base's card.")
    ] = None,
    slots: Annotated[
        int | None, typer.Option("--slots", min=1, help="Adapters that the server holds at once; not for llama.cpp.")
    ] = None,
    gguf: Annotated[
        Path | None, typer.Option("--gguf", help="For llama.cpp: the folder that `route adapters convert` filled.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace cards that exist.")] = False,
    as_json: options.Json = False,
) -> None:
    """Describe adapters from configuration and header, and write a card for each with --out."""
    from router.adapters import cards as adapter_cards
    from router.adapters.folder import adapter_folders, read_adapter
    from router.cards import load_catalog
    from router.formats.yaml.file import yaml_files

    serving = _serving(server, base_url, slots, gguf)
    existing = list(load_catalog(out)) if out is not None and out.is_dir() and any(yaml_files(out)) else []
    described, problems = [], []
    for path, card_id in adapter_cards.card_ids(adapter_folders(folder), folder).items():
        try:
            described.append(adapter_cards.describe(read_adapter(path), card_id))
        except ConfigurationError as error:
            problems.append(str(error))
    if as_json:
        options.print_json(described)
    for facts in described:
        if not as_json:
            _print_import(facts, server)
        if out is None:
            continue
        taken = [other.id for other in described]
        try:
            note = _write_card(out, facts, existing, base_card, provider, serving, taken=taken, overwrite=overwrite)
        except ConfigurationError as error:
            problems.append(str(error))
            continue
        typer.echo(note, err=as_json)
    if out is not None and serving is not None:
        for note in _serve(out, existing, [facts.id for facts in described], serving):
            typer.echo(note, err=as_json)
    for problem in problems:
        typer.echo(f"route: {problem}", err=True)
    if problems:
        raise typer.Exit(ConfigurationError.exit_code)


def _serving(server: Server | None, base_url: str | None, slots: int | None, gguf: Path | None) -> Serving | None:
    from router.adapters.served import Serving

    if server is None:
        if (base_url, slots, gguf) != (None, None, None):
            raise CallerError("--server: say which server it is, such as vllm or llama.cpp")
        return None
    serving = Serving(server.value, base_url, slots, gguf)
    serving.check()
    return serving


def _print_import(facts: Imported, server: Server | None) -> None:
    from router.adapters.back_ends import NAMES

    shape = "" if facts.rank is None else f", rank {facts.rank}"
    shape += f" (modules: {', '.join(map(str, facts.ranks))})" if facts.ranks else ""
    shape += "" if facts.alpha is None else f", alpha {facts.alpha:g}"
    variants = [word for word, is_so in (("rsLoRA", facts.use_rslora), ("DoRA", facts.use_dora)) if is_so]
    kind = " ".join((facts.peft_type, *(f"with {word}" for word in variants)))
    typer.echo(f"{facts.id}: {kind}{shape}, {facts.parameters:,} parameters, {facts.dtype or 'no weights'}")
    revision = f" at {facts.revision}" if facts.revision else ""
    typer.echo(f"  base: {facts.base_model or 'not stated'}{revision}")
    if facts.targets:
        typer.echo(f"  targets: {', '.join(facts.targets)}")
    typer.echo(f"  servable: {facts.verdict.servable}")
    if facts.verdict.why is not None:
        typer.echo(f"    {facts.verdict.why}")
        return
    for name in NAMES if server is None else (server.value,):
        typer.echo(f"    {name}: {facts.verdict.reasons[name] or 'yes'}")
    for hint in facts.verdict.hints if server is None else ():
        typer.echo(f"    {hint}")


def _write_card(
    out: Path,
    facts: Imported,
    existing: list[Card],
    base_card: str | None,
    provider: str | None,
    serving: Serving | None,
    *,
    taken: list[str],
    overwrite: bool,
) -> str:
    """Write the card of one adapter, and that of its base where there is none. Returns a line for the user."""
    from router.adapters import cards as adapter_cards
    from router.adapters import served
    from router.cards.catalog import load_card

    base = base_card
    if base is None and facts.base_model is not None:
        base = adapter_cards.base_card_id(facts.base_model, existing, taken)
    if base is None:
        return "  no card: base_model_name_or_path is not stated; give --base-card ID"
    file = out / f"{facts.id}.yaml"
    if not file.exists() and any(facts.id in card.names for card in existing):
        return f"  no card: another card in {out} is named {facts.id}; rename the folder or that card"
    if file.exists() and not overwrite:
        return f"  {file}: already exists (--overwrite replaces it)"
    known = next((card for card in existing if card.id == base), None)
    base_model = facts.base_model
    if base_model is None and not facts.verdict.is_chat:
        # Nothing calls it: its name is enough.
        base_model = base_card
    if known is None and base_card is not None and base_model is None:
        raise CallerError(f"--base-card: there is no card {base_card} in {out}")
    if known is not None and known.kind == "adapter":
        raise CallerError(f"--base-card: {base} is an adapter, and a base must be a model")
    used = provider or (known.provider if known is not None else "hosted_vllm")
    note = f"  {file}: card {facts.id}, base {base}"
    # First the base's, since an adapter's card without it would break the folder.
    if known is None and base_model is not None:
        written = adapter_cards.write_base_card(out, base, base_model, used, is_chat=facts.verdict.is_chat)
        if written is not None:
            todo = "add its base_url" if facts.verdict.is_chat else "it is never called"
            if facts.verdict.is_chat and serving is not None and serving.base_url is not None:
                todo = "add what you know of it"
            note += f"\n  {written}: card {base}, which has only a name: {todo}"
            existing.append(load_card(written))
    if serving is None:
        plain = adapter_cards.card_facts(facts, base, used)
    else:
        plain = served.served_facts(
            facts, base, used, known.model if known is not None else base_model or base, serving
        )
    existing[:] = (card for card in existing if card.id != facts.id)
    existing.append(adapter_cards.write_card(file, facts, plain))
    return note


def _serve(out: Path, cards: list[Card], imported: list[str], serving: Serving) -> list[str]:
    """Say on the cards of the bases how the adapters are served. Returns lines for the user."""
    from router.adapters.served import base_facts
    from router.cards.catalog import load_card
    from router.formats.yaml.edit import set_keys
    from router.formats.yaml.file import yaml_files

    bases = {card.base for card in cards if card.id in imported and card.withheld is None}
    if len(bases) > 1 and serving.base_url is not None:
        raise CallerError(f"--base-url: the adapters have {len(bases)} bases ({', '.join(sorted(map(str, bases)))})")
    notes = []
    for file in yaml_files(out):
        base = load_card(file)
        if base.id not in bases:
            continue
        if facts := base_facts(base, cards, serving):
            set_keys(file, facts)
            load_card(file)
            notes.append(f"{file}: now states {', '.join(facts)}")
    return notes


def show_command(
    base: Annotated[
        str | None, typer.Argument(help="Id of the base's card.", show_default="the only one with `adapters`")
    ] = None,
    cards: options.Cards = None,
    model: Annotated[Path | None, typer.Option("--model", help="For llama.cpp: the base's GGUF file.")] = None,
) -> None:
    """Print the command that starts the server of a base with its adapters, in the order of its card."""
    from router.adapters.served import start_command

    catalog = options.load_cards(cards)
    bases = [card.id for card in catalog if card.kind == "model" and card.adapters is not None]
    if base is None and len(bases) != 1:
        which = ", ".join(bases) or "none; import with --server"
        raise CallerError(f"give the id of a base's card; those with `adapters`: {which}")
    typer.echo(start_command(catalog.named(base or bases[0]), list(catalog), model))
