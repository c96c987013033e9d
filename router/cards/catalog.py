"""The catalogue: all cards of a folder, checked together."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import msgspec
import numpy as np

from router.cards.adapter.canary import Canary, canaries_of, canary_problem, why_untried
from router.cards.adapter.checks import adapters_problem, base_problem, slots_problem
from router.cards.adapter.inheritance import inherited, with_inherited
from router.cards.adapter.stacks import stack_problem
from router.cards.beliefs import contradiction, with_belief
from router.cards.columns import Columns, columns_of
from router.cards.efforts import with_efforts
from router.cards.facets import Facet, facets_of
from router.cards.machine.columns import Machines, machines_of
from router.cards.machine.speeds import Speed
from router.cards.schema import Belief, Card, to_plain
from router.errors import ConfigurationError, FileError, UnknownModelError, did_you_mean
from router.formats.yaml.file import load, read_yaml, yaml_files
from router.types import Indices

_CHECKS = (("base", base_problem), ("lora_slots", slots_problem), ("lineage.of", canary_problem))


class CatalogError(ConfigurationError):
    """The card `card` conflicts with the others because of its key `key`, whose steps are joined by dots."""

    def __init__(self, card: str, key: str, problem: str) -> None:
        self.card, self.key, self.problem = card, key, problem
        super().__init__(f"{card}: {key}: {problem}")


class Catalog(Sequence[Card]):
    """The cards in the order of their ids, looked up by id, alias or the model's upstream name. Immutable,
    but for what is computed of it once (`derived`).

    An adapter has the facts of its base that its card does not state (`router.cards.adapter.inheritance`); `stated` are
    the cards as they were given. `ids` and `ids_without_effort` are those of the cards, in their order.
    """

    def __init__(self, cards: Iterable[Card], speeds: Mapping[str, Speed] | None = None) -> None:
        """Add the candidates of all efforts to `cards`; `speeds` were fitted to recorded times, by card id.

        Raise CatalogError for a name that occurs twice, for a base that is missing or not a model, and for beliefs
        about cards that are missing or contradict each other.
        """
        self.speeds: Mapping[str, Speed] = speeds or {}
        # What decisions compute of the cards alone (`router.decide.fields.once`), and of them and what a client asks: a
        # bounded number of those (`once_bounded`).
        self.derived: dict[Hashable, Any] = {}
        self.derived_by_clients: dict[Hashable, Any] = {}
        self._cards = tuple(sorted(with_efforts(cards), key=lambda card: card.id))
        self.ids = tuple(card.id for card in self._cards)
        self._position: dict[str, int] = {}
        for position, card in enumerate(self._cards):
            for name in card.names:
                if name in self._position:
                    raise _name_conflict(name, card, self._cards[self._position[name]])
                self._position[name] = position
        by_id = {card.id: card for card in self._cards}
        for card in self._cards:
            _check_beside(card, by_id)
        if (contradicting := contradiction(by_id)) is not None:
            raise CatalogError(*contradicting)
        # An upstream's responses carry its own name for the model. It identifies a card where only one card has it.
        upstream = Counter(card.model for card in self._cards if card.effort_of is None)
        for position, card in enumerate(self._cards):
            if card.effort_of is None and upstream[card.model] == 1:
                self._position.setdefault(card.model, position)
        self.stated = self._cards
        self._cards = tuple(
            card if (base := self._base_of(card)) is None else with_inherited(card, base) for card in self.stated
        )
        self.ids_without_effort = tuple(card.id_without_effort for card in self._cards)
        with_facts = {card.id: card for card in self._cards}
        for card in self._cards:
            _check_served(card, with_facts)

    def __len__(self) -> int:
        return len(self._cards)

    def __iter__(self) -> Iterator[Card]:
        return iter(self._cards)

    @overload
    def __getitem__(self, index: int) -> Card: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Card, ...]: ...
    def __getitem__(self, index: int | slice) -> Card | tuple[Card, ...]:
        return self._cards[index]

    def position(self, name: str) -> int | None:
        """The position of the card with this id, alias or unique upstream name; None where there is none."""
        return self._position.get(name)

    def named(self, name: str) -> Card:
        """The card that `position` finds. Raises UnknownModelError with the most similar name."""
        position = self.position(name)
        if position is None:
            raise UnknownModelError(f'there is no card "{name}"{did_you_mean(name, self._position)}')
        return self._cards[position]

    def with_beliefs(self, beliefs: Mapping[str, Belief]) -> Catalog:
        """The catalogue with these beliefs, by the names of cards, in place of what the cards state.

        Raises UnknownModelError for a card that does not exist, and CatalogError for beliefs that contradict each other
        or those on cards.
        """
        if not beliefs:
            return self
        believed = {self.named(name).id: belief for name, belief in beliefs.items()}
        return Catalog((with_belief(card, believed) for card in self.stated if card.effort_of is None), self.speeds)

    def with_speeds(self, speeds: Mapping[str, Speed]) -> Catalog:
        """The catalogue with these fits of estimated latency, those of cards that do not exist left out."""
        known = {name: speed for name, speed in speeds.items() if name in self.ids_without_effort}
        return Catalog((card for card in self.stated if card.effort_of is None), known) if known else self

    def fitted_speed(self, card: Card) -> Speed | None:
        """The fit that the latency of the card is estimated by; None where there is none, or the card states both."""
        stated = card.latency is not None and None not in (card.latency.ttft_ms, card.latency.tpot_ms)
        return None if stated else self.speeds.get(card.id_without_effort)

    def inherited(self, name: str) -> Mapping[str, Any]:
        """The facts that the card with this name inherits from its base, as the keys and values of YAML."""
        stated = self.stated[self._position[self.named(name).id]]
        base = self._base_of(stated)
        if base is None:
            return {}
        plain = to_plain(self.named(name))
        fields = {field.name: field.encode_name for field in msgspec.structs.fields(Card)}
        keys = (fields[name] for name in inherited(stated, base))
        return {key: plain.get(key, []) for key in keys}

    def _base_of(self, card: Card) -> Card | None:
        return None if card.base is None else self.stated[self._position[card.base]]

    @functools.cached_property
    def withheld(self) -> Mapping[str, str]:
        """The ids of the cards that are never called, with the reason; they only describe, or pass on facts."""
        return {card.id: card.withheld for card in self._cards if card.withheld is not None}

    @functools.cached_property
    def columns(self) -> Columns:
        """The numeric facts of all cards."""
        return columns_of(self._cards)

    @functools.cached_property
    def untried(self) -> Mapping[str, str]:
        """The ids of the cards that are called only by name, with the reason."""
        return {card.id: why_untried(card) for card in self._cards if card.is_untried}

    @functools.cached_property
    def canaries(self) -> Mapping[str, Canary]:
        """The canaries, by the ids of the cards of whose conversations they take a share."""
        return canaries_of(self._cards)

    @functools.cached_property
    def hosts(self) -> Mapping[str, Indices]:
        """The positions of the cards that are called at the same servers, by the id of the card that states these: its
        own, those of its efforts, and of the adapters that are served there.
        """
        positions: dict[str, list[int]] = {}
        for position, card in enumerate(self._cards):
            base = None if card.base is None else self._cards[self._position[card.base]]
            is_there = base is not None and (base.base_url, base.deployments) == (card.base_url, card.deployments)
            host = card if base is None or not is_there else base
            positions.setdefault(host.id_without_effort, []).append(position)
        return {name: np.array(each) for name, each in positions.items()}

    @functools.cached_property
    def facets(self) -> Mapping[str, Facet]:
        """The facts of all cards that are words."""
        return facets_of(self._cards)

    @functools.cached_property
    def machines(self) -> Machines:
        """What the shapes and machines of all cards come to."""
        return machines_of(self._cards)


def _check_beside(card: Card, by_id: Mapping[str, Card]) -> None:
    """Raise CatalogError for what a card states of others wrongly."""
    for key, problem_of in _CHECKS:
        if problem := problem_of(card, by_id):
            raise CatalogError(card.id, key, problem)
    if wrong := adapters_problem(card, by_id):
        raise CatalogError(card.id, *wrong)


def _check_served(card: Card, by_id: Mapping[str, Card]) -> None:
    """Raise CatalogError where the server of a card does not have its adapters; `by_id` with what cards inherit."""
    if problem := stack_problem(card, by_id):
        raise CatalogError(card.id, "stack", problem)
    if card.base is None or card.lora_slots is None or card.withheld or card.stack:
        return
    if card.id not in card.lora_slots:
        # It would be called with the weights of no adapter.
        raise CatalogError(card.base, "lora_slots", f"does not name {card.id}, which is on the same server")


def _name_conflict(name: str, card: Card, other: Card) -> CatalogError:
    for candidate, owner in ((card, other), (other, card)):
        if candidate.effort_of is not None:
            key = f"efforts.{candidate.effort}"
            return CatalogError(candidate.effort_of, key, f'the name "{name}" already belongs to the card {owner.id}')
    if other.id == card.id:
        return CatalogError(card.id, "aliases", f'has the name "{name}" twice')
    key = "id" if name == card.id else "aliases"
    return CatalogError(card.id, key, f'the name "{name}" already belongs to {other.id}')


def load_card(file: Path) -> Card:
    """Read the card in one YAML file. Raises FileError naming file, line and key."""
    return load(file, Card, "a card (keys and values)")[0]


def load_catalog(folder: Path) -> Catalog:
    """Load every `*.yaml` and `*.yml` directly inside `folder`.

    Raises ConfigurationError that lists every invalid file as `file:line: key: problem`.
    """
    if not folder.is_dir():
        kind = "is a file; give the folder that contains it" if folder.is_file() else "does not exist"
        raise ConfigurationError(f"the card folder {folder} {kind} (`route init` creates one)")
    cards: dict[str, Card] = {}
    origin: dict[str, Path] = {}
    problems: list[str] = []
    for file in yaml_files(folder):
        try:
            card = load_card(file)
        except FileError as error:
            problems.append(str(error))
            continue
        if card.id in origin:
            problems.append(f'{file}:{_line(file, "id")}: id: "{card.id}" is already used by {origin[card.id]}')
            continue
        cards[card.id], origin[card.id] = card, file
    if problems:
        raise ConfigurationError("\n".join(problems))
    if not cards:
        raise ConfigurationError(f"the card folder {folder} contains no cards (*.yaml)")
    try:
        return Catalog(cards.values())
    except CatalogError as error:
        file = origin[error.card]
        line = _line(file, error.key) or _line(file, "id")
        raise FileError(str(file), line, f"{error.key}: {error.problem}") from None


def _line(file: Path, key: str) -> int | None:
    return read_yaml(file)[1].get(tuple(key.split(".")))
