"""The predictor: from features to a forecast for every card of a catalogue.

A prompt's features are projected to skills (`router.perceive.skills`), and read for its difficulty where the predictor
has a reader. A card's evidence gives its ability: its own outcomes, the facts on it, a few probes, what the operator
believes of it, or the population prior. The prior of an adapter without outcomes is the ability of its base. Fitting is
in `router.learn.training`; this module has only array operations.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.cards.facts import facts_of
from router.errors import ArtifactError
from router.perceive import kernel
from router.perceive.ability.ability import Ability, facts_row, profile_of
from router.perceive.ability.acceptance import family_weights
from router.perceive.ability.belief import Belief, LinearResponse
from router.perceive.ability.evidence import ProbeOutcome
from router.perceive.ability.local import LocalEvidence, inherited, topics_of_vectors
from router.perceive.ability.placement import ProbeReadings, RatingPlacer
from router.perceive.exact import in_order
from router.perceive.features import feature_vectors
from router.perceive.forecaster import CardPurposes, Forecaster
from router.perceive.head import Head, Manifest, read_head, stored_arrays, write_head
from router.perceive.linear import LinearQuality, deviation_of, factor_of, quality_of, tokens_of
from router.perceive.logistic import LogisticQuality, MeasuredQuality
from router.perceive.memory.traffic import TrafficCorrection, correction_for
from router.perceive.profile import PromptProfile, logarithm_of, share_between
from router.perceive.purpose.density import TaskMean
from router.perceive.purpose.file import load_purpose_space
from router.perceive.purpose.profile import Profile
from router.perceive.purpose.profile_file import StoredProfile
from router.perceive.purpose.purposes import Purposes
from router.perceive.purpose.space import PurposeSpace
from router.perceive.reader import READINGS, Reader
from router.perceive.skills import SkillProjector, row_by_row
from router.perceive.text.encoder import Encoder
from router.types import Doubles, Floats, Indices, Mask

_RIGHT = 0.5
"""The score above which the answer to a probe counts as right."""


class Expectation(NamedTuple):
    """Forecasts for each model, then for the population: float64 `(models + 1,)`, or `(prompts, models + 1)` for
    several prompts. `novelty`, which is that of `Forecast`, is `()` or `(prompts,)`.

    `quality_std` is the uncertainty of the expected quality, not of one answer. `compared` are the qualities by which
    models are compared (see `Forecast`).
    """

    quality: Doubles
    quality_std: Doubles
    output_tokens: Doubles
    novelty: Doubles
    compared: Doubles


class Evidence(Struct, frozen=True, eq=False):
    """Probe outcomes of one card: feature vectors `(probes, width)`, scores in [0, 1] `(probes,)`; and the mean of the
    prompts of its profile, None without one.
    """

    vectors: Floats
    scores: Doubles
    task: TaskMean | None = None


class Predictor:
    """Fitted arrays, the encoder they were fitted with, and the evidence on each model."""

    def __init__(self, head: Head, encoder: Encoder, manifest: Manifest, folder: Path | None = None) -> None:
        """`folder` is that of the artifact, None for one that was just trained."""
        self.head, self.encoder, self.manifest, self._folder = head, encoder, manifest, folder
        self.models = tuple(model.name for model in manifest.models)
        digest = hashlib.sha256(encoder.fingerprint.encode())
        for array in stored_arrays(head).values():
            digest.update(array.tobytes())
        self.id = f"skills-{digest.hexdigest()[:12]}"
        self.projector = SkillProjector(head.skills)
        self.acceptance = head.acceptance
        self.reader = None if self.acceptance is None else Reader(self.acceptance.reader)
        self._column = {model.name: row for row, model in enumerate(manifest.models) if model.outcomes}
        self._length = head.length.astype(np.float64)
        self._width = len(head.skills.center)
        self.compiled = self.projector.compiled(self._length, logarithm_of(head.uncertainty))
        self.width = self._width + (0 if self.reader is None else READINGS)
        self.population = head.facts.ability(facts_row(None, manifest.families))
        self._abilities = np.vstack([head.ability, self.population.mean])
        measured = head.ability[sorted(self._column.values())]
        self._average = measured.mean(axis=0) if len(measured) else np.zeros(head.ability.shape[1])

    def __reduce__(self) -> tuple[Any, ...]:  # a copy in another process binds its arrays to the kernel there
        return Predictor, (self.head, self.encoder, self.manifest, self._folder)

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Predictor:
        """Read an artifact.

        Raises ArtifactError if it is missing, damaged, of another format, or trained with another encoder.
        """
        head, manifest = read_head(folder, encoder)
        return cls(head, encoder, manifest, folder)

    def save(self, folder: Path) -> None:
        """Write the artifact without the encoder."""
        write_head(folder, self.head, self.manifest)

    def vectors(self, conversations: Sequence[tuple[str, ...]]) -> Floats:
        """The feature vectors `(conversations, width)` of human turns, with the reading where there is a reader."""
        return feature_vectors(self.encoder, conversations, self.reader)

    def evidence_of(
        self, outcomes: Mapping[str, Sequence[ProbeOutcome]], profiles: Mapping[str, StoredProfile] | None = None
    ) -> dict[str, Evidence]:
        """Probe outcomes and profiles by card id in the form that `bind` takes; cards without either are left out.

        Raises ArtifactError for a profile that another encoder or predictor has made.
        """
        evidence = {
            card: Evidence(
                self.vectors([(outcome.prompt,) for outcome in of_card]),
                np.array([outcome.score for outcome in of_card], dtype=np.float64),
            )
            for card, of_card in outcomes.items()
            if of_card
        }
        for card, stored in (profiles or {}).items():
            evidence[card] = self.with_profile(evidence.get(card), stored.profile)
        return evidence

    def with_profile(self, own: Evidence | None, profile: Profile) -> Evidence:
        if profile.space != self.purpose_space.fingerprint:
            raise ArtifactError(
                f"{profile.origin}: was made with another encoder; make it again from the texts (`route cards profile`)"
            )
        if len(profile.scores) and (profile.reader, profile.vectors.shape[1]) != (self.reader_id, self.width):
            raise ArtifactError(
                f"{profile.origin}: its outcomes were read by another predictor than the one in use ({self.id}); "
                "export the profile again with this one"
            )
        vectors, scores = profile.vectors, profile.scores
        if own is not None:
            # A probe whose outcome was exported and is in the evidence, too, counts once.
            known = {vector.tobytes() for vector in own.vectors}
            new = [row for row, vector in enumerate(vectors) if vector.tobytes() not in known]
            vectors = np.concatenate([own.vectors, vectors[new]]) if new else own.vectors
            scores = np.concatenate([own.scores, scores[new]])
        return Evidence(vectors, scores, profile.task)

    def expect(self, vector: Floats) -> Expectation:
        """Forecasts for one feature vector `(width,)`."""
        return Expectation(*(array[0] for array in self.expect_all(vector[None])))

    def expect_all(self, vectors: Floats) -> Expectation:
        """Forecasts for feature vectors `(prompts, width)`: the same bits as from `expect`."""
        prompts = self.profile(vectors)
        tokens = tokens_of(prompts.log_tokens[:, None] + self.head.length_offset)
        if self.acceptance is not None:
            quality, deviation = self._measured(vectors, lambda _: prompts)
            return Expectation(quality, deviation, tokens, prompts.novelty, quality)
        variance = prompts.uncertainty[:, None] * self.head.variance
        variance[:, -1] += self.expectation_variance(prompts, self.population.covariance)
        expected = row_by_row(prompts.profiles, self._abilities.T)
        quality = compared = quality_of(expected)
        if self.head.particular is not None:
            above = self._abilities - self._average
            above[:, 0] = 0.0
            excess = 1.0 - factor_of(self.head.particular, prompts.ood_probability)[:, None]
            compared = quality_of(expected - excess * row_by_row(prompts.profiles, above.T))
        return Expectation(quality, deviation_of(variance), tokens, prompts.novelty, compared)

    def qualities(self, vectors: Floats) -> tuple[Doubles, Doubles]:
        """The `quality` and `quality_std` of `expect_all`, without the rest of it."""
        return self.expect_all(vectors)[:2] if self.acceptance is None else self._measured(vectors, self.profile)

    def profile(self, vectors: Floats) -> PromptProfile:
        """Profiles of feature vectors `(prompts, width)`: what does not depend on any card."""
        if self.compiled is None:
            return self.profile_in_numpy(vectors)
        skills = self.head.skills.in_domain.shape[1]
        numbers = np.empty((len(vectors), kernel.PROFILE + 1 + skills))
        self.compiled.project(kernel.contiguous(vectors, np.float32), len(vectors), numbers)
        log_tokens, in_all, independent, ood_probability, novelty = numbers[:, : kernel.PROFILE].T
        profiles, readings = numbers[:, kernel.PROFILE :], vectors[:, self._width :]
        return PromptProfile(profiles, readings, in_all, independent, log_tokens, ood_probability, novelty)

    def profile_in_numpy(self, vectors: Floats) -> PromptProfile:
        """The specification of `profile`."""
        projection = self.projector(vectors[:, : self._width])
        in_domain, out_of_domain = self.head.uncertainty
        shares = share_between(in_domain, out_of_domain, projection.ood_probability[:, None])
        return PromptProfile(
            profiles=profile_of(projection.skills),
            readings=vectors[:, self._width :],
            uncertainty=shares[:, 0],
            independent_uncertainty=shares[:, 1],
            log_tokens=in_order(projection.regressors, self._length[:, None])[:, 0],
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

    @functools.cached_property
    def _measured(self) -> MeasuredQuality:
        """The measured models and the population, in the item-response form."""
        assert self.acceptance is not None
        interactions = np.array([self._interaction(column) for column in (*range(len(self.models)), None)])
        return MeasuredQuality(self.acceptance, interactions, self.compiled)

    @property
    def reader_id(self) -> str:
        """The id of the reader whose reading feature vectors end with, empty without one."""
        return "" if self.reader is None else self.reader.id

    @functools.cached_property
    def purpose_space(self) -> PurposeSpace:
        """The space in which the examples of cards are compared with prompts. Raises ArtifactError."""
        return load_purpose_space(self._folder, self.encoder)

    def _purposes(self, catalog: Catalog, evidence: Mapping[str, Evidence]) -> CardPurposes | None:
        """What the examples and profiles of cards say, and the probes of adapters; None where no card has any.

        Outcomes of its own in the artifact say more about a card.
        """
        tasks: dict[str, TaskMean] = {}
        shown, claims = [], []
        for at, card in enumerate(catalog):
            of = evidence.get(card.id)
            profile = None if of is None else of.task
            solves = of is not None and len(of.scores) > 0 and card.base is not None
            if not (card.examples or profile or solves) or self.column(catalog, at) is not None:
                continue
            shown.append(at)
            claims.append(bool(card.examples or profile))
            if profile is not None:
                tasks[card.id] = profile
            if of is not None and solves:
                # What an adapter has answered right shows which task it is for.
                known = profile or TaskMean(np.zeros(self.purpose_space.width), 0)
                right = of.vectors[of.scores > _RIGHT]
                tasks[card.id] = known.with_points(self.purpose_space.points(right)) if len(right) else known
        if not shown:
            return None
        leaves_others = np.array([catalog[at].base is not None for at in shown], dtype=np.bool_)
        claimed = np.array(claims, dtype=np.bool_)
        purposes = Purposes(self.purpose_space, catalog, np.array(shown, dtype=np.intp), tasks, claimed)
        return CardPurposes(purposes, leaves_others, claimed)

    def bind(self, catalog: Catalog, evidence: Mapping[str, Evidence] | None = None) -> Forecaster:
        """A forecaster for the cards of `catalog`; `evidence` are probe outcomes by card id."""
        evidence = evidence or {}
        columns = [self._column_of(catalog, position) for position in range(len(catalog))]
        rows: Indices = np.array([len(self.models) if column is None else column for column in columns], dtype=np.intp)
        local: dict[int, LocalEvidence] = {}
        purposes = self._purposes(catalog, evidence)
        if self.acceptance is None:
            abilities = [self._ability(catalog, position, evidence, local) for position in range(len(catalog))]
            everyone = inherited(local, catalog, self.column)
            measured: Mask = np.array([column is not None for column in columns], dtype=np.bool_)
            measured[list(everyone)] = True
            if purposes is not None and measured.any():
                # Examples are evidence too, and the base must stay an option beside its adapter.
                shown = purposes.of.positions.tolist()
                bases = [catalog.position(base) for at in shown if (base := catalog[at].base) is not None]
                measured[[*shown, *(base for base in bases if base is not None)]] = True
            quality = LinearQuality(self.head, abilities, rows, self._average)
            return Forecaster(self, catalog, quality, rows, everyone, measured, purposes, self._traffic(catalog))
        placer = self._placer(catalog, evidence)
        latents = [placer.latent(position) for position in range(len(catalog))]
        # Adapters of one base of which nothing else is known share one value.
        of_latent = {id(latent): self.acceptance.strength_of(latent) for latent in {id(x): x for x in latents}.values()}
        strengths = [of_latent[id(latent)] for latent in latents]
        interactions = np.array([self._interaction(column) for column in columns]).reshape(-1, len(self._average) - 1)
        logistic = LogisticQuality(self.acceptance, strengths, interactions)
        local = inherited(placer.local(), catalog, self.column)
        traffic = self._traffic(catalog)
        return Forecaster(self, catalog, logistic, rows, local, purposes=purposes, traffic=traffic)

    def without_traffic(self) -> Predictor:
        """The predictor as it was trained, without what judged traffic has shown since."""
        if self.head.traffic is None:
            return self
        head = msgspec.structs.replace(self.head, traffic=None)
        return Predictor(head, self.encoder, msgspec.structs.replace(self.manifest, traffic=None), self._folder)

    def _traffic(self, catalog: Catalog) -> TrafficCorrection | None:
        parameters, source = self.head.traffic, self.manifest.traffic
        return None if parameters is None or source is None else correction_for(catalog, parameters, source)

    def belief(self, catalog: Catalog, position: int, vectors: Floats) -> Belief:
        """What is known of the card at `position` without probes, about prompts with these feature vectors."""
        topics = self.topics(vectors)
        if self.acceptance is not None:
            return self._placer(catalog, {}).belief(position, self._readings_of(catalog, position, vectors), topics)
        model, ability = LinearResponse(self.profile(vectors).profiles), self._ability(catalog, position, {}, {})
        is_adapter = catalog[position].base is not None and self.column(catalog, position) is None
        return Belief.of(model, topics, ability, is_adapter=is_adapter)

    def topics(self, vectors: Floats) -> Doubles:
        """The topics `(prompts, numbers)` of feature vectors, by which probes are near or far from a prompt."""
        if self.acceptance is None:
            return topics_of_vectors(vectors, self.head.skills.topic_center, None)
        # The mean of everyday prompts: that of the training sets is one of exams, from which all others look alike.
        center = self.acceptance.reader.center[: self.encoder.dimensions]
        return topics_of_vectors(vectors, center, family_weights(self._readings(vectors)))

    def _readings(self, vectors: Floats) -> Doubles:
        return vectors[:, self._width :].astype(np.float64)

    def column(self, catalog: Catalog, position: int) -> int | None:
        """The index of the model whose outcomes are those of the card at `position`; None if there are none."""
        return next((self._column[name] for name in catalog[position].names if name in self._column), None)

    def _column_of(self, catalog: Catalog, position: int) -> int | None:
        """The column of the card, or of its origin, or of that card's origin."""
        column, origin = self.column(catalog, position), catalog[position].origin
        if column is None and origin is not None and (of_origin := catalog.position(origin)) is not None:
            return self._column_of(catalog, of_origin)
        return column

    def _placer(self, catalog: Catalog, evidence: Mapping[str, Evidence]) -> RatingPlacer:
        assert self.acceptance is not None
        probes = {
            card: ProbeReadings(
                self._readings_of(catalog, position, probes.vectors), self.topics(probes.vectors), probes.scores
            )
            for card, probes in evidence.items()
            if len(probes.scores) and (position := catalog.position(card)) is not None
        }
        return RatingPlacer(
            self.acceptance, catalog, lambda position: self.column(catalog, position), self.manifest.families, probes
        )

    def _interaction(self, column: int | None) -> Doubles:
        """What outcomes show about a model in each skill beyond the average of all; zero without outcomes."""
        average = self._average[1:]
        return np.zeros_like(average) if column is None else self.head.ability[column, 1:] - average

    def _readings_of(self, catalog: Catalog, position: int, vectors: Floats) -> Doubles:
        """The readings for one card: what outcomes show about it makes a prompt easier or harder for this card."""
        assert self.acceptance is not None
        prompts, readings = self.profile(vectors), self._readings(vectors)
        interaction = prompts.profiles[:, 1:] @ self._interaction(self._column_of(catalog, position))
        readings[:, 0] -= (1.0 - prompts.ood_probability) * self.acceptance.interaction_scale * interaction
        return readings

    def _ability(
        self, catalog: Catalog, position: int, evidence: Mapping[str, Evidence], local: dict[int, LocalEvidence]
    ) -> Ability:
        """The ability of the card at `position` in the linear form; its local evidence is added to `local`.

        The prior is from the card's outcomes, else from its origin, its facts or the population; its probes update it.
        """
        card = catalog[position]
        column = self.column(catalog, position)
        size = self.head.ability.shape[1]
        if column is not None:
            ability = Ability(self.head.ability[column], np.zeros((size, size)))
        elif card.origin is not None and (base := catalog.position(card.origin)) is not None:
            # The change that an adapter or an effort makes is as uncertain as the difference between two models.
            ability = Ability(self._ability(catalog, base, evidence, {}).mean, self.population.covariance)
        else:
            ability = self.head.facts.ability(facts_row(facts_of(card), self.manifest.families))
        probes = evidence.get(card.id)
        if probes is not None and len(probes.scores):
            model = LinearResponse(self.profile(probes.vectors).profiles)
            is_adapter = card.base is not None and column is None
            belief = Belief.of(model, self.topics(probes.vectors), ability, is_adapter=is_adapter)
            belief = belief.observe(range(len(probes.scores)), probes.scores)
            ability = belief.ability
            if belief.local is not None:
                local[position] = belief.local
        return ability
