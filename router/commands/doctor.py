"""`route doctor`: which cards can be called now, whether the keys are accepted; cards of the models that run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router.commands import options
from router.errors import CallerError

if TYPE_CHECKING:
    from router.cards import Catalog
    from router.commands.catalogue.new_cards import NewCards
    from router.dispatch.availability import ModelServer
    from router.dispatch.discovery.key_check import KeyCheck

_COLOURS = {"ok": "green", "refused": "red", "unreachable": "red", "unknown": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="With --write: the folder.", show_default="that of --cards")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write cards of the models found on this machine. Nothing is overwritten.")
    ] = False,
    server: Annotated[
        list[str] | None,
        typer.Option("--server", help="Look for models at this URL too, such as http://127.0.0.1:8001. Repeatable."),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not try the keys; ask only servers on this machine.")
    ] = False,
    cards: options.Cards = None,
    artifact: options.Artifact = None,
    as_json: options.Json = False,
) -> None:
    """Show which cards can be called now. For the others, show the missing API key or the server that does not run.

    Every key that is set is tried with one request for a list of models, which costs nothing. --write makes cards of
    what Ollama, vLLM, llama.cpp and LM Studio have on this machine.
    """
    if folder is not None and not write:
        raise CallerError(f"{folder}: a folder needs --write, as in route doctor --write {folder}")
    lists = [_list_url(url) for url in server or ()]
    if write:
        from router.commands.catalogue.new_cards import default_folder

        _write_cards(folder or default_folder(cards), lists, offline, as_json)
    else:
        _report(options.load_cards(cards), artifact, lists, offline, as_json)


def _list_url(url: str) -> str:
    """The URL of the list of models of the server at `url`. Raises CallerError."""
    from router.formats.net import parse_url

    parsed = parse_url(url)
    if parsed is None or parsed.scheme not in ("http", "https"):
        raise CallerError(f"--server {url}: must be a URL such as http://127.0.0.1:8001")
    return f"{url.rstrip('/').removesuffix('/v1')}/v1/models"


async def _keys_of(catalog: Catalog, offline: bool) -> tuple[KeyCheck, ...]:
    from router.dispatch.discovery.key_check import check_keys

    return () if offline else await check_keys(catalog)


def _problems(keys: Sequence[KeyCheck]) -> dict[str, str]:
    """Why cards cannot be called with their keys; a card is well where one of its servers accepts its key."""
    well = {card for check in keys if check.problem is None for card in check.cards}
    return {card: check.problem for check in keys if check.problem for card in check.cards if card not in well}


def _unavailable(keys: Sequence[KeyCheck], servers: Mapping[str, str]) -> dict[str, str]:
    """Why cards cannot be called: a refused key, with its host and variable, says more than `servers` do."""
    problems = _problems(keys)
    refused = {card for check in keys if check.state == "refused" for card in check.cards}
    return {**problems, **servers, **{card: why for card, why in problems.items() if card in refused}}


def _report(catalog: Catalog, artifact: Path | None, lists: list[str], offline: bool, as_json: bool) -> None:
    import asyncio

    from router import settings
    from router.dispatch.availability import list_servers, well_known_servers
    from router.loading import load_predictor
    from router.perceive import kernel
    from router.perceive.ability.evidence import load_evidence

    predictor = load_predictor(artifact)
    folder = settings.default_evidence_folder()
    evidence = load_evidence(folder)

    async def find() -> tuple[Sequence[ModelServer], Mapping[str, str], Sequence[KeyCheck]]:
        servers, inventory, keys = await asyncio.gather(
            well_known_servers(lists), list_servers(catalog), _keys_of(catalog, offline)
        )
        running = {server.url: server for server in inventory.servers.values() if server.problem is None}
        running |= {server.url: server for server in servers}
        return tuple(running.values()), _unavailable(keys, inventory.unavailable_cards(catalog)), keys

    servers, unavailable, keys = asyncio.run(find())
    if as_json:
        document = {
            "ready": [card.id for card in catalog if card.id not in unavailable],
            "unavailable": unavailable,
            "keys": keys,
            "servers": [{"url": server.url, "name": server.kind, "models": server.models} for server in servers],
            "artifact": predictor.id,
            "kernel": kernel.status(),
            "probed": {card: len(outcomes) for card, outcomes in evidence.items()},
        }
        options.print_json(document)
        return
    from rich.markup import escape

    from router.commands.render import console, table
    from router.perceive.ability.evidence import without_card

    out = console()
    out.print(f"artifact {predictor.id}: {len(predictor.models)} measured models, encoder {predictor.manifest.encoder}")
    out.print(f"kernel   {kernel.status()}")
    out.print(f"cards    {len(catalog)} in the catalogue, {len(catalog) - len(unavailable)} can be called now")
    if evidence:
        out.print(f"evidence {sum(map(len, evidence.values()))} probe outcomes of {len(evidence)} cards in {folder}")
    for name in without_card(evidence, catalog.ids):
        out.print(escape(f"{folder}: contains evidence for {name}, which is not in the catalogue"), style="yellow")
    out.print()
    _print_servers(servers)
    _print_keys(keys)
    out.print()
    shown = table("card", "now", "why")
    for card in catalog:
        reason = unavailable.get(card.id)
        shown.add_row(escape(card.id), "[green]ready[/]" if reason is None else "no", escape(reason or ""))
    out.print(shown)


def _write_cards(folder: Path, lists: list[str], offline: bool, as_json: bool) -> None:
    import asyncio

    from router import settings
    from router.commands.catalogue.new_cards import write_cards
    from router.dispatch.availability import well_known_servers
    from router.dispatch.configured import missing_configuration
    from router.dispatch.discovery.local_models import local_models
    from router.dispatch.providers import key_variable

    shipped = options.load_cards(settings.shipped_cards_folder())

    async def find() -> tuple[Any, ...]:
        servers, keys = await asyncio.gather(well_known_servers(lists), _keys_of(shipped, offline))
        return servers, keys, await local_models(servers)

    servers, keys, models = asyncio.run(find())
    # A provider that cannot be reached now may be reached later.
    refused = {card for check in keys if check.state == "refused" for card in check.cards}
    keyed = (card for card in shipped if key_variable(card) is not None and missing_configuration(card) is None)
    usable = [card.id for card in keyed if card.id not in refused]
    new = write_cards(folder, models, usable)
    if as_json:
        document = {"folder": str(folder), "written": [card.id for card in new.written], "copied": new.copied}
        options.print_json({**document, "present": new.present, "matching": new.matching, "keys": keys})
        return
    _print_servers(servers)
    _print_keys(keys)
    _print_new(new)


def _print_servers(servers: Sequence[ModelServer]) -> None:
    from rich.markup import escape

    from router.commands.render import console
    from router.formats.text import shortened

    out = console()
    for server in servers:
        models = shortened(server.models) or "no model loaded"
        out.print(f"[green]found[/] {server.kind} at {server.url}: {escape(models)}")
    if not servers:
        out.print("no server found on this machine (looked for Ollama, vLLM, llama.cpp, LM Studio)")


def _print_keys(keys: Sequence[KeyCheck]) -> None:
    from rich.markup import escape

    from router.commands.render import console

    for check in keys:
        cards = f"{len(check.cards)} card{'s' if len(check.cards) > 1 else ''}"
        text = f"{check.variable} for {check.host}: {check.detail} ({cards})"
        console().print(f"[{_COLOURS[check.state]}]key {check.state}[/] {escape(text)}")


def _print_new(new: NewCards) -> None:
    """What was written, and what to do next."""
    from rich.markup import escape

    from router.commands.render import console
    from router.formats.text import shortened
    from router.formats.units import show_parameters, show_tokens

    out = console()
    out.print()
    for card in new.written:
        size = f"{show_parameters(card.size.total)}" if card.size else "size unknown"
        context = f"context {show_tokens(card.context_tokens)}" if card.context_tokens else "context unknown"
        words = ", ".join((size, context, *(card.capabilities or ())))
        out.print(escape(f"wrote   {new.folder}: {card.id} ({words})"))
    if new.copied:
        out.print(escape(f"copied  {new.folder}: {shortened(new.copied, 20)} (shipped cards whose key is set)"))
    if new.present:
        out.print(escape(f"present {shortened(new.present, 20)}: a card describes the model already"))
    if new.matching:
        out.print(escape(f"keys    also fit shipped cards that {new.folder} lacks: {shortened(new.matching, 20)}"))
    if not (new.written or new.copied or new.present):
        out.print("nothing to write: no model server answers on this machine, and no key of a shipped card is set")
        out.print(
            "Start Ollama (ollama serve; ollama pull llama3.2) or set a key (export OPENAI_API_KEY=…), then repeat."
        )
        return
    option = "" if new.is_default else f" --cards {new.folder}"
    out.print(escape(f'\nNext: route ask "your prompt"{option}, or route serve{option}'))
    if new.written:
        out.print(escape(f"Measure what a new card can do: route onboard {new.written[0].id}{option}"))
