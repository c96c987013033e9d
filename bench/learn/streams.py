"""Streams of requests with real outcomes, in which something happens to a card, or to the votes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct

from router.learn.data import RoutingSet, load_set
from router.learn.data.vectors import vectors_of
from router.learn.training.train import fit
from router.perceive.memory.fast_head import projected
from router.perceive.memory.sketch import cells_of
from router.perceive.text.encoder import Encoder
from router.types import Doubles, Indices, Mask

Part = Literal["tune", "judge"]
FEEDBACK_SHARE = 0.1
TENANTS = ("a", "b", "c", "d", "e")
HOSTILE = "hostile"
_DISLIKED_SHARE = 2 / 3
_BROKEN_DOMAINS = 5


class Outcomes(Struct, frozen=True, eq=False):
    """Full information about prompts: forecasts with their standard deviation, and scores `(prompts, cards)`, the cells
    of each prompt `(prompts, tables)`, its topic on a few planes `(prompts, 8)`, its domain `(prompts,)`. The predictor
    was fitted on other prompts.
    """

    name: str
    cards: tuple[str, ...]
    expected: Doubles
    compared: Doubles
    std: Doubles
    scores: Doubles
    cells: Indices
    projected: Doubles
    domains: tuple[str, ...]


class Scenario(Struct, frozen=True):
    """What happens in the middle of a stream.

    `fault`: the card that answers most loses `drop` of its right answers, everywhere or in five domains, or is replaced
    by the weakest card, or its quality falls slowly. `hostile` is the share of votes from one hostile tenant, which
    votes the opposite of the truth on the card that answers most: from the beginning, or for the first `poisoned_votes`
    only. `tastes`: each tenant finds two of three right answers of half of the cards wrong, everywhere (`cards`) or in
    half of the domains (`domains`), which are others for each tenant. `feedback` is the share of judged answers. The
    stream is `times` as long as others.
    """

    name: str
    fault: Literal["none", "drop", "domains", "replaced", "slow"] = "none"
    hostile: float = 0.0
    poisoned_votes: int = 0
    tastes: Literal["", "cards", "domains"] = ""
    feedback: float = FEEDBACK_SHARE
    drop: float = 0.6
    times: int = 1


SCENARIOS = (
    Scenario("nothing happens"),
    Scenario("60 % of right answers lost", "drop"),
    Scenario("60 % lost in 5 domains", "domains"),
    Scenario("replaced by the weakest", "replaced"),
    Scenario("slow decay to 60 % lost", "slow"),
    Scenario("nothing, 5 % hostile votes", hostile=0.05),
    Scenario("nothing, 20 % hostile votes", hostile=0.2),
    Scenario("nothing, 50 % hostile votes", hostile=0.5),
    Scenario("60 % lost, 5 % hostile votes", "drop", hostile=0.05),
    Scenario("60 % lost, 20 % hostile votes", "drop", hostile=0.2),
    Scenario("60 % lost, 50 % hostile votes", "drop", hostile=0.5),
    Scenario("nothing, first 500 votes false", poisoned_votes=500, times=4),
)


TASTES = (
    Scenario("each key dislikes half of the cards", tastes="cards"),
    Scenario("each key dislikes half of the cards in half of the domains", tastes="domains"),
    Scenario("half of the cards in half of the domains, 40 % judged", tastes="domains", feedback=0.4),
    Scenario("nothing happens"),
)

TRAINING_SCENARIOS = (
    Scenario("nothing happens"),
    Scenario("45 % of right answers lost", "drop", drop=0.45),
    Scenario("75 % lost in 5 domains", "domains", drop=0.75),
    Scenario("nothing, 10 % hostile votes", hostile=0.1),
    Scenario("nothing, 30 % hostile votes", hostile=0.3),
    Scenario("45 % lost, 15 % hostile votes", "drop", hostile=0.15, drop=0.45),
    Scenario("nothing, first 150 votes false", poisoned_votes=150),
)
"""Those on which constants are chosen: other drops and shares of false votes than those of `SCENARIOS`."""


class Stream(Struct, frozen=True, eq=False):
    """The requests of one run: rows of `Outcomes`, the scores as they are at that moment `(requests, cards)`, who asks,
    who votes, and the values of votes where they are not the truth, NaN where they are.
    """

    outcomes: Outcomes
    rows: Indices
    scores: Doubles
    tenants: tuple[str, ...]
    votes: Mask
    false_values: Doubles
    favourite: int
    change_at: int


def load(folder: Path, encoder: Encoder, part: Part, most_cards: int = 12) -> Outcomes:
    """A third of the prompts of a set, with every second card by mean score; another third fits the predictor.

    `tune` and `judge` share neither prompts nor cards, so that constants are never chosen on what judges them.
    """
    data = load_set(folder)
    level = np.nanmean(data.scores, axis=0)
    run = np.isfinite(data.scores).mean(axis=0) > 0.8
    ranked = [column for column in np.argsort(-level, kind="stable").tolist() if run[column]]
    chosen = ranked[(0 if part == "judge" else 1) :: 2][:most_cards]
    data = data.columns([data.models[column] for column in chosen])
    complete = np.flatnonzero(np.isfinite(data.scores).all(axis=1))
    order = np.random.default_rng(0).permutation(complete)
    thirds = np.array_split(order, 3)
    fitted, streamed = data.rows(thirds[0]), data.rows(thirds[1 if part == "tune" else 2])
    predictor = fit(vectors_of(fitted.prompts, encoder), fitted, encoder)
    vectors = vectors_of(streamed.prompts, encoder)
    expectation = predictor.expect_all(vectors)
    topics = predictor.topics(vectors)
    return Outcomes(
        data.name,
        data.models,
        expectation.quality[:, :-1],
        expectation.compared[:, :-1],
        expectation.quality_std[:, :-1],
        np.asarray(streamed.scores, dtype=np.float64),
        np.array([cells_of(topic) for topic in topics]),
        np.array([projected(topic) for topic in topics]),
        streamed.domains,
    )


def without_favourites(outcomes: Outcomes, count: int) -> list[Outcomes]:
    """The outcomes, and those without the card that is chosen most often, without the next one, and so on: in each of
    them other cards are nearly equal.
    """
    found = [outcomes]
    while len(found) < count and len(found[-1].cards) > 2:
        last = found[-1]
        best = np.bincount(last.compared.argmax(axis=1), minlength=len(last.cards)).argmax()
        kept = [card for card in range(len(last.cards)) if card != best]
        of_kept = {name: getattr(last, name)[:, kept] for name in ("expected", "compared", "scores")}
        found.append(msgspec.structs.replace(last, cards=tuple(last.cards[card] for card in kept), **of_kept))
    return found


def stream_of(outcomes: Outcomes, scenario: Scenario, seed: int, requests: int) -> Stream:
    """One run of a scenario; seeds of `tune` and `judge` differ since their prompts do."""
    rng = np.random.default_rng(seed)
    requests *= scenario.times
    rows = rng.integers(0, len(outcomes.scores), requests)
    scores = outcomes.scores[rows].copy()
    best = outcomes.compared.argmax(axis=1)
    favourite = int(np.bincount(best, minlength=len(outcomes.cards)).argmax())
    change_at = requests // 3
    scores[:, favourite] = _changed(outcomes, scenario, rng, rows, scores, favourite, change_at)
    votes = rng.random(requests) < scenario.feedback
    # As objects, because arrays of text cut longer names off.
    tenants = rng.choice(TENANTS, requests).astype(object)
    if scenario.tastes:
        _disliked(outcomes, scenario, rng, rows, tenants, scores)
    false_values = np.full(requests, np.nan)
    if scenario.hostile:
        is_hostile = votes & (rng.random(requests) < scenario.hostile)
        tenants = np.where(is_hostile, HOSTILE, tenants)
        false_values[is_hostile] = 1.0 - scores[is_hostile, favourite]
    if scenario.poisoned_votes:
        first = np.flatnonzero(votes)[: scenario.poisoned_votes]
        tenants[first] = HOSTILE
        false_values[first] = 1.0 - scores[first, favourite]
    return Stream(outcomes, rows, scores, tuple(tenants.tolist()), votes, false_values, favourite, change_at)


def _disliked(
    outcomes: Outcomes,
    scenario: Scenario,
    rng: np.random.Generator,
    rows: Indices,
    tenants: np.ndarray,
    scores: Doubles,
) -> None:
    """Take right answers away from `scores`, by the taste of each tenant."""
    names, cards = np.array(outcomes.domains), len(outcomes.cards)
    for tenant in TENANTS:
        disliked = rng.permutation(cards)[: cards // 2]
        own = rng.permutation(np.unique(names))[::2]
        of_tenant = (tenants == tenant) & ((scenario.tastes == "cards") | np.isin(names[rows], own))
        for card in disliked:
            scores[of_tenant & (rng.random(len(rows)) < _DISLIKED_SHARE), card] = 0.0


def _changed(
    outcomes: Outcomes,
    scenario: Scenario,
    rng: np.random.Generator,
    rows: Indices,
    scores: Doubles,
    favourite: int,
    change_at: int,
) -> Doubles:
    """The scores of the card that answers most, as they are after what happens."""
    column = scores[:, favourite].copy()
    after = np.arange(len(rows)) >= change_at
    if scenario.fault == "replaced":
        weakest = int(outcomes.scores.mean(axis=0).argmin())
        column[after] = scores[after, weakest]
        return column
    share = np.where(after, scenario.drop, 0.0)
    if scenario.fault == "none":
        return column
    if scenario.fault == "slow":
        share = scenario.drop * np.clip((np.arange(len(rows)) - change_at) / (len(rows) - change_at), 0.0, 1.0)
    if scenario.fault == "domains":
        broken = _broken_domains(outcomes.domains)
        share = np.where([outcomes.domains[row] in broken for row in rows], share, 0.0)
    column[rng.random(len(rows)) < share] = 0.0
    return column


def _broken_domains(domains: Sequence[str]) -> frozenset[str]:
    names = sorted(set(domains), key=lambda name: (-domains.count(name), name))
    return frozenset(names[::2][:_BROKEN_DOMAINS])


def known_domains(data: RoutingSet) -> frozenset[str]:
    """Every second domain of a set, by size: what a predictor knows that traffic goes beyond."""
    names = sorted(set(data.domains), key=lambda name: (-data.domains.count(name), name))
    return frozenset(names[::2])
