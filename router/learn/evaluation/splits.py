"""Who is tested on what: folds, one domain left out, another data set, one model left out.

A prompt is never forecast from its own copies: `normalized_question` knows the same question in other clothes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec
import numpy as np
from msgspec import Struct
from sklearn.model_selection import GroupKFold

from router.errors import CallerError
from router.learn.data import RoutingSet, join
from router.learn.evaluation.metrics import brier, mean_auc
from router.learn.progress import tracked
from router.types import Doubles, Floats, Indices

PROBES = (0, 8, 16, 32, 64)
"""How many outcomes of a left-out model are asked for."""

_MOST_DOMAIN_FOLDS = 15
_FIRST_OPTION = re.compile(r"\n\s*\(?A[).:]\s")
_WORDS = re.compile(r"\w+")


class Split(Struct, frozen=True, eq=False):
    """Rows to learn from and rows to forecast; `copies` gives rows of one question the same number, for all rows."""

    train: Indices
    test: Indices
    copies: Indices


def normalized_question(turns: Sequence[str]) -> str:
    """What a prompt asks, in lower case and without marks, so that its copies in other clothes are known.

    The same question stands in several sets with other options, or after other examples: of a text with options only
    what stands before the last list of them counts, and of one with several lists only its last paragraph.
    """
    lists = list(_FIRST_OPTION.finditer(turns[-1]))
    asked = turns[-1][: lists[-1].start()] if lists else turns[-1]
    if len(lists) > 1:
        asked = asked[asked.rfind("\n\n") + 1 :]
    words = _WORDS.findall(" ".join((*turns[:-1], asked)).lower())
    return " ".join(words) if words else "\n".join(turns)


def duplicate_groups(data: RoutingSet) -> Indices:
    """For each prompt the first row that asks the same."""
    questions = [normalized_question(prompt.turns) for prompt in data.prompts]
    first_of = {question: row for row, question in reversed(list(enumerate(questions)))}
    return np.array([first_of[question] for question in questions], dtype=np.intp)


def k_folds(data: RoutingSet, folds: int, random_state: int) -> Iterator[Split]:
    """`folds` random folds; copies of a question lie in the same one."""
    copies = duplicate_groups(data)
    different = len(set(copies.tolist()))
    if not 2 <= folds <= different:
        raise CallerError(f"--folds must be between 2 and the number of different prompts ({different}), got {folds}")
    parts = GroupKFold(folds, shuffle=True, random_state=random_state).split(copies, groups=copies)
    for train, test in parts:
        yield Split(train, test, copies)


def leave_domain_out(data: RoutingSet) -> Iterator[Split]:
    """One domain left out at a time; of more than fifteen, several at a time in fifteen folds."""
    copies = duplicate_groups(data)
    names, domains = np.unique(np.array(data.domains), return_inverse=True)
    if len(names) < 2:
        raise CallerError(f"--by domain needs at least two domains; {data.name} has {len(names)}")
    parts = GroupKFold(min(len(names), _MOST_DOMAIN_FOLDS)).split(copies, groups=domains)
    for others, test in parts:
        # A prompt may stand in two domains; what is forecast must not have been learned from.
        train = others[~np.isin(copies[others], copies[test])]
        if not len(train):
            raise CallerError(f"{data.name}: every prompt outside {data.domains[test[0]]} is also in it")
        yield Split(train, test, copies)


def transfer(learned: RoutingSet, tested: RoutingSet) -> tuple[RoutingSet, Split]:
    """Train on one set, test on the other, on the models of both; no question of the test set is trained on."""
    shared = [model for model in learned.models if model in tested.models]
    if len(shared) < 2:
        raise CallerError(
            f"{learned.name} and {tested.name} share {len(shared)} models; --test needs two, and --aliases joins names"
        )
    data = join([_columns(learned, shared), _columns(tested, shared)])
    copies = duplicate_groups(data)
    rows = np.arange(len(data.prompts))
    known = np.isfinite(data.scores).any(axis=1)
    test = rows[(rows >= len(learned.prompts)) & known]
    train = rows[(rows < len(learned.prompts)) & known & ~np.isin(copies, copies[test])]
    if not len(train) or not len(test):
        raise CallerError(f"{learned.name} and {tested.name}: no outcomes of shared models are left to compare")
    return data, Split(train, test, copies)


def _columns(data: RoutingSet, models: Sequence[str]) -> RoutingSet:
    """The set restricted to these models."""
    columns = [data.models.index(model) for model in models]
    return msgspec.structs.replace(
        data,
        models=tuple(models),
        scores=data.scores[:, columns],
        cost_usd=None if data.cost_usd is None else data.cost_usd[:, columns],
        output_tokens=None if data.output_tokens is None else data.output_tokens[:, columns],
    )


class HiddenOutcomes:
    """What may be asked about a left-out model: its outcomes on rows of the training part, `budget` of them.

    `model` is its name, by which facts about it may be looked up, `rows` are those it was run on. Calling with
    a row reveals the outcome; a row asked again costs nothing.
    """

    def __init__(self, model: str, outcomes: Doubles, budget: int) -> None:
        self._outcomes = outcomes
        self.model, self.budget = model, budget
        self.rows: Indices = np.flatnonzero(~np.isnan(outcomes))
        self.asked: dict[int, float] = {}

    def __call__(self, row: int) -> float:
        """The outcome on `row`. Raises ValueError where the budget is spent or there is no outcome."""
        if row not in self.asked:
            if len(self.asked) >= self.budget:
                raise ValueError(f"more than {self.budget} probes were asked for")
            if np.isnan(self._outcomes[row]):
                raise ValueError(f"the model was not run on row {row}")
            self.asked[row] = float(self._outcomes[row])
        return self.asked[row]


class Place(Protocol):
    """Forecasts of a new model from a few probes."""

    def __call__(self, probes: HiddenOutcomes, asked: Floats, /) -> Doubles:
        """Expected scores `(prompts,)` for feature vectors `(prompts, width)`, having asked `probes` what it wants."""


Learn = Callable[[RoutingSet, Floats], Place]
"""Learns from the other models' outcomes and their prompts' feature vectors how to place a new model."""


class LeftOut(Struct, frozen=True):
    """How well models that the training never saw are forecast from `probes` outcomes, means over the left-out models.

    `gain`: (AUC - AUC of the prior) / (AUC of full outcomes - AUC of the prior), where the prior is the first
    strategy without probes; None where full outcomes gain nothing.
    """

    method: str
    probes: int | None
    auc: float | None
    brier: float
    gain: float | None


def leave_models_out(
    data: RoutingSet,
    vectors: Floats,
    strategies: dict[str, Learn],
    full: Callable[[RoutingSet, Floats, Floats], Doubles],
    *,
    probes: Sequence[int] = PROBES,
    models: int = 12,
    random_state: int = 0,
) -> tuple[LeftOut, ...]:
    """Forecast models that were left out of the training, on prompts that were left out too.

    One prompt in five is tested; probes are drawn from the others. At most `models` are left out, one at a
    time, evenly spread over the order of their means. `full` learns from all training outcomes, those of the
    model included, and gives forecasts `(prompts, models)`. The first of `strategies` is the one whose
    forecast without probes is the prior.
    """
    if len(data.models) < 3:
        raise CallerError(f"--by model needs at least three models; {data.name} has {len(data.models)}")
    split = next(k_folds(data, 5, random_state))
    learned = data.rows(split.train)
    scores = np.asarray(data.scores, dtype=np.float64)
    reference = full(learned, vectors[split.train], vectors[split.test])
    out = _spread(scores, models)
    results: dict[tuple[str, int | None], list[tuple[float | None, float]]] = {}

    def add(name: str, count: int | None, model: int, forecast: Doubles) -> None:
        truth, own = scores[split.test, model][:, None], np.clip(forecast, 0, 1)[:, None]
        known = ~np.isnan(truth[:, 0])
        if known.any():
            results.setdefault((name, count), []).append((mean_auc(truth[known], own[known]), brier(truth, own)))

    for model in tracked(out, "leaving models out", min_items=2):
        others = [each for position, each in enumerate(data.models) if position != model]
        without = _columns(learned, others)
        for name, learn in strategies.items():
            place = learn(without, vectors[split.train])
            for count in probes:
                hidden = HiddenOutcomes(data.models[model], scores[split.train, model], count)
                add(name, count, model, place(hidden, vectors[split.test]))
        add("full outcomes", None, model, reference[:, model])
    return _left_out(results, next(iter(strategies)))


def _spread(scores: Doubles, models: int) -> list[int]:
    """At most so many columns, evenly spread from the weakest to the strongest."""
    means = np.array([np.nanmean(column) if np.isfinite(column).any() else np.nan for column in scores.T])
    order = np.argsort(means)[: int(np.isfinite(means).sum())]
    return [int(order[at]) for at in np.unique(np.linspace(0, len(order) - 1, models).round().astype(int))]


def _left_out(
    results: dict[tuple[str, int | None], list[tuple[float | None, float]]], prior: str
) -> tuple[LeftOut, ...]:
    def mean_of(key: tuple[str, int | None]) -> float | None:
        areas = [area for area, _ in results.get(key, []) if area is not None]
        return float(np.mean(areas)) if areas else None

    least, most = mean_of((prior, 0)), mean_of(("full outcomes", None))
    lines = []
    for (name, count), pairs in results.items():
        area = mean_of((name, count))
        gain = None
        if area is not None and least is not None and most is not None and most - least > 1e-6:
            gain = (area - least) / (most - least)
        lines.append(LeftOut(name, count, area, float(np.mean([error for _, error in pairs])), gain))
    return tuple(lines)
