"""Train/test splits: random folds, one domain left out, another data set.

A prompt is never forecast from its duplicates: prompts with the same normalized question are in the same part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from msgspec import Struct
from sklearn.model_selection import GroupKFold

from router.errors import CallerError
from router.learn.data import RoutingSet, join
from router.types import Indices

MAX_DOMAIN_FOLDS = 15
_FIRST_OPTION = re.compile(r"\n\s*\(?A[).:]\s")
_WORDS = re.compile(r"\w+")


class Split(Struct, frozen=True, eq=False):
    """Rows to train on and rows to test on; `groups` gives all rows with the same question the same number."""

    train: Indices
    test: Indices
    groups: Indices


def normalized_question(turns: Sequence[str]) -> str:
    """The question of a prompt, in lower case and without punctuation, by which near-duplicates are recognised.

    The same question occurs in several sets with other options, or after other examples. So of a text with options,
    only the part before the last list of options counts, and of one with several lists, only its last paragraph.
    """
    lists = list(_FIRST_OPTION.finditer(turns[-1]))
    question = turns[-1][: lists[-1].start()] if lists else turns[-1]
    if len(lists) > 1:
        question = question[question.rfind("\n\n") + 1 :]
    words = _WORDS.findall(" ".join((*turns[:-1], question)).lower())
    return " ".join(words) if words else "\n".join(turns)


def duplicate_groups(data: RoutingSet) -> Indices:
    """For each prompt, the first row with the same question."""
    questions = [normalized_question(prompt.turns) for prompt in data.prompts]
    first_of = {question: row for row, question in reversed(list(enumerate(questions)))}
    return np.array([first_of[question] for question in questions], dtype=np.intp)


def k_folds(data: RoutingSet, folds: int, random_state: int) -> Iterator[Split]:
    """`folds` random folds; duplicates of a question are in the same fold."""
    groups = duplicate_groups(data)
    different = len(set(groups.tolist()))
    if not 2 <= folds <= different:
        raise CallerError(f"--folds must be between 2 and the number of different prompts ({different}), got {folds}")
    parts = GroupKFold(folds, shuffle=True, random_state=random_state).split(groups, groups=groups)
    for train, test in parts:
        yield Split(train, test, groups)


def leave_domain_out(data: RoutingSet) -> Iterator[Split]:
    """One domain left out at a time; with more than fifteen domains, several at a time in fifteen folds."""
    groups = duplicate_groups(data)
    names, domains = np.unique(np.array(data.domains), return_inverse=True)
    if len(names) < 2:
        raise CallerError(f"--by domain needs at least two domains; {data.name} has {len(names)}")
    parts = GroupKFold(min(len(names), MAX_DOMAIN_FOLDS)).split(groups, groups=domains)
    for others, test in parts:
        # A prompt may be in two domains; a tested prompt must not be trained on.
        train = others[~np.isin(groups[others], groups[test])]
        if not len(train):
            domain = data.domains[test[0]]
            raise CallerError(f"{data.name}: no prompt is left to train on: all, or near-duplicates, are in {domain}")
        yield Split(train, test, groups)


def fold_of_each(splits: Iterable[Split], prompts: int) -> Indices:
    """The number of the split that tests each of so many prompts."""
    folds = np.zeros(prompts, dtype=np.intp)
    for number, split in enumerate(splits):
        folds[split.test] = number
    return folds


def transfer(train_set: RoutingSet, test_set: RoutingSet) -> tuple[RoutingSet, Split]:
    """Train on one set, test on the other, on the models of both; no question of the test set is trained on."""
    shared = [model for model in train_set.models if model in test_set.models]
    if len(shared) < 2:
        raise CallerError(
            f"{train_set.name} and {test_set.name} share {len(shared)} models; --test needs at least two (--aliases "
            "joins different names of a model)"
        )
    data = join([train_set.columns(shared), test_set.columns(shared)])
    groups = duplicate_groups(data)
    rows = np.arange(len(data.prompts))
    has_outcome = np.isfinite(data.scores).any(axis=1)
    test = rows[(rows >= len(train_set.prompts)) & has_outcome]
    train = rows[(rows < len(train_set.prompts)) & has_outcome & ~np.isin(groups, groups[test])]
    if not len(train) or not len(test):
        raise CallerError(f"{train_set.name} and {test_set.name}: no outcomes of shared models to compare")
    return data, Split(train, test, groups)
