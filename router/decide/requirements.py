"""The limits that a request itself sets: room for prompt and answer, kinds of content, capabilities."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.decide.fields import DecisionInputs, once
from router.decide.limits import Limit, LimitResult, evaluate
from router.types import Features, Mask
from router.wire.reading.needs import ALWAYS_STATED, MEANINGS, MET_BY_ALL, OUTPUTS, WANTED

_CONTEXT_OF_ANY_CARD_TOKENS = 2_048
_TEXT = frozenset({"text"})


class Requirement(Struct, frozen=True):
    """A limit that a word of the request sets.

    `need` is the capability that the request needs, empty for a kind of its content. `unknown_passes`: a card that
    does not state the fact may be called. `is_wanted`: the limit is dropped where no card meets it.
    """

    limit: Limit
    need: str = ""
    unknown_passes: bool = False
    is_wanted: bool = False

    @property
    def hint(self) -> str:
        """What to do where no card meets the limit."""
        what = MEANINGS.get(self.need, self.need)
        place = "outputs" if self.limit.field == "output" else "capabilities"
        return f"the request asks for {what}; add {self.limit.value} to the {place} of a card that has it"


def needed_tokens(features: Features) -> int:
    """The tokens of the prompt and of the longest answer that the request permits."""
    return features.input_tokens + (features.output_limit or 0)


def word_requirements(features: Features) -> list[Requirement]:
    """The requirements on the words of a card: modalities, then needs."""
    if not features.needs and features.modalities == _TEXT:
        return []
    found = [
        Requirement(Limit("modality", "=", modality, f"modality={modality}"))
        for modality in sorted(features.modalities - {"text"})
    ]
    for need in sorted(features.needs - MET_BY_ALL):
        field, word = ("output", OUTPUTS[need]) if need in OUTPUTS else ("capability", need)
        limit = Limit(field, "=", word, f"{field}={word}")
        found.append(Requirement(limit, need, need not in ALWAYS_STATED, need in WANTED))
    return found


def requirements_of(features: Features, catalog: Catalog, *, is_batch: bool) -> list[Requirement]:
    """The requirements on the words of a card, and on its servers: requests that can wait go to those for throughput,
    and the others to the others, where there are some.
    """
    found = word_requirements(features)
    if _room_facts(catalog).has_throughput:
        word = "throughput" if is_batch else "interactive"
        found.append(Requirement(Limit("profile", "=", word, f"profile={word}"), is_wanted=True))
    return found


def room_results(features: Features, inputs: DecisionInputs) -> list[LimitResult]:
    """The limits on context and length of the answer, evaluated, and on reading text where a card does not."""
    catalog = inputs.catalog
    facts = _room_facts(catalog)
    results = [_context_for(needed_tokens(features), inputs, facts)]
    if features.output_limit is not None:
        longest = Limit("max_output", ">=", features.output_limit, f"max_output>={features.output_limit}")
        results.append(evaluate(longest, inputs, unknown_passes=True))
    if not facts.all_read:
        # A card that only turns one kind of content into another answers no question: it is a stage of chains.
        results.append(evaluate(Limit("consumes", "=", "text", "consumes=text"), inputs, unknown_passes=True))
    return results


class _Facts(NamedTuple):
    """The least context that a card states; of which cards none is stated, and no card, each `(cards,)`; whether all
    cards read text; whether some have servers for throughput.
    """

    least_context_tokens: float
    unknown_context: Mask
    none: Mask
    all_read: bool
    has_throughput: bool


def _facts_of(catalog: Catalog) -> _Facts:
    tokens, facets = catalog.columns.context_tokens, catalog.facets
    return _Facts(
        float(np.fmin.reduce(tokens, initial=np.inf)),
        np.isnan(tokens),
        np.zeros(len(tokens), np.bool_),
        bool(facets["consumes"].cards_with("text").all()),
        bool(facets["profile"].cards_with("throughput").any()),
    )


def _room_facts(catalog: Catalog) -> _Facts:
    return once(catalog, "room", functools.partial(_facts_of, catalog))


def _context_for(tokens: int, inputs: DecisionInputs, facts: _Facts) -> LimitResult:
    """The limit on context, evaluated."""
    limit, unknown_passes = Limit("context", ">=", tokens, f"context>={tokens}"), tokens <= _CONTEXT_OF_ANY_CARD_TOKENS
    if tokens > facts.least_context_tokens:
        return evaluate(limit, inputs, unknown_passes=unknown_passes)
    # Short prompts, which are most, have room in every card that states its context.
    return LimitResult(limit, facts.none if unknown_passes else facts.unknown_context, facts.unknown_context)


def hints(requirements: Sequence[Requirement], results: Sequence[LimitResult]) -> list[str]:
    """What to do about the needs that no card meets, without those for which the names of the facts say it."""
    failed = {result.limit for result in results if result.fails.all()}
    return [each.hint for each in requirements if each.need and not each.is_wanted and each.limit in failed]
