"""Where the cards of a catalogue stand on the scale of ratings, from everything that is known of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from router.cards.catalog import Catalog
from router.cards.facts import ModelFacts, facts_of
from router.cards.schema import Card
from router.perceive.ability.ability import Ability
from router.perceive.ability.acceptance import STRONGER_BY, STRONGER_NOISE, TIER_NOISE, TIERS, AcceptanceParameters
from router.perceive.ability.belief import Belief, LogisticResponse
from router.perceive.ability.local import LocalEvidence
from router.perceive.ability.ratings import measurements
from router.types import Doubles

_CHANGE_VARIANCE = 0.3**2
"""How much an adapter, or another reasoning effort, may change a model: in general and in each family of tasks."""


class ProbeReadings(NamedTuple):
    """The outcomes of one card: `readings` `(probes, READINGS)`, `topics` `(probes, numbers)`, `scores` `(probes,)`."""

    readings: Doubles
    topics: Doubles
    scores: Doubles


class RatingPlacer:
    """The latent variables of each card: outcomes and facts, then the operator's `tier` and `stronger_than`, then
    probes.

    `column` maps a position to the model whose outcomes are the card's. `probes` are by card id. A card's place depends
    on that card alone, on its origin, and on the cards that it states to be stronger than.
    """

    def __init__(
        self,
        parameters: AcceptanceParameters,
        catalog: Catalog,
        column: Callable[[int], int | None],
        families: Sequence[str],
        probes: Mapping[str, ProbeReadings],
    ) -> None:
        self._parameters, self._catalog, self._column, self._probes = parameters, catalog, column, probes
        self._offsets = dict(zip(families, parameters.ratings.family_offset, strict=True))
        self._placed: dict[int, Ability] = {}
        self._beliefs: dict[int, Belief] = {}
        self._changed: dict[int, Ability] = {}

    def latent(self, position: int) -> Ability:
        """The latent variables of the card at `position`."""
        # Without recursion, since a chain of cards may be as long as the catalogue.
        waiting = [position]
        while waiting:
            if waiting[-1] in self._placed:
                waiting.pop()
                continue
            missing = [needed for needed in self._needed(waiting[-1]) if needed not in self._placed]
            if missing:
                waiting += missing
            else:
                self._placed[waiting[-1]] = self._place(waiting[-1])
                waiting.pop()
        return self._placed[position]

    def _needed(self, position: int) -> list[int]:
        """The cards whose places that of the card at `position` depends on."""
        if position in self._placed:
            return []
        card = self._catalog[position]
        names = (*card.stronger_than, *(() if card.origin is None else (card.origin,)))
        return [needed for name in names if (needed := self._catalog.position(name)) is not None]

    def local(self) -> dict[int, LocalEvidence]:
        """What the probes of cards say about prompts like them, by position."""
        for card in self._probes:
            if (position := self._catalog.position(card)) is not None:
                self.latent(position)
        return {position: belief.local for position, belief in self._beliefs.items() if belief.local is not None}

    def belief(self, position: int, readings: Doubles, topics: Doubles) -> Belief:
        """What is known of the card at `position` about prompts with these readings and topics."""
        response = LogisticResponse(self._parameters, readings)
        return Belief.of(response, topics, self.latent(position), is_adapter=self._is_adapter(position))

    def _is_adapter(self, position: int) -> bool:
        """Whether the card is an adapter without outcomes in the artifact."""
        return self._catalog[position].base is not None and self._column(position) is None

    def _place(self, position: int) -> Ability:
        card, parameters = self._catalog[position], self._parameters
        base = None if card.origin is None else self._catalog.position(card.origin)
        column = self._column(position)
        missing = np.full(parameters.outcomes.shape[1], np.nan)
        if column is None and base is not None:
            latent = self._change_of(base)
            if card.benchmarks:
                own = measurements(_own_facts(card, self._catalog[base]))
                latent = parameters.ratings.updated(latent, np.concatenate([own, missing]), parameters.memberships)
        else:
            outcomes = missing if column is None else parameters.outcomes[column]
            offset = self._offsets.get(card.family or "", 0.0)
            latent = parameters.place(measurements(facts_of(card)), outcomes, offset)
        if card.tier is not None:
            latent = _measured(latent, float(parameters.tier_ratings[TIERS.index(card.tier)]), TIER_NOISE)
        for other in card.stronger_than:
            if (weaker := self._catalog.position(other)) is not None:
                least = float(self._placed[weaker].mean[0]) + STRONGER_BY
                if latent.mean[0] < least:
                    latent = _measured(latent, least, STRONGER_NOISE)
        if card.id in self._probes:
            probes = self._probes[card.id]
            response = LogisticResponse(parameters, probes.readings)
            belief = Belief.of(response, probes.topics, latent, is_adapter=self._is_adapter(position))
            self._beliefs[position] = belief.observe(range(len(probes.scores)), probes.scores)
            latent = self._beliefs[position].ability
        return latent

    def _change_of(self, base: int) -> Ability:
        """The latent variables of an adapter or an effort of which nothing is known but its base: one value for all."""
        if base not in self._changed:
            latent = self._placed[base]
            change = _CHANGE_VARIANCE * np.eye(len(latent.mean))
            self._changed[base] = Ability(latent.mean, latent.covariance + change)
        return self._changed[base]


def _own_facts(card: Card, base: Card) -> ModelFacts:
    """The benchmarks that are known of `card` itself; its other facts are those of its base, whose place counts."""
    own = {name: stated for name, stated in card.benchmarks.items() if base.benchmarks.get(name) != stated}
    return ModelFacts(card.id, benchmarks=facts_of(msgspec.structs.replace(card, benchmarks=own)).benchmarks)


def _measured(latent: Ability, rating: float, noise: float) -> Ability:
    """The latent variables after a measurement of the general rating with this standard deviation."""
    gain = latent.covariance[:, 0] / (latent.covariance[0, 0] + noise**2)
    return Ability(
        latent.mean + gain * (rating - latent.mean[0]), latent.covariance - np.outer(gain, latent.covariance[0])
    )
