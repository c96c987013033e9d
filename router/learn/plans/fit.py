"""Make the gate file of an artifact from sets with answers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score

from router.compose.learned import ClosedForms, GateFile, LearnedFrom
from router.compose.learned.file import sealed
from router.compose.learned.members import MembersRule
from router.compose.learned.rule import own_rights
from router.decide.plans.forecast.columns import Measured, PlanColumn
from router.learn.data.answers import CHARS_PER_TOKEN, NO_ANSWER, AnswerSet
from router.learn.data.routing_set import ASSUMED_OUTPUT_TOKENS
from router.learn.plans.answer_gate import prior_of
from router.learn.plans.columns import column_of
from router.learn.plans.members_gate import fit_members
from router.learn.plans.pooled_gate import Answered, answered, fit_weights
from router.types import Doubles, Floats, Indices

_STRATA = 10
_LEAST_STRATUM = 20


class TokenPrices(NamedTuple):
    """USD per million tokens."""

    input: float
    output: float


class Training(NamedTuple):
    """A set with answers, the feature vectors of its prompts and the fold of each, `(prompts,)`."""

    data: AnswerSet
    vectors: Floats
    folds: Indices


def fit_gate_file(
    sets: Sequence[Training],
    command: str = "",
    plans: Sequence[Measured] = (),
    cards: Mapping[str, str] | None = None,
    prices: Mapping[str, TokenPrices] | None = None,
) -> GateFile:
    """The gate from all prompts and models of these sets; forecasts from the prompt are out of fold.

    `plans` are those that recorded answers can show: the members of each get a gate of their own, and the plan a
    column, where a set has the answers of all of them. `cards` are the ids of the cards of models that have another
    name, `prices` those of cards.
    """
    parts = [answered(part.data, prior_of(part.data, part.vectors, part.folds)) for part in sets]
    rows = [np.arange(len(part.scores)) for part in parts]
    weights = fit_weights(list(zip(parts, rows, strict=True)), [np.arange(part.scores.shape[1]) for part in parts])
    found = [closed_forms(part, own_rights(weights.general, part.observed)) for part in parts]
    shares = np.array([part.scores.size for part in parts]) / sum(part.scores.size for part in parts)
    constants = [round(float(shares @ column), 4) for column in np.array(found).T]
    sources = tuple(_source(part.data, each.kinds) for part, each in zip(sets, parts, strict=True))
    found_by = [tuple((cards or {}).get(model, model) for model in part.data.models) for part in sets]
    own, columns = dict[tuple[str, ...], MembersRule](), list[PlanColumn]()
    for plan in plans:
        number = _largest(plan.members, parts, found_by)
        if number is None:
            continue
        part, data = parts[number], sets[number].data
        models = [found_by[number].index(member) for member in plan.members]
        if plan.members not in own:
            every = np.arange(len(part.scores))
            own[plan.members] = fit_members(
                part.members(every, np.tile(models, (len(every), 1))), plan.members, weights.general
            )
        costs = _usual_costs(data, models, [(prices or {}).get(card) for card in plan.members])
        columns.append(column_of(plan, part, models, sets[number].folds, costs, data.name))
    return sealed(
        GateFile(
            command=command,
            data_sets=sources,
            weights=weights,
            closed_forms=ClosedForms(*constants),
            committees=tuple(own.values()),
            columns=tuple(columns),
        ),
    )


def _largest(members: tuple[str, ...], parts: Sequence[Answered], ids: Sequence[Sequence[str]]) -> int | None:
    """The number of the set with the most prompts that these members have answered all; None where there is none."""
    fitting = [number for number, known in enumerate(ids) if set(members) <= set(known)]
    return max(fitting, key=lambda number: len(parts[number].scores), default=None)


def _usual_costs(data: AnswerSet, models: Sequence[int], prices: Sequence[TokenPrices | None]) -> list[float]:
    """What a call of each of these models usually costs on the set, in USD, at the prices of their cards.

    Where one of these is unknown, at those of the set; where one is unknown or free there, too, all cost the same.
    """
    input_tokens = float(np.mean([sum(map(len, prompt.turns)) for prompt in data.prompts])) / CHARS_PER_TOKEN
    costs = []
    for model, price in zip(models, prices, strict=True):
        if price is None:
            costs = data.cost_usd[:, list(models)].mean(axis=0).tolist()
            break
        written = float(ASSUMED_OUTPUT_TOKENS)
        if "out_chars" in data.signal_names:
            written = float(data.signals[:, model, data.signal_names.index("out_chars")].mean()) / CHARS_PER_TOKEN
        costs.append((input_tokens * price.input + written * price.output) / 1e6)
    return costs if all(cost > 0 for cost in costs) else [1.0] * len(costs)


def closed_forms(data: Answered, right: Doubles) -> tuple[float, float, float]:
    """What `ClosedForms` states, measured on answers; `right` `(prompts, models)` is P(right) by the text."""
    return residual_auc(data, right), residual_correlation(data), wrong_agreement(data)


def residual_auc(data: Answered, right: Doubles) -> float:
    """The mean AUC of `right` among answers of one model with nearly the same prior; 0.5 where nothing is known."""
    found, weights = [], []
    for model in range(data.scores.shape[1]):
        order = np.argsort(data.observed.prior[:, model], kind="stable")
        for rows in np.array_split(order, min(_STRATA, max(len(order) // _LEAST_STRATUM, 1))):
            truth = data.scores[rows, model] >= 0.5
            positive = int(truth.sum())
            if 0 < positive < len(rows):
                found.append(float(roc_auc_score(truth, right[rows, model])))
                weights.append(positive * (len(rows) - positive))
    return float(np.average(found, weights=weights)) if found else 0.5


def residual_correlation(data: Answered) -> float:
    """ρ of p₁₂ = p₁ p₂ + ρ √(p₁ q₁ p₂ q₂), the mean over pairs of models."""
    prior = data.observed.prior
    residual, spread = data.scores - prior, np.sqrt(prior * (1 - prior))
    together, alone = residual.T @ residual, spread.T @ spread
    pairs = list(itertools.combinations(range(prior.shape[1]), 2))
    return float(np.clip(np.mean([together[pair] / alone[pair] for pair in pairs]), 0.0, 0.99))


def wrong_agreement(data: Answered) -> float:
    """How often two wrong answers are the same and can be read, the mean over pairs of models."""
    answers, wrong = data.observed.answers, data.scores < 0.5
    shares = []
    for one, other in itertools.combinations(range(answers.shape[1]), 2):
        both = wrong[:, one] & wrong[:, other]
        if both.any():
            same = (answers[both, one] == answers[both, other]) & (answers[both, one] != NO_ANSWER)
            shares.append(float(same.mean()))
    return float(np.mean(shares)) if shares else 0.0


def _source(data: AnswerSet, kinds: Sequence[str]) -> LearnedFrom:
    counted = Counter(kinds)
    shares = {kind: round(count / len(kinds), 4) for kind, count in sorted(counted.items())}
    return LearnedFrom(data.name, len(data.prompts), data.models, shares)
