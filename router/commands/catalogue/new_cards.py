"""Write cards of the models that were found on this machine, and of those whose key is set. Nothing is overwritten."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from router import settings
from router.cards import Card, Catalog, load_catalog
from router.cards.catalog import load_card
from router.cards.sources.local_models import Facts
from router.dispatch.discovery.local_models import LocalModel, described_by
from router.formats.yaml.file import yaml_files
from router.formats.yaml.writing import yaml_text

_NOT_IN_FILE_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
_HEAD = """\
# Written by `route doctor --write` from what {server} reports. What it does not report is left out: add what you know.
# docs/model-cards.md describes the keys.
"""


class NewCards(Struct, frozen=True):
    """What was done in `folder`.

    `written` are the cards of models that were found, `copied` the shipped cards whose key is set; `present` the cards
    that describe a found model already; `matching` the shipped cards whose key is set, but that the folder, which had
    cards before, lacks.
    """

    folder: Path
    written: tuple[Card, ...]
    copied: tuple[str, ...]
    present: tuple[str, ...]
    matching: tuple[str, ...]

    @property
    def is_default(self) -> bool:
        """Whether commands use the folder without the option --cards."""
        return self.folder.resolve() == settings.default_cards_folder().resolve()


def default_folder(cards: Path | None) -> Path:
    """The folder of cards that is the user's own: never that of the package."""
    folder = cards or settings.default_cards_folder()
    return Path("model_cards") if folder == settings.shipped_cards_folder() else folder


def write_cards(folder: Path, models: Sequence[LocalModel], usable: Iterable[str]) -> NewCards:
    """Write a card for each of `models` that no card in `folder` describes.

    A folder without cards first gets copies of the shipped cards in `usable`, the ids of those whose key is set: the
    cards in the folder replace the shipped ones. Raises ConfigurationError where the cards in `folder` are invalid.
    """
    is_new = not folder.is_dir() or not any(yaml_files(folder))
    existing: list[Card] = [] if is_new else list(load_catalog(folder))
    copied = _copy_shipped(folder, set(usable)) if is_new else []
    existing += copied
    names = {name for card in existing for name in card.names}
    written, present = [], []
    ids: dict[str, str] = {}
    for model in models:
        facts = dict(model.facts)
        known = described_by(existing, facts)
        if known is not None:
            present.append(known.id)
            ids[model.facts["id"]] = known.id
            continue
        facts["id"] = ids[model.facts["id"]] = _free_name(facts["id"], model.server, names)
        if "base" in facts:
            facts["base"] = ids[facts["base"]]
        card = _write(folder, facts, model.server)
        names.add(card.id)
        existing.append(card)
        written.append(card)
    Catalog(existing)
    missing = () if is_new else tuple(sorted(set(usable) - names))
    return NewCards(folder, tuple(written), tuple(card.id for card in copied), tuple(present), missing)


def _copy_shipped(folder: Path, ids: set[str]) -> list[Card]:
    copied = []
    for file in yaml_files(settings.shipped_cards_folder()):
        card = load_card(file)
        if card.id in ids and not (folder / file.name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / file.name)
            copied.append(card)
    return copied


def _free_name(wanted: str, server: str, taken: set[str]) -> str:
    """`wanted`, else with the server's name, else with a number."""
    if wanted not in taken:
        return wanted
    named = f"{wanted}-{_NOT_IN_FILE_NAMES.sub('-', server.lower())}"
    return (
        named
        if named not in taken
        else next(name for number in range(2, len(taken) + 3) if (name := f"{named}-{number}") not in taken)
    )


def _write(folder: Path, facts: Facts, server: str) -> Card:
    folder.mkdir(parents=True, exist_ok=True)
    stem = _NOT_IN_FILE_NAMES.sub("-", facts["id"])
    keys = [field.encode_name for field in msgspec.structs.fields(Card) if field.encode_name in facts]
    ordered = {key: facts[key] for key in keys}
    text = _HEAD.format(server=server) + yaml_text(ordered)
    for number in range(1, 1000):
        file = folder / (f"{stem}.yaml" if number == 1 else f"{stem}-{number}.yaml")
        try:
            with file.open("x", encoding="utf-8") as opened:
                opened.write(text)
        except FileExistsError:
            continue
        return load_card(file)
    raise FileExistsError(f"{folder / stem}.yaml and 998 more files already exist")
