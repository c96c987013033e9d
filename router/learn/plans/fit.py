"""Make the gate file of an artifact from sets with answers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score

from router.compose.learned import ClosedForms, GateFile, LearnedFrom, Rule
from router.compose.learned.file import sealed
from router.compose.learned.members import MembersRule
from router.compose.learned.rule import own_rights
from router.learn.data.answers import NO_ANSWER, AnswerSet
from router.learn.plans.answer_gate import prior_of
from router.learn.plans.members_gate import fit_members
from router.learn.plans.pooled_gate import Answered, answered, fit_weights
from router.types import Doubles, Floats, Indices

_STRATA = 10
_LEAST_STRATUM = 20


class Training(NamedTuple):
    """A set with answers, the feature vectors of its prompts and the fold of each, `(prompts,)`."""

    data: AnswerSet
    vectors: Floats
    folds: Indices


def fit_gate_file(
    sets: Sequence[Training],
    command: str = "",
    committees: Sequence[tuple[str, ...]] = (),
    cards: Mapping[str, str] | None = None,
) -> GateFile:
    """The gate from all prompts and models of these sets; forecasts from the prompt are out of fold.

    `committees` are the cards of plans in the order in which they are asked: each gets a gate of its own where a set
    has the answers of all of them. `cards` are the ids of the cards of models that have another name.
    """
    parts = [answered(part.data, prior_of(part.data, part.vectors, part.folds)) for part in sets]
    rows = [np.arange(len(part.scores)) for part in parts]
    weights = fit_weights(list(zip(parts, rows, strict=True)), [np.arange(part.scores.shape[1]) for part in parts])
    found = [closed_forms(part, own_rights(weights.general, part.observed)) for part in parts]
    shares = np.array([part.scores.size for part in parts]) / sum(part.scores.size for part in parts)
    constants = (round(float(shares @ column), 4) for column in np.array(found).T)
    sources = tuple(_source(part.data, each.kinds) for part, each in zip(sets, parts, strict=True))
    found_by = [tuple((cards or {}).get(model, model) for model in part.data.models) for part in sets]
    own = (_own_rule(members, parts, found_by, weights.general) for members in committees)
    return sealed(
        GateFile(
            command=command,
            data_sets=sources,
            weights=weights,
            closed_forms=ClosedForms(*constants),
            committees=tuple(rule for rule in own if rule is not None),
        ),
    )


def _own_rule(
    members: tuple[str, ...], parts: Sequence[Answered], ids: Sequence[Sequence[str]], general: Rule
) -> MembersRule | None:
    """The gate of these members, from the set with the most prompts that they have answered all; None without one."""
    fitting = [number for number, known in enumerate(ids) if set(members) <= set(known)]
    if not fitting:
        return None
    largest = max(fitting, key=lambda number: len(parts[number].scores))
    columns = [ids[largest].index(member) for member in members]
    rows = np.arange(len(parts[largest].scores))
    return fit_members(parts[largest].members(rows, np.tile(columns, (len(rows), 1))), members, general)


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
