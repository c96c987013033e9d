"""`route cards profile`: what a card is for, from texts that are not kept; `route cards similar` compares cards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.errors import CallerError

if TYPE_CHECKING:
    from router.perceive.predictor import Predictor
    from router.perceive.purpose.profile import Profile
    from router.types import Doubles

_AT_ONCE = 512
_WIDE = 0.9
"""The spread of the topics of everyday prompts of all kinds (`data/everyday`). Of tasks of `llmrouter_default`, `mint`
and `mmlu_helm` it is .1 to .9, half of them below .5."""


def register(app: typer.Typer) -> None:
    """Add the commands to the group `cards`."""
    app.command("profile")(profile)
    app.command("similar")(similar)


def profile(
    name: Annotated[str, typer.Argument(metavar="CARD", help="Id or alias of a card.")],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Texts that the card is for: .jsonl or .jsonl.gz, one a line; none is kept."),
    ] = None,
    published: Annotated[
        Path | None, typer.Option("--import", help="A profile that somebody has exported: check and keep it.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="File to write for others: the profile, the card's examples, its outcomes."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a profile or a file that exists.")] = False,
    cards: options.Cards = None,
    artifact: options.Artifact = None,
    as_json: options.Json = False,
) -> None:
    """Describe what a card is for by numbers without text: make, import, export or show its profile."""
    from router import settings
    from router.loading import load_predictor
    from router.perceive.purpose.profile_file import file_name, read_profile, write_profile

    if sum(option is not None for option in (source, published, export)) > 1:
        raise CallerError("give one of --from, --import and --export")
    folder = cards or settings.default_cards_folder()
    catalog = options.load_cards(folder)
    card = catalog.named(name)
    file = settings.profiles_folder(folder) / file_name(card.id)
    target = export or file
    if (source or published or export) and target.exists() and not overwrite:
        raise CallerError(f"{target}: already exists; --overwrite replaces it")
    predictor = load_predictor(artifact)
    if source is not None:
        made = _made(predictor, source)
    elif published is not None:
        made = read_profile(published).profile
    elif export is not None:
        made = _published(predictor, folder, card.id)
    elif file.exists():
        made = read_profile(file).profile
    else:
        raise CallerError(f"{card.id} has no profile ({file}); make one with --from, or --import one")
    # Refused here as at the start of a gateway.
    predictor.with_profile(None, made)
    if source or published or export:
        write_profile(target, made)
    spread = round(made.spread(predictor.purpose_space), 2) if made.count else None
    if as_json:
        options.print_json(
            {
                "card": card.id,
                "file": str(target),
                "prompts": made.count,
                "spread": spread,
                "outcomes": len(made.scores),
                "bytes": target.stat().st_size,
            }
        )
        return
    outcomes = f", {len(made.scores)} outcomes of probes" if len(made.scores) else ""
    typer.echo(f"{target}: {card.id}, profile of {made.count} texts{outcomes}, {target.stat().st_size:,} bytes")
    if spread is not None:
        typer.echo(f"spread of topics: {spread:g} (of everyday prompts of all kinds: {_WIDE:g})")
        if spread >= _WIDE:
            typer.echo("the texts are of all kinds: their mean may be near none of them; give each task a card")
    if predictor.column(catalog, catalog.ids.index(card.id)) is not None:
        typer.echo("the predictor was trained on outcomes of this card, which say more: the profile changes nothing")


def similar(
    text: Annotated[
        str | None, typer.Argument(help="A prompt; without it, cards are compared with each other.")
    ] = None,
    least: Annotated[
        float, typer.Option("--least", min=0, max=1, help="Cosine from which two cards are nearly the same.")
    ] = 0.95,
    most: Annotated[int, typer.Option("--most", min=1, help="Cards of the shortlist for a prompt.")] = 10,
    cards: options.Cards = None,
    artifact: options.Artifact = None,
    as_json: options.Json = False,
) -> None:
    """Name cards that are for nearly the same prompts, or the cards for a prompt by name, description and examples."""
    views = options.card_views(cards, artifact)
    if text is None:
        pairs = views.pairs(least)
        if as_json:
            options.print_json(pairs)
            return
        for pair in pairs:
            typer.echo(f"nearly the same: {pair.one} and {pair.other} (cosine {pair.cosine:.3f})")
        if not pairs:
            typer.echo(f"no two of {len(views.ids)} cards have examples or profiles with a cosine of {least:g} or more")
        return
    if not text.strip():
        raise CallerError("the prompt is empty")
    shortlist = views.shortlist(text, most)
    if as_json:
        options.print_json(shortlist)
        return
    from rich.markup import escape

    from router.commands.render import console, table

    shown = table("card", "among the first by", "name", "description", "examples", right=("name", "description"))
    for card in shortlist:
        values = (card.name, card.description, card.examples)
        numbers = ("" if value is None else f"{value:.2f}" for value in values)
        shown.add_row(escape(card.card), ", ".join(card.views), *numbers)
    console().print(shown)


def _made(predictor: Predictor, source: Path) -> Profile:
    from router.learn.data.documents import read_documents
    from router.perceive.purpose.profile import Profile

    space = predictor.purpose_space
    return Profile.of(space, (space.points_of(block) for block in _blocks(read_documents(source))))


def _blocks(documents: Iterable[tuple[str, ...]]) -> Iterator[list[tuple[str, ...]]]:
    waiting = iter(documents)
    while block := list(islice(waiting, _AT_ONCE)):
        yield block


def _published(predictor: Predictor, cards: Path, card_id: str) -> Profile:
    """What is known of a card: its profile and examples together, and the outcomes of its probes."""
    from router import settings
    from router.perceive.ability.evidence import load_evidence
    from router.perceive.purpose.profile import Profile, with_outcomes
    from router.perceive.purpose.profile_file import load_profiles

    card = options.load_cards(cards).named(card_id)
    space = predictor.purpose_space
    of_examples: list[Doubles] = [space.points_of([(text,) for text in card.examples])] if card.examples else []
    known = Profile.of(space, of_examples)
    stored = load_profiles(settings.profiles_folder(cards)).get(card.id)
    if stored is not None:
        known = stored.profile.joined(known)
    outcomes = load_evidence(settings.default_evidence_folder()).get(card.id, ())
    evidence = predictor.evidence_of(
        {card.id: outcomes} if outcomes else {}, {card.id: stored} if stored is not None else {}
    ).get(card.id)
    if evidence is not None:
        known = with_outcomes(known, predictor.reader_id, evidence.vectors, evidence.scores)
    if not known.count and not len(known.scores):
        raise CallerError(f"nothing is known of {card.id}: it has no examples, no profile and no outcomes of probes")
    return known
