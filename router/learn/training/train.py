"""Fit a predictor to routing data sets."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

import router
from router.cards.facts import ModelFacts
from router.errors import CallerError
from router.learn.data import ASSUMED_OUTPUT_TOKENS, RoutingSet, join
from router.learn.data.everyday import GradedPrompts
from router.learn.data.vectors import vectors_of
from router.learn.engine import LOCAL, Engine
from router.learn.training.acceptance import Outcomes, fit_acceptance
from router.learn.training.factor_model import fit_factors
from router.learn.training.landmarks import features_of, replace_arrays
from router.learn.training.outcome_table import MIN_ROWS, additive_effects
from router.learn.training.reader import OtherWordings
from router.learn.training.rewording import WORDINGS, reworded
from router.learn.training.ridge import BLOCK, Moments, chosen_alphas, ridge
from router.learn.training.skill_stack import SkillStack
from router.perceive.ability.ability import facts_row, profile_of
from router.perceive.head import FORMAT, VERSION, DataSource, Head, Manifest, ModelEvidence
from router.perceive.predictor import Predictor
from router.perceive.skills import SkillParameters, SkillProjector
from router.perceive.text.encoder import Encoder
from router.types import Doubles, Floats

_MIN_FAMILY_MODELS = 3
_SECOND_MOMENT_ROWS = 20_000
_PRIOR_OUTCOMES = 500
_MIN_PROMPTS = 2

Facts = Mapping[str, ModelFacts]


def train(
    sets: Sequence[RoutingSet],
    encoder: Encoder,
    command: str = "",
    facts: Facts | None = None,
    cache: Path | None = None,
    graded: GradedPrompts | None = None,
    leaderboards: Path | None = None,
    wordings: Sequence[str] = WORDINGS,
    engine: Engine = LOCAL,
) -> Predictor:
    """A predictor for every model of `sets`. The same sets give the same numbers.

    `facts` are published facts by model name, from which the predictor learns to place cards without outcomes. `cache`
    is a folder for feature vectors, which the next training reuses. With `graded` prompts, qualities are the chance
    that a careful person accepts an answer; `leaderboards` is then a folder of further facts, and the `wordings` of a
    prompt get nearly the same forecast. The `engine` computes the vectors.

    Raises CallerError if there is too little to learn from.
    """
    if not sets or sum(len(data.prompts) for data in sets) < _MIN_PROMPTS:
        raise CallerError(f"training needs at least {_MIN_PROMPTS} prompts with outcomes")
    data = join(sets)
    if not np.isfinite(data.scores).any():
        raise CallerError("training needs outcomes; every cell of the score table is empty")
    # Domains of different sets are different, even if they have the same name.
    domains = tuple(f"{part.name}/{domain}" for part in sets for domain in part.domains)
    vectors = vectors_of(data.prompts, encoder, cache, engine)
    predictor = fit(vectors, data, encoder, facts, domains, sets, command)
    if graded is None:
        return predictor
    graded_vectors = vectors_of(graded.outcomes.prompts, encoder, cache, engine)
    acceptance = fit_acceptance(
        graded,
        graded_vectors,
        encoder.dimensions,
        Outcomes(data, vectors, domains),
        facts or {},
        leaderboards,
        predictor.manifest.families,
        _other_wordings(graded, wordings, encoder, cache, engine),
    )
    skills = _with_novelty_of(predictor.head.skills, graded_vectors, vectors)
    head = msgspec.structs.replace(predictor.head, acceptance=acceptance, skills=skills, particular=None)
    sources = (*predictor.manifest.data_sets, _source(graded.outcomes))
    return Predictor(head, encoder, msgspec.structs.replace(predictor.manifest, data_sets=sources))


def fit(
    vectors: Floats,
    data: RoutingSet,
    encoder: Encoder,
    facts: Facts | None = None,
    domains: Sequence[str] | None = None,
    sources: Sequence[RoutingSet] = (),
    command: str = "",
) -> Predictor:
    """A predictor from feature vectors `(prompts, width)` and the outcomes on them.

    `sources` are the sets that `data` was joined from and `command` the command line; both are for the manifest only.
    """
    known = facts or {}
    counted = [model.family for name in data.models if (model := known.get(name)) is not None and model.family]
    families = tuple(sorted({name for name in counted if counted.count(name) >= _MIN_FAMILY_MODELS}))
    head = fit_head(
        vectors,
        data,
        encoder.dimensions,
        [facts_row(known.get(name), families) for name in data.models],
        data.domains if domains is None else domains,
    )
    manifest = Manifest(
        format=FORMAT,
        version=VERSION,
        release=router.__version__,
        encoder=encoder.name,
        encoder_fingerprint=encoder.fingerprint,
        models=tuple(_evidence(model, column, sources, data) for column, model in enumerate(data.models)),
        data_sets=tuple(map(_source, sources)),
        families=families,
        sha256={},
        command=command,
    )
    return Predictor(head, encoder, manifest)


def fit_head(
    vectors: Floats, data: RoutingSet, embedded: int, facts: Sequence[Doubles], domains: Sequence[str]
) -> Head:
    """The arrays of a predictor from feature vectors `(prompts, width)`, of which the first `embedded` columns are the
    embedding, and the outcomes on them.
    """
    stack = SkillStack(embedded=embedded).fit(vectors, data.scores, groups=np.array(domains))
    outcomes = np.isfinite(data.scores).sum(axis=0)
    ability = np.column_stack([stack.bias_, stack.ability_])
    measured = outcomes > 0
    variance = stack.uncertainty_.residual_variance * (1 + _PRIOR_OUTCOMES / np.maximum(outcomes, 1))
    length, length_offset = _fit_lengths(vectors, data.output_tokens, stack.projector_, len(data.models))
    return Head(
        skills=stack.projector_.parameters,
        ability=ability,
        variance=np.append(variance, variance[measured].mean()),
        uncertainty=stack.uncertainty_.shares,
        second_moment=_second_moment(vectors, stack.projector_),
        facts=fit_factors(ability[measured], np.array(facts)[measured]),
        length=length,
        length_offset=length_offset,
        particular=stack.particular_,
    )


def _other_wordings(
    graded: GradedPrompts, wordings: Sequence[str], encoder: Encoder, cache: Path | None, engine: Engine
) -> OtherWordings | None:
    """Graded prompts worded another way; None without `wordings`."""
    prompts = graded.outcomes.prompts
    found = reworded([prompt.turns for prompt in prompts], graded.languages, wordings) if wordings else []
    if not found:
        return None
    contexts = []
    for other in found:
        own, more = graded.contexts[other.row], len(other.turns[-1]) - len(prompts[other.row].turns[-1])
        contexts.append(msgspec.structs.replace(own, characters=own.characters + more))
    prompts_in_other_words = [msgspec.structs.replace(prompts[other.row], turns=other.turns) for other in found]
    return OtherWordings(
        rows=np.array([other.row for other in found]),
        turns=[other.turns for other in found],
        vectors=vectors_of(prompts_in_other_words, encoder, cache, engine),
        contexts=contexts,
    )


def _with_novelty_of(skills: SkillParameters, graded: Floats, outcomes: Floats) -> SkillParameters:
    """The skills with a novelty that counts graded prompts as much as prompts with outcomes: a short everyday prompt is
    nothing new.
    """
    projector = SkillProjector(skills)
    rows = np.linspace(0, len(outcomes) - 1, min(len(outcomes), len(graded))).astype(np.intp)
    scores = np.concatenate([projector.features(vectors)[2] for vectors in (graded, outcomes[rows])])
    return replace_arrays(skills, ood_score_quantiles=np.quantile(scores, np.linspace(0, 1, 101)))


def _second_moment(vectors: Floats, projector: SkillProjector) -> Doubles:
    """The mean of `x xᵀ` over the profiles of prompts."""
    profiles = profile_of(projector(vectors[:: -(-len(vectors) // _SECOND_MOMENT_ROWS)]).skills)
    second_moment: Doubles = profiles.T @ profiles / len(profiles)
    return second_moment


def _fit_lengths(
    vectors: Floats, output_tokens: Floats | None, projector: SkillProjector, models: int
) -> tuple[Doubles, Doubles]:
    """Weights `(1 + width + landmarks,)` and offsets `(models + 1,)` from which the length of an answer is forecast."""
    weights = np.zeros(len(projector.parameters.in_domain))
    if output_tokens is None or not np.isfinite(output_tokens).any():
        return weights, np.full(models + 1, np.log1p(ASSUMED_OUTPUT_TOKENS))
    rows = np.flatnonzero(np.isfinite(output_tokens).any(axis=1))
    logarithms = output_tokens[rows].astype(np.float64)
    np.log1p(logarithms, out=logarithms)
    offset, ease = additive_effects(logarithms)
    parts = [slice(start, start + BLOCK) for start in range(0, len(rows), BLOCK)]
    if len(rows) >= MIN_ROWS:
        # One target needs few products, so that they can be in double precision.
        blocks = ((features_of(vectors[rows[part]], projector).astype(np.float64), ease[part, None]) for part in parts)
        sums = itertools.starmap(Moments.of, blocks)
        about = functools.reduce(Moments.plus, sums).about_mean()
        # Only the part that all models share, so that one product per prompt serves all models.
        weights[1:] = ridge(about, chosen_alphas(about))[:, 0]
        weights[0] = -(about.x @ weights[1:])
    common = weights[0] + np.concatenate([features_of(vectors[rows[part]], projector) @ weights[1:] for part in parts])
    measured = np.isfinite(output_tokens).any(axis=0)
    # The mean length is greater than the exponential of the mean logarithm (Duan's smearing estimate).
    for model in np.flatnonzero(measured):
        residual = logarithms[:, model] - offset[model] - common
        offset[model] += np.log(np.exp(residual[np.isfinite(residual)]).mean())
    population = float(offset[measured].mean())
    return weights, np.append(np.where(measured, offset, population), population)


def _source(data: RoutingSet) -> DataSource:
    return DataSource(data.name, len(data.prompts), data.sha256, data.license)


def _evidence(model: str, column: int, sources: Sequence[RoutingSet], data: RoutingSet) -> ModelEvidence:
    scores = data.scores[:, column]
    known = scores[np.isfinite(scores)]
    return ModelEvidence(
        name=model,
        outcomes=len(known),
        mean_quality=round(float(known.mean()), 6) if len(known) else 0.0,
        data_sets=tuple(
            part.name
            for part in sources
            if model in part.models and np.isfinite(part.scores[:, part.models.index(model)]).any()
        ),
    )
