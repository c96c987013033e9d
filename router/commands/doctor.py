"""`route doctor`: which cards can be called now."""

from __future__ import annotations

import typer

from router.commands import options


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(cards: options.Cards = None, artifact: options.Artifact = None, as_json: options.Json = False) -> None:
    """Show which cards can be called now. For the others, show the missing API key or the server that does not run."""
    import asyncio

    from router import settings
    from router.dispatch.availability import list_servers, well_known_servers
    from router.formats.text import shortened
    from router.loading import load_predictor
    from router.perceive.evidence import load_evidence, without_card

    catalog = options.load_cards(cards)
    predictor = load_predictor(artifact)
    folder = settings.default_evidence_folder()
    evidence = load_evidence(folder)
    unknown_cards = without_card(evidence, catalog.ids)
    servers = asyncio.run(well_known_servers())
    unavailable = asyncio.run(list_servers(catalog)).unavailable_cards(catalog)
    ready = [card.id for card in catalog if card.id not in unavailable]
    if as_json:
        document = {
            "ready": ready,
            "unavailable": unavailable,
            "servers": [{"url": server.url, "name": server.kind, "models": server.models} for server in servers],
            "artifact": predictor.id,
            "probed": {card: len(outcomes) for card, outcomes in evidence.items()},
        }
        options.print_json(document)
        return
    from rich.markup import escape

    from router.commands.render import console, table

    out = console()
    out.print(f"artifact {predictor.id}: {len(predictor.models)} measured models, encoder {predictor.manifest.encoder}")
    out.print(f"cards    {len(catalog)} in the catalogue, {len(ready)} can be called now")
    if evidence:
        out.print(f"evidence {sum(map(len, evidence.values()))} probe outcomes of {len(evidence)} cards in {folder}")
    for name in unknown_cards:
        out.print(escape(f"{folder}: contains evidence for {name}, which is not in the catalogue"), style="yellow")
    out.print()
    for server in servers:
        models = shortened(server.models) or "no model loaded"
        out.print(f"[green]found[/] {server.kind} at {server.url}: {escape(models)}")
    if not servers:
        out.print("no server found on this machine (looked for Ollama, vLLM, llama.cpp, LM Studio)")
    out.print()
    shown = table("card", "now", "why")
    for card in catalog:
        reason = unavailable.get(card.id)
        shown.add_row(escape(card.id), "[green]ready[/]" if reason is None else "no", escape(reason or ""))
    out.print(shown)
