"""The limits that a request itself sets: room for prompt and answer, kinds of content, capabilities; and which limits
count together with those of policy and client.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.decide.fields import DecisionInputs, once
from router.decide.flags import Flags
from router.decide.limits import Limit, LimitResult, among, evaluate
from router.decide.policy import Policy
from router.decide.ranking import AVAILABLE, DISPATCHABLE, HIDDEN, MEASURED, TRIED
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
    found = word_requirements(features) if features.needs or features.modalities != _TEXT else []
    if _catalog_facts(catalog).has_throughput:
        word = "throughput" if is_batch else "interactive"
        found.append(Requirement(Limit("profile", "=", word, f"profile={word}"), is_wanted=True))
    return found


def room_results(features: Features, inputs: DecisionInputs) -> list[LimitResult]:
    """The limits on context and length of the answer, evaluated, and on reading text where a card does not."""
    catalog = inputs.catalog
    facts = _catalog_facts(catalog)
    results = [_context_for(needed_tokens(features), inputs, facts)]
    if features.output_limit is not None:
        longest = Limit("max_output", ">=", features.output_limit, f"max_output>={features.output_limit}")
        results.append(evaluate(longest, inputs, unknown_passes=True))
    if not facts.all_read:
        # A card that only turns one kind of content into another answers no question: it is a stage of chains.
        results.append(evaluate(Limit("consumes", "=", "text", "consumes=text"), inputs, unknown_passes=True))
    return results


class _CatalogFacts(NamedTuple):
    """The least context that a card states; of which cards none is stated, and no card, each `(cards,)`; whether all
    cards read text; whether some have servers for throughput.
    """

    least_context_tokens: float
    unknown_context: Mask
    none: Mask
    all_read: bool
    has_throughput: bool


def _new_facts(catalog: Catalog) -> _CatalogFacts:
    tokens, facets = catalog.columns.context_tokens, catalog.facets
    unknown_context, none = np.isnan(tokens), np.zeros(len(tokens), np.bool_)
    for shared in (unknown_context, none):
        # They are in the results of all requests.
        shared.flags.writeable = False
    return _CatalogFacts(
        float(np.fmin.reduce(tokens, initial=np.inf)),
        unknown_context,
        none,
        bool(facets["consumes"].cards_with("text").all()),
        bool(facets["profile"].cards_with("throughput").any()),
    )


def _catalog_facts(catalog: Catalog) -> _CatalogFacts:
    return once(catalog, "requirements", functools.partial(_new_facts, catalog))


def _context_for(tokens: int, inputs: DecisionInputs, facts: _CatalogFacts) -> LimitResult:
    """The limit on context, evaluated."""
    limit, unknown_passes = Limit("context", ">=", tokens, f"context>={tokens}"), tokens <= _CONTEXT_OF_ANY_CARD_TOKENS
    if tokens > facts.least_context_tokens:
        return evaluate(limit, inputs, unknown_passes=unknown_passes)
    # Short prompts, which are most, have room in every card that states its context.
    return LimitResult(limit, facts.none if unknown_passes else facts.unknown_context, facts.unknown_context)


def effective_limits(
    features: Features,
    inputs: DecisionInputs,
    policy: Policy,
    flags: Flags,
    unavailable: Collection[str],
    hidden: Collection[str],
    words: Sequence[Requirement],
) -> tuple[list[LimitResult], tuple[str, ...]]:
    """The limits that count, evaluated, and the texts of those that were dropped because no card passed them.

    `flags` are those of policy and client, `words` the requirements of `requirements_of`. The ids of the cards that are
    `unavailable` now, and that are `hidden` from the client.
    """
    catalog = inputs.catalog
    results = room_results(features, inputs)
    if inputs.forecast.measured is not None and policy.unmeasured != "include":
        results = [*_evidence(inputs.forecast.measured), *results]
    if unavailable or hidden or catalog.withheld or catalog.untried:
        failing = (DISPATCHABLE, catalog.withheld), (TRIED, catalog.untried), (AVAILABLE, unavailable), (HIDDEN, hidden)
        results = [*among(catalog, *failing), *results]
    # Most requests have neither words nor limits.
    if not words and not flags.limits:
        return results, ()
    results += _evaluated([each for each in words if not each.is_wanted], inputs)
    requested = [evaluate(limit, inputs, unknown_passes=policy.unknown == "allow") for limit in flags.limits]
    remaining, relaxed = _relaxed(results, requested, policy)
    results += remaining
    wanted, unmet = _met(results, _evaluated([each for each in words if each.is_wanted], inputs))
    return [*results, *wanted], (*relaxed, *unmet)


def _evidence(measured: Mask) -> list[LimitResult]:
    """Cards of which the artifact knows no outcomes are left out, unless it knows those of none."""
    if not measured.any() or measured.all():
        return []
    return [LimitResult(MEASURED, ~measured, np.zeros_like(measured))]


def _evaluated(requirements: Sequence[Requirement], inputs: DecisionInputs) -> list[LimitResult]:
    return [evaluate(each.limit, inputs, unknown_passes=each.unknown_passes) for each in requirements]


def _met(others: Sequence[LimitResult], wanted: Sequence[LimitResult]) -> tuple[list[LimitResult], tuple[str, ...]]:
    """Of the wanted limits, those that leave a candidate, and the texts of the others."""
    met: list[LimitResult] = []
    unmet: list[str] = []
    for result in wanted:
        if fails_of([*others, *met, result]).any(axis=0).all():
            unmet.append(result.limit.text)
        else:
            met.append(result)
    return met, tuple(unmet)


def _relaxed(
    required: Sequence[LimitResult], requested: list[LimitResult], policy: Policy
) -> tuple[list[LimitResult], tuple[str, ...]]:
    """The requested limits that remain once relaxing has found a candidate, and the texts of the dropped ones.

    What the request itself requires is never relaxed: a card that fails it could not serve the request.
    """
    relaxed: list[str] = []
    for field in policy.relax if policy.on_empty == "relax" else ():
        if not fails_of([*required, *requested]).any(axis=0).all():
            break
        relaxed += [result.limit.text for result in requested if result.limit.field == field]
        requested = [result for result in requested if result.limit.field != field]
    return requested, tuple(relaxed)


def fails_of(results: Sequence[LimitResult]) -> Mask:
    """Of shape `(limits, cards)`. Never empty: every request requires some context."""
    return np.array([result.fails for result in results])


def hints(requirements: Sequence[Requirement], results: Sequence[LimitResult]) -> list[str]:
    """What to do about the needs that no card meets, without those for which the names of the facts say it."""
    failed = {result.limit for result in results if result.fails.all()}
    return [each.hint for each in requirements if each.need and not each.is_wanted and each.limit in failed]
