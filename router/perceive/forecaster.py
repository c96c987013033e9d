"""Forecasts for every card of a catalogue: quality with its uncertainty, length, cost and latency."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
import numpy as np

from router.cards.catalog import Catalog
from router.cards.machine.speeds import factors
from router.perceive import kernel
from router.perceive.ability.local import LocalEvidence
from router.perceive.exact import exp
from router.perceive.kernel.cards import CompiledCards, Known
from router.perceive.linear import Quality, tokens_of
from router.perceive.logistic import LogisticQuality
from router.perceive.memory.traffic import TrafficCorrection
from router.perceive.profile import PromptProfile
from router.perceive.purpose.purposes import LEFT_FAR, Purposes, raised
from router.perceive.roofline import time_per_token_ms, time_to_first_token_ms
from router.types import Doubles, Features, Floats, Forecast, Indices, Mask

if TYPE_CHECKING:
    from router.perceive.predictor import Predictor

USUAL_THINKING_TOKENS = 1_500.0
"""What a card that reasons is assumed to think, in tokens, on a prompt that is hard for today's best models."""

TAIL_95 = 2.5
"""The 95th percentile of an answer's tokens as a multiple of the forecast, which is their mean.

Artifacts contain no spread. On the answers of 32 models in `mmlu_pro`, of which the predictor has learned lengths, the
percentile is 2.3 times the forecast at each model's own level.
"""

_HARD, _GROWTH = 2.0, 0.6
_LEAST_THINKING, _MOST_THINKING = 0.03, 2.0
_LEAST, _GREATEST = 1e-6, 1.0 - 1e-6


class QualityModel(Protocol):
    """The qualities of the cards of one catalogue. `mean_quality` `(cards,)` is that on an average prompt."""

    mean_quality: Doubles

    def __call__(self, prompt: PromptProfile) -> Quality:
        """The qualities on the first of the prompts."""


class CardPurposes(NamedTuple):
    """What is known of the tasks of cards, and of each of these cards `(cards,)`: whether it is an adapter, which
    leaves all other prompts to its base; and whether examples or a profile claim that it is good at the task.
    """

    of: Purposes
    leaves_others: Mask
    claims: Mask


