"""Fitting the item-response part of a predictor: difficulty from graded prompts, ratings from facts and outcomes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from router.cards.benchmarks import FAMILIES
from router.cards.facts import ModelFacts
from router.errors import CallerError
from router.learn.data import RoutingSet
from router.learn.data.everyday import GradedPrompts
from router.learn.data.facts import with_missing
from router.learn.data.leaderboards import facts_from_name, is_pretrained_only, model_key, read_leaderboards
from router.learn.data.price_map import listed_prices, snapshot_dates
from router.learn.training.outcome_table import additive_effects
from router.learn.training.ratings import column_memberships, fit_ratings
from router.learn.training.reader import OtherWordings, fit_reader
from router.perceive.ability.ability import Ability
from router.perceive.ability.acceptance import AcceptanceParameters
from router.perceive.ability.ratings import measurements, memberships, rating_of
from router.perceive.features import topic_texts
from router.perceive.reader import Reader
from router.types import Doubles, Floats

_QUANTILES = np.linspace(0.025, 0.975, 20)
_MIN_PROMPTS, _MIN_MODELS, _MIN_OUTCOMES = 60, 6, 25
_READ_PROMPTS = 60
_EDGE = 0.02
INTERACTION = 0.5


class Outcomes(NamedTuple):
    """Outcomes, the feature vectors of their prompts `(prompts, width)`, and their domains, `set/domain`."""

    data: RoutingSet
    vectors: Floats
    domains: Sequence[str]


class _ByDomain(NamedTuple):
    """`values` `(models, columns)`, the logits of the models' mean scores on prompts of one kind, NaN where unknown;
    `families` `(columns, families - 1)`, the mean shares of families of these prompts; `sets`, the number of each
    column's data set.
    """

    values: Doubles
    families: Doubles
    sets: list[int]


def fit_acceptance(
    graded: GradedPrompts,
    graded_vectors: Floats,
    embedded: int,
    measured: Outcomes,
    facts: Mapping[str, ModelFacts],
    leaderboards: Path | None,
    families: Sequence[str],
    wordings: OtherWordings | None = None,
) -> AcceptanceParameters:
    """The item-response part from graded prompts with these feature vectors, measured outcomes, the facts of models by
    name and a folder of leaderboards. `families` are the families of models in the manifest; `wordings` are
    graded prompts in other words.

    Raises CallerError where a model that stands for a strength is unknown, or the strengths are not in order.
    """
    fitted = fit_reader(graded, graded_vectors, embedded, wordings)
    outcomes = _by_domain(measured, Reader(fitted.parameters))
    data = measured.data
    boards = {} if leaderboards is None else _board_facts(leaderboards)
    boards, merged = _joined(boards, facts)
    of_models = [merged.get(name) or boards.get(model_key(name)) for name in data.models]
    used = {id(entry) for entry in of_models}
    others = {id(entry): entry for entry in (*merged.values(), *boards.values()) if id(entry) not in used}
    entries = [*of_models, *others.values()]
    rows = np.array([measurements(entry) for entry in entries])
    values = np.full((len(rows), outcomes.values.shape[1]), np.nan)
    values[: len(of_models)] = outcomes.values
    table = np.concatenate([rows, values], axis=1)
    columns = column_memberships(outcomes.families, outcomes.sets, memberships())
    ratings = fit_ratings(table, columns, [entry.family if entry else None for entry in entries], families)
    rated = {name: row for row, name in enumerate(data.models)}
    rated |= {entry.name: row for row, entry in enumerate(entries) if entry}
    offsets = dict(zip(families, ratings.family_offset, strict=True))
    population = ratings.posterior(np.full(table.shape[1], np.nan), columns)

    def place(row: int) -> Ability:
        """Where forecasts place the model of this row."""
        entry = entries[row]
        return ratings.posterior(table[row], columns, offsets.get((entry and entry.family) or "", 0.0))

    parameters = AcceptanceParameters(
        reader=fitted.parameters,
        ratings=ratings,
        memberships=columns,
        outcomes=outcomes.values,
        rated=np.array([rating_of(place(row)).mean for row in range(len(of_models))] + [rating_of(population).mean]),
        tier_ratings=np.arange(len(fitted.strengths), dtype=np.float64),
        tier_strengths=fitted.strengths,
        difficulties=np.quantile(fitted.out_of_fold, _QUANTILES),
        families=graded.families.mean(axis=0),
        difficulty_variance=np.array(float(np.square(fitted.out_of_fold - fitted.difficulty).mean())),
        interaction=np.array(INTERACTION),
    )
    tiers = []
    for models in graded.strengths:
        if missing := [name for name in models if name not in rated]:
            raise CallerError(f"strengths: there are no facts of the model {missing[0]}")
        tiers.append(np.mean([place(rated[name]).mean[0] for name in models]))
    names = graded.outcomes.models
    for weaker, stronger in itertools.pairwise(range(len(tiers))):
        if tiers[stronger] <= tiers[weaker]:
            raise CallerError(
                f"strengths: the models of {names[stronger]} are not rated above those of {names[weaker]}"
            )
    return msgspec.structs.replace(parameters, tier_ratings=np.array(tiers))


def _board_facts(folder: Path) -> dict[tuple[str, str], ModelFacts]:
    """The facts of the rows of the leaderboards: scores, what the name says, and price and date in the price map."""
    prices, dates = listed_prices(), snapshot_dates()
    boards = {}
    for (model, effort), scores in read_leaderboards(folder).items():
        price = prices.get(model)
        boards[model, effort] = msgspec.structs.replace(
            facts_from_name(model),
            name="@".join(part for part in (model, effort) if part),
            released=dates.get(model),
            price_usd_per_mtok=None if price is None else float(max(price.input_usd, price.output_usd)) or None,
            benchmarks=scores,
        )
    return boards


def _joined(
    boards: Mapping[tuple[str, str], ModelFacts], facts: Mapping[str, ModelFacts]
) -> tuple[dict[tuple[str, str], ModelFacts], dict[str, ModelFacts]]:
    """The rows of leaderboards that no entry of `facts` is about, and the facts by name, with the scores of the row
    that is about the same model: a model is one row of the table, with all that is known of it.
    """
    names: dict[int, list[str]] = {}
    for name, entry in facts.items():
        names.setdefault(id(entry), []).append(name)
    merged: dict[str, ModelFacts] = {}
    found = set()
    for own in names.values():
        keys = (model_key(name) for name in own if not is_pretrained_only(name))
        key = next((key for key in keys if key in boards), None)
        entry = facts[own[0]]
        if key is not None:
            found.add(key)
            entry = with_missing(entry, boards[key])
        merged |= dict.fromkeys(own, entry)
    return {key: board for key, board in boards.items() if key not in found}, merged


def _by_domain(measured: Outcomes, reader: Reader) -> _ByDomain:
    """The mean scores by domain; the small domains of a set together are one column."""
    data, vectors, domains = measured
    scores = data.scores.astype(np.float64)
    counts = Counter(domains)
    of_set = [domain.partition("/")[0] for domain in domains]
    columns = [domain if counts[domain] >= _MIN_PROMPTS else name for domain, name in zip(domains, of_set, strict=True)]
    names, values, shares, sets = sorted(set(of_set)), [], [], []
    for column in sorted(set(columns)):
        rows = np.flatnonzero([own == column for own in columns])
        seen = np.isfinite(scores[rows]).sum(axis=0)
        enough = seen >= min(_MIN_OUTCOMES, len(rows))
        if len(rows) < _MIN_PROMPTS or enough.sum() < _MIN_MODELS:
            continue
        ability, _ = additive_effects(scores[rows])
        clipped = np.clip(ability, _EDGE, 1 - _EDGE)
        values.append(np.where(enough, np.log(clipped / (1 - clipped)), np.nan))
        read = rows[:: -(-len(rows) // _READ_PROMPTS)]
        readings = [reader(topic_texts(data.prompts[row].turns), vectors[row]) for row in read]
        shares.append(np.mean(readings, axis=0)[1:])
        sets.append(names.index(column.partition("/")[0]))
    if not values:
        return _ByDomain(np.zeros((len(data.models), 0)), np.zeros((0, len(FAMILIES) - 1)), [])
    return _ByDomain(np.column_stack(values), np.array(shares, dtype=np.float64), sets)
