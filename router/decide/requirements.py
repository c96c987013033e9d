"""The limits that a request itself sets: room for prompt and answer, kinds of content, capabilities."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from router.cards.catalog import Catalog
from router.decide.fields import DecisionInputs, once
from router.decide.limits import Limit, LimitResult, evaluate
from router.types import Features
from router.wire.reading.needs import ALWAYS_STATED, MEANINGS, MET_BY_ALL, OUTPUTS, WANTED

_CONTEXT_OF_ANY_CARD_TOKENS = 2_048


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
    if once(catalog, "throughput", lambda: bool(catalog.facets["profile"].cards_with("throughput").any())):
        word = "throughput" if is_batch else "interactive"
        found.append(Requirement(Limit("profile", "=", word, f"profile={word}"), is_wanted=True))
    return found


def room_results(features: Features, inputs: DecisionInputs) -> list[LimitResult]:
    """The limits on context and length of the answer, evaluated, and on reading text where a card does not."""
    needed, catalog = needed_tokens(features), inputs.catalog
    context = Limit("context", ">=", needed, f"context>={needed}")
    results = [evaluate(context, inputs, unknown_passes=needed <= _CONTEXT_OF_ANY_CARD_TOKENS)]
    if features.output_limit is not None:
        longest = Limit("max_output", ">=", features.output_limit, f"max_output>={features.output_limit}")
        results.append(evaluate(longest, inputs, unknown_passes=True))
    if not once(catalog, "all read", lambda: bool(catalog.facets["consumes"].cards_with("text").all())):
        # A card that only turns one kind of content into another answers no question: it is a stage of chains.
        results.append(evaluate(Limit("consumes", "=", "text", "consumes=text"), inputs, unknown_passes=True))
    return results


def hints(requirements: Sequence[Requirement], results: Sequence[LimitResult]) -> list[str]:
    """What to do about the needs that no card meets, without those for which the names of the facts say it."""
    failed = {result.limit for result in results if result.fails.all()}
    return [each.hint for each in requirements if each.need and not each.is_wanted and each.limit in failed]
