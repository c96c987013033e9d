"""Replays of experiments on real outcomes: who asks what, in which arm, and which test sees a difference when."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from msgspec import Struct

from router.analysis.experiments.comparison import Experiment, Unit
from router.learn.data import load_set
from router.types import Doubles

By = Literal["key", "conversation"]
OUTCOMES_OF_KEY = 5
_Z = 1.959964
_LEAST = 20
"""How many outcomes of each arm a naive test waits for."""
_DOMAINS_OF_KEY = 3


class Scores(Struct, frozen=True, eq=False):
    """The scores `(prompts, cards)` of a set in [0, 1], best card first, and the domain of each prompt."""

    name: str
    cards: tuple[str, ...]
    scores: Doubles
    domains: np.ndarray


class Replay(Struct, frozen=True, eq=False):
    """The judged answers of one experiment, in their order: the key that asked, the arm, the value. `by` is what was
    sent to the arms.
    """

    by: By
    keys: np.ndarray
    arms: np.ndarray
    values: Doubles


Test = Callable[[Replay], int | None]
"""After how many judged answers the test says that the arms differ; None where it does not."""


def load(folder: Path) -> Scores:
    """The prompts of a set that most cards answered, and these cards."""
    data = load_set(folder)
    usual = np.isfinite(data.scores).mean(axis=0) > 0.8
    columns = np.flatnonzero(usual)
    complete = np.isfinite(data.scores[:, columns]).all(axis=1)
    scores = np.asarray(data.scores[complete][:, columns], dtype=np.float64)
    order = np.argsort(-scores.mean(axis=0), kind="stable")
    domains = np.unique(np.array(data.domains)[complete], return_inverse=True)[1]
    return Scores(data.name, tuple(data.models[columns[place]] for place in order), scores[:, order], domains)


def replay(scores: Scores, cards: tuple[int, int], by: By, judged: int, keys: int, seed: int) -> Replay:
    """One experiment with two cards as its arms; the same card twice for one without a difference.

    Some keys ask much more than others (Zipf), each about three domains. Its prompts are drawn without regard to arms.
    """
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, keys + 1) ** 0.8
    of_key = rng.permutation(keys)[rng.choice(keys, judged, p=weights / weights.sum())]
    kinds = scores.domains.max() + 1
    likes = rng.integers(0, kinds, (keys, _DOMAINS_OF_KEY))
    wanted = likes[of_key, rng.integers(0, _DOMAINS_OF_KEY, judged)]
    by_domain = [np.flatnonzero(scores.domains == domain) for domain in range(kinds)]
    prompts = np.array([by_domain[domain][rng.integers(len(by_domain[domain]))] for domain in wanted])
    drawn = rng.random(keys if by == "key" else judged) < 0.5
    arms = drawn[of_key] if by == "key" else drawn
    return Replay(by, of_key, arms, scores.scores[prompts, np.where(arms, cards[1], cards[0])])


def always_valid(replay: Replay, alpha: float = 0.05) -> int | None:
    """What the gateway does, after every judged answer: by key, or by conversations of which no key may decide."""
    by_key = replay.by == "key"
    experiment = Experiment([1, 1], alpha, several_keys=True, bounded=True)
    open_: dict[int, list[float]] = {}
    needed = OUTCOMES_OF_KEY if by_key else 1
    for place, (key, arm, value) in enumerate(
        zip(replay.keys.tolist(), replay.arms.tolist(), replay.values.tolist(), strict=True)
    ):
        values = open_.setdefault(key if by_key else place, [])
        values.append(value)
        if len(values) == needed:
            experiment.add(Unit(int(arm), sum(values) / needed, f"key-{key}"))
            if experiment.verdicts != ["open"]:
                return place + 1
    return None


def peeking(replay: Replay) -> int | None:
    """A t-test of the judged answers, looked at after every one: what people do with a running mean."""
    low = _differs(replay.values, replay.arms.astype(np.float64))
    return None if not low.any() else int(np.argmax(low)) + 1


def at_the_end(replay: Replay) -> int | None:
    """The same t-test, looked at once, when all answers are judged: valid where answers are independent."""
    return len(replay.values) if bool(_differs(replay.values, replay.arms.astype(np.float64))[-1]) else None


def units_at_the_end(replay: Replay) -> int | None:
    """A t-test of the keys (of the answers, by conversation), looked at once, when all are judged."""
    if replay.by == "conversation":
        return at_the_end(replay)
    means, arms = of_keys(replay)
    return len(replay.values) if len(means) > 1 and _differs(means, arms)[-1] else None


def of_keys(replay: Replay) -> tuple[Doubles, Doubles]:
    """The mean of the first outcomes of each key that has enough, and its arm."""
    means, arms = [], []
    for key in np.unique(replay.keys):
        places = np.flatnonzero(replay.keys == key)[:OUTCOMES_OF_KEY]
        if len(places) == OUTCOMES_OF_KEY:
            means.append(float(replay.values[places].mean()))
            arms.append(float(replay.arms[places[0]]))
    return np.array(means), np.array(arms)


def _differs(values: Doubles, arms: Doubles) -> np.ndarray:
    """After each value, whether a two-sided test at 5 % says that the arms differ."""
    found = []
    for arm in (arms, 1 - arms):
        count = np.cumsum(arm)
        known = np.maximum(count, 2)
        mean = np.cumsum(arm * values) / known
        spread = np.maximum(np.cumsum(arm * values * values) / known - mean * mean, 0) / (known - 1)
        found.append((count, mean, spread))
    (count, mean, spread), (other_count, other_mean, other_spread) = found
    error = np.sqrt(spread + other_spread)
    is_known = (np.minimum(count, other_count) >= _LEAST) & (error > 0)
    differs: np.ndarray = is_known & (np.abs(mean - other_mean) > _Z * error)
    return differs


def interval(hits: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    share, spread = hits / of, _Z * _Z / of
    half = _Z * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    return (share + spread / 2 - half) / (1 + spread), (share + spread / 2 + half) / (1 + spread)


def fixed_size(scores: Scores, cards: tuple[int, int], by: By, keys: int, seeds: Sequence[int]) -> int:
    """How many judged answers a test that is looked at once needs for a power of 80 %, by the normal approximation,
    with the variance of its units in these replays.
    """
    values = [replay(scores, cards, by, 40 * keys, keys, seed) for seed in seeds]
    units = [(of_keys(each) if by == "key" else (each.values, each.arms.astype(np.float64))) for each in values]
    means, arms = np.concatenate([unit[0] for unit in units]), np.concatenate([unit[1] for unit in units])
    first, second = means[arms == 0], means[arms == 1]
    difference = second.mean() - first.mean()
    needed = (_Z + 0.841621) ** 2 * 2 * float(first.var() + second.var()) / float(difference) ** 2
    return math.ceil(needed * (OUTCOMES_OF_KEY if by == "key" else 1))
