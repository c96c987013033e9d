"""Fit a predictor on routing data sets."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

import router
from router.cards.facts import ModelFacts
from router.errors import CallerError
from router.learn.data import ASSUMED_OUTPUT_TOKENS, RoutingSet, join
from router.learn.data.vectors import vectors_of
from router.learn.training.factor_model import fit_factors
from router.learn.training.ridge import BLOCK, Moments, chosen_alphas, ridge
from router.learn.training.skill_stack import MIN_ROWS, SkillStack, additive_effects
from router.perceive.ability import facts_row, profile_of
from router.perceive.encoder import Encoder
from router.perceive.predictor import (
    FORMAT,
    VERSION,
    DataSource,
    Head,
    Manifest,
    ModelEvidence,
    Predictor,
)
from router.perceive.skills import SkillProjector
from router.types import Doubles, Floats

_FAMILY_MODELS = 3
_USUAL_ROWS = 20_000
_PRIOR_OUTCOMES = 500
_MIN_PROMPTS = 2

Facts = Mapping[str, ModelFacts]


def train(
    sets: Sequence[RoutingSet],
    encoder: Encoder,
    command: str = "",
    facts: Facts | None = None,
    cache: Path | None = None,
) -> Predictor:
    """A predictor for every model of `sets`. The same sets give the same numbers.

    `facts` are what is published of models, by name: from them it learns to place cards that nobody has measured.
    `cache` is a folder where feature vectors are kept for the next time.
    Raises CallerError where there is too little to learn from.
    """
    if not sets or sum(len(each.prompts) for each in sets) < _MIN_PROMPTS:
        raise CallerError(f"training needs at least {_MIN_PROMPTS} prompts with outcomes")
    data = join(sets)
    if not np.isfinite(data.scores).any():
        raise CallerError("training needs outcomes; every cell of the score table is empty")
    # A domain of one set is none of another, whatever their names.
    domains = tuple(f"{each.name}/{domain}" for each in sets for domain in each.domains)
    fitted = fit(vectors_of(data.prompts, encoder, cache), data, encoder, facts, domains)
    manifest = msgspec.structs.replace(
        fitted.manifest,
        models=tuple(_evidence(model, column, sets, data) for column, model in enumerate(data.models)),
        data_sets=tuple(DataSource(each.name, len(each.prompts), each.sha256, each.license) for each in sets),
        command=command,
    )
    return Predictor(fitted.head, encoder, manifest)


def fit(
    vectors: Floats,
    data: RoutingSet,
    encoder: Encoder,
    facts: Facts | None = None,
    domains: Sequence[str] | None = None,
) -> Predictor:
    """A predictor from feature vectors `(prompts, width)` and the outcomes on them, without a record of its making."""
    known = facts or {}
    counted = [each.family for name in data.models if (each := known.get(name)) is not None and each.family]
    families = tuple(sorted({name for name in counted if counted.count(name) >= _FAMILY_MODELS}))
    head = fit_head(
        vectors,
        data,
        encoder.dimensions,
        [facts_row(known.get(each), families) for each in data.models],
        data.domains if domains is None else domains,
    )
    models = tuple(_evidence(model, column, (), data) for column, model in enumerate(data.models))
    manifest = Manifest(
        format=FORMAT,
        version=VERSION,
        release=router.__version__,
        encoder=encoder.name,
        encoder_fingerprint=encoder.fingerprint,
        models=models,
        data_sets=(),
        families=families,
        sha256={},
    )
    return Predictor(head, encoder, manifest)


def fit_head(
    vectors: Floats, data: RoutingSet, embedded: int, facts: Sequence[Doubles], domains: Sequence[str]
) -> Head:
    """The arrays of a predictor from feature vectors `(prompts, width)` and the outcomes on them."""
    stack = SkillStack(embedded=embedded).fit(vectors, data.scores, groups=np.array(domains))
    outcomes = np.isfinite(data.scores).sum(axis=0)
    ability = np.column_stack([stack.bias_, stack.ability_])
    measured = outcomes > 0
    variance = stack.doubt_.residual_variance * (1 + _PRIOR_OUTCOMES / np.maximum(outcomes, 1))
    length, length_offset = _lengths(vectors, data.output_tokens, stack.reader_, len(data.models))
    return Head(
        lens=stack.reader_.lens,
        ability=ability,
        variance=np.append(variance, variance[measured].mean()),
        # No expectation is surer than the mean of the model's outcomes would be.
        doubt=np.maximum(stack.doubt_.shares, 1 / _PRIOR_OUTCOMES),
        usual=_usual(vectors, stack.reader_),
        facts=fit_factors(ability[measured], np.array(facts)[measured]),
        length=length,
        length_offset=length_offset,
    )


def _usual(vectors: Floats, reader: SkillProjector) -> Doubles:
    """The mean of `x xᵀ` over prompts' profiles."""
    profiles = profile_of(reader(vectors[:: -(-len(vectors) // _USUAL_ROWS)]).skills)
    usual: Doubles = profiles.T @ profiles / len(profiles)
    return usual


def _lengths(
    vectors: Floats, output_tokens: Floats | None, reader: SkillProjector, models: int
) -> tuple[Doubles, Doubles]:
    """Weights `(1 + width + landmarks,)` and offsets `(models + 1,)` of log(1 + tokens of an answer)."""
    weights = np.zeros(len(reader.lens.near))
    if output_tokens is None or not np.isfinite(output_tokens).any():
        return weights, np.full(models + 1, np.log1p(ASSUMED_OUTPUT_TOKENS))
    rows = np.flatnonzero(np.isfinite(output_tokens).any(axis=1))
    logarithms = output_tokens[rows].astype(np.float64)
    np.log1p(logarithms, out=logarithms)
    offset, ease = additive_effects(logarithms)
    parts = [slice(start, start + BLOCK) for start in range(0, len(rows), BLOCK)]
    if len(rows) >= MIN_ROWS:
        sums = (Moments.of(reader(vectors[rows[part]]).read[:, 1:], ease[part, None]) for part in parts)
        about = functools.reduce(Moments.plus, sums).about_mean()
        # What all models share only: then one product a prompt serves them all.
        weights[1:] = ridge(about, chosen_alphas(about))[:, 0]
        weights[0] = -(about.x @ weights[1:])
    common = np.concatenate([reader(vectors[rows[part]]).read @ weights for part in parts])
    measured = np.isfinite(output_tokens).any(axis=0)
    # The mean of a length is more than the exponential of its mean logarithm (Duan's smearing estimate).
    for model in np.flatnonzero(measured):
        left = logarithms[:, model] - offset[model] - common
        offset[model] += np.log(np.exp(left[np.isfinite(left)]).mean())
    population = float(offset[measured].mean())
    return weights, np.append(np.where(measured, offset, population), population)


def _evidence(model: str, column: int, sets: Sequence[RoutingSet], data: RoutingSet) -> ModelEvidence:
    scores = data.scores[:, column]
    known = scores[np.isfinite(scores)]
    return ModelEvidence(
        name=model,
        outcomes=len(known),
        mean_quality=round(float(known.mean()), 6) if len(known) else 0.0,
        data_sets=tuple(
            each.name
            for each in sets
            if model in each.models and np.isfinite(each.scores[:, each.models.index(model)]).any()
        ),
    )
