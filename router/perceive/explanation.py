"""The grounds of the forecasts in words: the reading of a prompt, and the evidence on a card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from router.cards.benchmarks import BENCHMARKS, FAMILIES
from router.cards.catalog import Catalog
from router.cards.schema import Card
from router.perceive.predictor import Predictor
from router.types import Floats

_LEAST_SHARE = 0.1
_GENERAL = FAMILIES[0]


def describe_prompt(predictor: Predictor, vector: Floats) -> str | None:
    """How difficult a prompt is and which families it belongs to; None where the predictor has no reader."""
    if predictor.acceptance is None:
        return None
    reading = vector[predictor.width - 1 - len(predictor.acceptance.families) :]
    quantiles = predictor.acceptance.difficulties
    share = np.interp(reading[0], quantiles, np.linspace(0.025, 0.975, len(quantiles)))
    families = sorted(zip(reading[1:].tolist(), FAMILIES[1:], strict=True), reverse=True)
    named = [f"{name.replace('_', ' ')} {100 * part:.0f} %" for part, name in families if part >= _LEAST_SHARE]
    return f"harder than {100 * share:.0f} % of everyday prompts; {', '.join(named) or 'no particular family of tasks'}"


def families_of(predictor: Predictor, vectors: Floats) -> list[str] | None:
    """The family of tasks with the greatest share of each prompt, from feature vectors `(prompts, width)`; `general`
    where no family has more than what is left of the prompt. None where the predictor has no reader.
    """
    if predictor.acceptance is None:
        return None
    shares = vectors[:, predictor.width - len(predictor.acceptance.families) :]
    greatest, rest = shares.argmax(axis=1), 1.0 - shares.sum(axis=1)
    return [
        FAMILIES[1:][family] if own[family] > left else _GENERAL
        for family, own, left in zip(greatest, shares, rest, strict=True)
    ]


def describe_card(predictor: Predictor, catalog: Catalog, position: int, evidence: Mapping[str, Any]) -> str:
    """The evidence on the card at `position`, the strongest first; `evidence` are the probes by card id."""
    card = catalog[position]
    parts = []
    if (column := predictor.column(catalog, position)) is not None:
        parts.append(f"{predictor.manifest.models[column].outcomes} outcomes")
    of_card = evidence.get(card.id)
    if of_card is not None and len(of_card.scores):
        parts.append(f"{len(of_card.scores)} probes")
    if of_card is not None and of_card.task is not None and column is None:
        parts.append(f"a profile of {of_card.task.prompts} prompts")
    if card.examples and column is None:
        parts.append(f"{len(card.examples)} example{'s' * (len(card.examples) != 1)} of what it is for")
    if card.base is not None and column is None:
        parts.append(f"its base {card.base}")
    parts += _stated(card)
    if predictor.acceptance is not None:
        parts += _believed(card)
    if (speed := catalog.fitted_speed(card)) is not None:
        parts.append(f"latency: {speed}")
    return ", ".join(parts) or "nothing is known of it: the average of all models"


def _stated(card: Card) -> list[str]:
    known = sum(name in BENCHMARKS for name in card.benchmarks)
    parts = [f"{known} benchmark{'s' * (known != 1)}"] if known else []
    facts = {"size": card.size, "release": card.released, "price": card.price, "family": card.family}
    parts += [name for name, value in facts.items() if value is not None]
    return parts


def _believed(card: Card) -> list[str]:
    """What the operator states; an artifact of one's own outcomes does not use it."""
    parts = []
    if card.tier is not None:
        parts.append(f"tier {card.tier} (stated by the operator)")
    if card.stronger_than:
        parts.append(f"stronger than {', '.join(card.stronger_than)} (stated by the operator)")
    return parts
