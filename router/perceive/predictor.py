"""The predictor: from features to a forecast for every card of a catalogue.

A prompt's features are projected to skills (`router.perceive.skills`). A card's evidence gives its ability in these
skills (`router.perceive.ability`): outcomes first, else a few probes, else published facts, else the population prior.
The prior of an adapter without outcomes is the ability of its base. Fitting is in `router.learn.training`; this module
has only array operations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.cards.facts import facts_of
from router.perceive.ability import Ability, facts_row, profile_of
from router.perceive.encoder import Encoder
from router.perceive.evidence import ProbeOutcome
from router.perceive.features import feature_vectors
from router.perceive.head import GREATEST_LOG_TOKENS, Head, Manifest, read_head, stored_arrays, write_head
from router.perceive.roofline import time_per_token_ms, time_to_first_token_ms
from router.perceive.skills import SkillProjector, row_by_row
from router.types import GREATEST_STD, Doubles, Features, Floats, Forecast, Indices

_GREATEST_TOKENS = 8192.0
_BEND = 0.05


class Expectation(NamedTuple):
    """Forecasts for each model, then for the population: float64 `(models + 1,)`, or `(prompts, models + 1)` for
    several prompts. `novelty`, which is that of `Forecast`, is `()` or `(prompts,)`.

    `quality_std` is the uncertainty of the expected quality, not of one answer.
    """

    quality: Doubles
    quality_std: Doubles
    output_tokens: Doubles
    novelty: Doubles


class Evidence(Struct, frozen=True, eq=False):
    """Probe outcomes of one card: feature vectors `(probes, width)`, scores in [0, 1] `(probes,)`."""

    vectors: Floats
    scores: Doubles


def evidence_of(outcomes: Mapping[str, Sequence[ProbeOutcome]], encoder: Encoder) -> dict[str, Evidence]:
    """Probe outcomes by card id in the form that `Predictor.bind` takes; cards without outcomes are left out."""
    return {
        card: Evidence(
            feature_vectors(encoder, [(outcome.prompt,) for outcome in of_card]),
            np.array([outcome.score for outcome in of_card], dtype=np.float64),
        )
        for card, of_card in outcomes.items()
        if of_card
    }


class PromptProfile(NamedTuple):
    """What is computed of prompts before any card is considered. `profiles` `(prompts, 1 + skills)` is `x = (1, s)`;
    all others are `(prompts,)`.

    `uncertainty` is the share of a model's residual variance that is the variance of its expected quality, and
    `independent_uncertainty` that share without the part that all models have in common. `log_tokens` is the common
    part of the logarithm of an answer's tokens. `ood_probability` and `novelty` are those of `SkillProjection`.
    """

    profiles: Doubles
    uncertainty: Doubles
    independent_uncertainty: Doubles
    log_tokens: Doubles
    ood_probability: Doubles
    novelty: Doubles


class Predictor:
    """Fitted arrays, the encoder they were fitted with, and the evidence on each model."""

    def __init__(self, head: Head, encoder: Encoder, manifest: Manifest) -> None:
        self.head, self.encoder, self.manifest = head, encoder, manifest
        self.models = tuple(model.name for model in manifest.models)
        digest = hashlib.sha256(encoder.fingerprint.encode())
        for array in stored_arrays(head).values():
            digest.update(array.tobytes())
        self.id = f"skills-{digest.hexdigest()[:12]}"
        self.projector = SkillProjector(head.skills)
        self._column = {model.name: row for row, model in enumerate(manifest.models) if model.outcomes}
        self._length = head.length.astype(np.float64)
        self.population = head.facts.ability(facts_row(None, manifest.families))
        self._abilities = np.vstack([head.ability, self.population.mean])

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Predictor:
        """Read an artifact.

        Raises ArtifactError if it is missing, damaged, of another format, or trained with another encoder.
        """
        head, manifest = read_head(folder, encoder)
        return cls(head, encoder, manifest)

    def save(self, folder: Path) -> None:
        """Write the artifact without the encoder."""
        write_head(folder, self.head, self.manifest)

    def expect(self, vector: Floats) -> Expectation:
        """Forecasts for one feature vector `(width,)`."""
        return Expectation(*(array[0] for array in self.expect_all(vector[None])))

    def expect_all(self, vectors: Floats) -> Expectation:
        """Forecasts for feature vectors `(prompts, width)`: the same bits as from `expect`."""
        prompts = self.profile(vectors)
        variance = prompts.uncertainty[:, None] * self.head.variance
        variance[:, -1] += self.expectation_variance(prompts, self.population.covariance)
        return Expectation(
            quality=quality_of(row_by_row(prompts.profiles, self._abilities.T)),
            quality_std=deviation_of(variance),
            output_tokens=_tokens(prompts.log_tokens[:, None] + self.head.length_offset),
            novelty=prompts.novelty,
        )

    def profile(self, vectors: Floats) -> PromptProfile:
        """Profiles of feature vectors `(prompts, width)`: what does not depend on any card."""
        projection = self.projector(vectors)
        in_domain, out_of_domain = self.head.uncertainty
        shares = in_domain + projection.ood_probability[:, None] * (out_of_domain - in_domain)
        return PromptProfile(
            profiles=profile_of(projection.skills),
            uncertainty=shares[:, 0],
            independent_uncertainty=shares[:, 1],
            log_tokens=row_by_row(projection.regressors, self._length[:, None])[:, 0],
            ood_probability=projection.ood_probability,
            novelty=projection.novelty,
        )

    def expectation_variance(self, prompts: PromptProfile, covariance: Doubles) -> Doubles:
        """The variance `(prompts,)` of the expected quality under an ability with this covariance.

        Out of domain, where skills are small because little is known, it is at least the average over the training
        prompts.
        """
        variance: Doubles = (row_by_row(prompts.profiles, covariance) * prompts.profiles).sum(axis=1)
        return np.maximum(variance, prompts.ood_probability * float((covariance * self.head.second_moment).sum()))

    def bind(self, catalog: Catalog, evidence: Mapping[str, Evidence] | None = None) -> Forecaster:
        """A forecaster for the cards of `catalog`; `evidence` are probe outcomes by card id."""
        return Forecaster(self, catalog, evidence or {})

    def column(self, catalog: Catalog, position: int) -> int | None:
        """The index of the model whose outcomes are those of the card at `position`; None if there are none."""
        return next((self._column[name] for name in catalog[position].names if name in self._column), None)

    def place(self, catalog: Catalog, position: int, evidence: Mapping[str, Evidence]) -> tuple[Ability, int]:
        """The ability of the card at `position`, and the row of `variance` that goes with it.

        The prior is from the card's outcomes, else from its base, its facts or the population; its probes update it.
        """
        card = catalog[position]
        column = self.column(catalog, position)
        size = self.head.ability.shape[1]
        if column is not None:
            ability, row = Ability(self.head.ability[column], np.zeros((size, size))), column
        elif card.base is not None and (base := catalog.position(card.base)) is not None:
            # The change that an adapter makes to its base is as uncertain as the difference between two models.
            of_base, row = self.place(catalog, base, evidence)
            ability = Ability(of_base.mean, self.population.covariance)
        else:
            ability = self.head.facts.ability(facts_row(facts_of(card), self.manifest.families))
            row = len(self.models)
        if card.id in evidence:
            probes = evidence[card.id]
            ability = ability.observe(self.profile(probes.vectors).profiles, probes.scores)
        return ability, row


class Forecaster:
    """Forecasts for one catalogue. A card's forecast depends on that card alone."""

    def __init__(self, predictor: Predictor, catalog: Catalog, evidence: Mapping[str, Evidence]) -> None:
        self._predictor = predictor
        head, cards = predictor.head, catalog.columns
        self._max_output_tokens = np.where(np.isnan(cards.max_output_tokens), np.inf, cards.max_output_tokens)
        self._columns = cards
        self._thinking_tokens = np.nan_to_num(cards.thinking_tokens)
        self._ttft_ms, self._ttft_unknown = cards.ttft_ms, np.isnan(cards.ttft_ms)
        estimated = time_per_token_ms(cards.active_parameters)
        self._tpot_ms = np.where(np.isnan(cards.tpot_ms), estimated, cards.tpot_ms)
        self._active_parameters = cards.active_parameters
        placed = [predictor.place(catalog, position, evidence) for position in range(len(catalog))]
        size = head.ability.shape[1]
        self._abilities = np.array([ability.mean for ability, _ in placed]).reshape(-1, size)
        rows: Indices = np.array([row for _, row in placed], dtype=np.intp)
        self._mean_quality = quality_of(self._abilities[:, 0])
        self._variance, self._length_offset = head.variance[rows], head.length_offset[rows]
        # Cards with the same covariance share one matrix.
        matrices: dict[bytes, int] = {}
        self._matrix_of_card: Indices = np.array(
            [matrices.setdefault(ability.covariance.tobytes(), len(matrices)) for ability, _ in placed], dtype=np.intp
        )
        self._covariances = np.frombuffer(b"".join(matrices)).reshape(-1, size, size)
        self._mean_variances = (self._covariances * head.second_moment).sum(axis=(1, 2))

    def __call__(self, features: Features) -> Forecast:
        """The forecast of every card, in the catalogue's order."""
        prompt = self._predictor.profile(features.vector[None])
        profile = prompt.profiles[0]
        # Summed row by row: a matrix product may round a card's sum differently when other cards are added.
        expected = (self._abilities * profile).sum(axis=1)
        variances = ((self._covariances @ profile) * profile).sum(axis=1)
        variances = np.maximum(variances, prompt.ood_probability[0] * self._mean_variances)
        shares = np.array([prompt.uncertainty, prompt.independent_uncertainty])
        quality_std, independent_std = deviation_of(shares * self._variance + variances[self._matrix_of_card])
        output_tokens = np.minimum(_tokens(prompt.log_tokens[0] + self._length_offset), self._max_output_tokens)
        if features.output_limit is not None:
            output_tokens = np.minimum(output_tokens, features.output_limit)
        written_tokens = output_tokens
        if not features.sets_effort:
            # The limit of the answer includes thinking.
            limit = np.inf if features.output_limit is None else features.output_limit
            written_tokens = np.minimum(output_tokens + self._thinking_tokens, limit)
        input_usd, output_usd = self._columns.prices_usd_per_mtok(features.input_tokens)
        estimated = time_to_first_token_ms(self._active_parameters, features.input_tokens)
        ttft_ms = np.where(self._ttft_unknown, estimated, self._ttft_ms)
        return Forecast(
            quality=quality_of(expected),
            quality_std=quality_std,
            independent_std=independent_std,
            mean_quality=self._mean_quality,
            output_tokens=output_tokens,
            cost_usd=features.input_tokens * (input_usd / 1e6) + written_tokens * (output_usd / 1e6),
            ttft_ms=ttft_ms,
            latency_ms=ttft_ms + written_tokens * self._tpot_ms,
            novelty=float(prompt.novelty[0]),
        )


def quality_of(expected: Doubles) -> Doubles:
    """Expected scores as qualities in (0, 1), rounded to six decimals, since later digits are numerical noise."""
    return _squashed(expected).round(6)


def deviation_of(variance: Doubles) -> Doubles:
    """The standard deviation of an expected quality, rounded to six decimals."""
    deviation: Doubles = np.minimum(np.sqrt(np.maximum(variance, 1e-10)), GREATEST_STD).round(6)
    return deviation


def _tokens(logarithm: Doubles) -> Doubles:
    bounded = np.minimum(logarithm, GREATEST_LOG_TOKENS)
    tokens: Doubles = np.minimum(np.maximum(np.expm1(bounded), 1.0), _GREATEST_TOKENS)
    return tokens.round()


def _squashed(quality: Doubles) -> Doubles:
    """`quality`, unchanged in the middle and bent smoothly towards 0 and 1 near the ends; the order is preserved."""
    low, high = np.maximum(_BEND - quality, 0.0), np.maximum(quality - (1.0 - _BEND), 0.0)
    middle = np.minimum(np.maximum(quality, _BEND), 1.0 - _BEND)
    bent: Doubles = middle + high * (_BEND / (_BEND + high)) - low * (_BEND / (_BEND + low))
    return bent