class Forecaster:
    """Forecasts for one catalogue. A card's forecast depends on that card alone, and on those that it names."""

    def __init__(
        self,
        predictor: Predictor,
        catalog: Catalog,
        quality: QualityModel,
        rows: Indices,
        local: Mapping[int, LocalEvidence],
        measured: Mask | None = None,
        purposes: CardPurposes | None = None,
        traffic: TrafficCorrection | None = None,
    ) -> None:
        """`rows` are the cards' rows of the head's lengths; `local` are the local evidence by position; `measured` is
        that of `Forecast`; `purposes` is what the examples on cards say, `traffic` what judged traffic has shown.
        """
        self._traffic = traffic
        mean = quality.mean_quality
        self._mean_quality = mean if traffic is None else traffic.mean_quality(mean)
        self._measured, self._purposes = measured, purposes
        self._left_far = np.zeros(len(catalog))
        if purposes is not None:
            self._left_far[purposes.of.positions[purposes.leaves_others]] = LEFT_FAR
        self._predictor, self._quality, self._local = predictor, quality, local
        cards = catalog.columns
        self._max_output_tokens = np.where(np.isnan(cards.max_output_tokens), np.inf, cards.max_output_tokens)
        self._columns = cards
        reasons = np.array(["reasoning" in (card.capabilities or ()) for card in catalog], dtype=np.bool_)
        usual = np.where(reasons, USUAL_THINKING_TOKENS, 0.0)
        self._thinking_tokens = np.where(np.isnan(cards.thinking_tokens), usual, cards.thinking_tokens)
        self._ttft_ms, self._ttft_unknown = cards.ttft_ms, np.isnan(cards.ttft_ms)
        self._tpot_ms, self._tpot_unknown = cards.tpot_ms, np.isnan(cards.tpot_ms)
        self._machines = catalog.machines
        self._first, self._further = factors(catalog.ids_without_effort, catalog.speeds)
        self._length_offset = predictor.head.length_offset[rows]
        self._compiled = self._bound(catalog)

    def _bound(self, catalog: Catalog) -> CompiledCards | None:
        """The cards, bound to the compiled kernel; None where numpy is used, as for the linear form."""
        quality, extension = self._quality, kernel.extension()
        if extension is None or self._predictor.compiled is None or not isinstance(quality, LogisticQuality):
            return None
        if not len(catalog) or max(quality.strengths.shape[1], quality.interactions.shape[1]) > kernel.MOST_TERMS:
            return None
        return CompiledCards(
            extension,
            self._predictor.compiled,
            (quality.strengths, quality.variances, quality.interactions),
            quality.difficulty_variance,
            Known(self._length_offset, self._max_output_tokens, self._thinking_tokens, self._first, self._further),
            catalog.columns,
            catalog.machines,
        )

    def __call__(self, features: Features) -> Forecast:
        """The forecast of every card, in the catalogue's order, and those of the parts of the prompt."""
        forecast = self._whole(features)
        if not features.parts:
            return forecast
        return msgspec.structs.replace(forecast, parts=tuple(map(self._whole, features.parts)))

    def _whole(self, features: Features) -> Forecast:
        if self._compiled is None:
            return self.in_numpy(features)
        found = self._compiled(features)
        quality, compared = found.quality, found.quality
        quality_std, independent_std = found.quality_std, found.independent_std
        if self._purposes is not None or self._local or self._traffic is not None:
            known = Quality(quality, quality_std, independent_std, compared)
            quality, quality_std, independent_std, compared = self._with_evidence(known, features.vector)
        return Forecast(
            quality=quality,
            compared=compared,
            quality_std=quality_std,
            independent_std=independent_std,
            mean_quality=self._mean_quality,
            output_tokens=found.output_tokens,
            written_tokens=found.written_tokens,
            cost_usd=found.cost_usd,
            ttft_ms=found.ttft_ms,
            latency_ms=found.latency_ms,
            novelty=found.novelty,
            measured=self._measured,
        )

    def in_numpy(self, features: Features) -> Forecast:
        """The specification of the forecast of one prompt, without its parts."""
        prompt = self._predictor.profile(features.vector[None])
        quality = self._on_prompt(prompt, features.vector)
        output_tokens = np.minimum(tokens_of(prompt.log_tokens[0] + self._length_offset), self._max_output_tokens)
        if features.output_limit is not None:
            output_tokens = np.minimum(output_tokens, features.output_limit)
        thinking = (self._thinking_tokens * (features.thinking_scale * _thinking_share(prompt))).round()
        # The limit of the answer includes thinking.
        limit = np.inf if features.output_limit is None else features.output_limit
        written_tokens = np.minimum(output_tokens + thinking, limit)
        input_usd, output_usd = self._columns.prices_usd_per_mtok(features.input_tokens)
        estimated = time_to_first_token_ms(self._machines, features.input_tokens) * self._first
        ttft_ms = np.where(self._ttft_unknown, estimated, self._ttft_ms)
        # The context grows while the answer is written: its mean is that in the middle of the answer.
        decoding = time_per_token_ms(self._machines, features.input_tokens + written_tokens / 2) * self._further
        tpot_ms = np.where(self._tpot_unknown, decoding, self._tpot_ms)
        return Forecast(
            quality=quality.quality,
            compared=quality.compared,
            quality_std=quality.std,
            independent_std=quality.independent_std,
            mean_quality=self._mean_quality,
            output_tokens=output_tokens,
            written_tokens=written_tokens,
            cost_usd=features.input_tokens * (input_usd / 1e6) + written_tokens * (output_usd / 1e6),
            ttft_ms=ttft_ms,
            latency_ms=ttft_ms + written_tokens * tpot_ms,
            novelty=float(prompt.novelty[0]),
            measured=self._measured,
        )

    def qualities(self, vectors: Floats) -> Doubles:
        """The expected qualities `(prompts, cards)` on prompts with these feature vectors."""
        profiles = self._predictor.profile(vectors)
        # What a card's examples and probes add is particular to each prompt.
        singles = (PromptProfile._make(field[row : row + 1] for field in profiles) for row in range(len(vectors)))
        rows = [self._on_prompt(prompt, vector).quality for prompt, vector in zip(singles, vectors, strict=True)]
        return np.array(rows).reshape(len(vectors), -1)

    def _on_prompt(self, prompt: PromptProfile, vector: Floats) -> Quality:
        return self._with_evidence(self._quality(prompt), vector)

    def _with_evidence(self, quality: Quality, vector: Floats) -> Quality:
        """`quality` with what examples, profiles and probes of cards, and judged traffic, say of this prompt."""
        quality = self._with_cards_evidence(quality, vector)
        if self._traffic is None:
            return quality
        return self._traffic(quality, self._predictor.topics(vector[None])[0])

    def _with_cards_evidence(self, quality: Quality, vector: Floats) -> Quality:
        if self._purposes is None:
            return self._with_local_evidence(quality, vector, ())
        near, logits = self._purposes.of.logits(vector)
        positions = self._purposes.of.positions[near]
        quality = self._with_local_evidence(quality, vector, positions.tolist())
        claimed = self._purposes.claims[near]
        return self._with_purposes(quality, vector, positions[claimed], logits[claimed])

    def _with_purposes(self, quality: Quality, vector: Floats, positions: Indices, logits: Doubles) -> Quality:
        """`quality` raised by `logits` for the cards at `positions`, to whose task the prompt belongs; adapters leave
        other prompts to their bases.
        """
        topic = self._predictor.topics(vector[None])[0] if self._local and len(positions) else None
        for place, position in enumerate(positions.tolist()):
            if topic is not None and position in self._local:
                # Outcomes on such prompts say what the examples only claim.
                logits[place] /= 1.0 + self._local[position].outcomes_near(topic)
        raises = logits > 0
        positions, logits = positions[raises], logits[raises]

        def changed(values: Doubles) -> Doubles:
            new: Doubles = np.maximum(values - self._left_far, 0.0)
            new[positions] = raised(values[positions], logits)
            return new

        same = quality.compared is quality.quality
        of_prompt = changed(quality.quality)
        return quality._replace(quality=of_prompt, compared=of_prompt if same else changed(quality.compared))

    def _with_local_evidence(self, quality: Quality, vector: Floats, of_task: Collection[int]) -> Quality:
        """`quality` corrected by the outcomes of probes; `of_task` are the cards to whose task the prompt belongs."""
        if not self._local:
            return quality
        topic = self._predictor.topics(vector[None])[0]
        correction = np.zeros_like(quality.quality)
        for card, evidence in self._local.items():
            correction[card] = evidence.correction_on(topic, is_of_task=card in of_task)
        corrected = [
            np.minimum(np.maximum(of + correction, _LEAST), _GREATEST).round(6)
            for of in (quality.quality, quality.compared)
        ]
        return quality._replace(quality=corrected[0], compared=corrected[1])


def _thinking_share(prompt: PromptProfile) -> float:
    """The thinking on this prompt as a share of that on a hard one: models think longer about harder prompts.

    One without a reader, which knows the difficulty.
    """
    if not prompt.readings.shape[1]:
        return 1.0
    share = float(exp(np.array(_GROWTH * (float(prompt.readings[0, 0]) - _HARD))))
    return min(max(share, _LEAST_THINKING), _MOST_THINKING)
