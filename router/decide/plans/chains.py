"""Chains: which cards, one after the other, turn what a request contains into what it asks for.

A card follows another where it reads all that the other writes. The first card reads what the request contains besides
its text; the last one reads text, since the words of the client go to it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from router.cards.schema import Card
from router.decide.plans.spec import Stage

MOST_STAGES = 3
MOST_CHAINS = 5

# Losses are summed in different orders, so equal ones may differ by this much.
_ROUNDING = 1e-9


class Link(Struct, frozen=True):
    """A card as a stage: the kinds of content that it `reads` and `writes`, and its `loss`, the lower the better.

    The loss of a chain is the sum of those of its cards: with `-log(quality)` the best chain is the one whose stages
    are most probably all right, and a price is added as `λ · cost_usd`.
    """

    card: str
    reads: frozenset[str]
    writes: frozenset[str]
    loss: float


class Chained(Struct, frozen=True, order=True):
    """Cards in the order in which they are called, and the sum of their losses."""

    loss: float
    cards: tuple[str, ...]


def links_of(cards: Iterable[Card], losses: Mapping[str, float]) -> tuple[Link, ...]:
    """The cards that have a finite loss, as stages."""
    return tuple(
        Link(card.id, frozenset(card.reads), frozenset(card.writes), losses[card.id])
        for card in cards
        if math.isfinite(losses.get(card.id, math.nan))
    )


def best_chains(
    links: Sequence[Link],
    reads: Collection[str],
    writes: Collection[str] = ("text",),
    most: int = MOST_CHAINS,
    stages: tuple[int, int] = (1, MOST_STAGES),
) -> tuple[Chained, ...]:
    """The `most` chains of least loss, best first, whose first card reads `reads` and whose last one writes `writes`.

    `reads` are the kinds of content besides text, or text alone. The last card reads text too: one that only
    transcribes does not answer. Unless `reads` is text alone, the last of several cards does not read it: it would need
    no chain. `stages` are the least and the greatest number of cards; no card occurs twice. Equal losses are in the
    order of the ids.

    Best-first search with an exact bound: the least loss of the cards that are still needed, repeats allowed.
    """
    least, greatest = stages
    by_id = {link.card: link for link in links}
    after = {one.card: [two.card for two in links if one.writes <= two.reads and one is not two] for one in links}
    ends = {link.card for link in links if "text" in link.reads and link.writes >= set(writes)}
    alone = {link.card for link in links if set(reads) != {"text"} and link.reads >= set(reads)}
    rest = _least_rest(links, after, ends, greatest)
    found: list[Chained] = []
    # Of each entry: a bound on the loss, and the cards; without further ones the chain is complete.
    queue: list[tuple[float, tuple[str, ...], bool]] = []

    def push(cards: tuple[str, ...]) -> None:
        loss, last = math.fsum(by_id[name].loss for name in cards), cards[-1]
        if last in ends and len(cards) >= least and (len(cards) == 1 or last not in alone):
            heapq.heappush(queue, (loss, cards, True))
        bound = min((rest[left][last] for left in range(1, greatest - len(cards) + 1)), default=math.inf)
        if math.isfinite(bound):
            heapq.heappush(queue, (loss + bound, cards, False))

    for link in links:
        if link.reads >= set(reads):
            push((link.card,))
    while queue:
        bound, cards, is_complete = heapq.heappop(queue)
        if len(found) >= most and bound > found[most - 1].loss + _ROUNDING:
            break
        if is_complete:
            found.append(Chained(bound, cards))
            continue
        for name in after[cards[-1]]:
            if name not in cards:
                push((*cards, name))
    return tuple(sorted(found)[:most])


def best_in_stages(stages: Sequence[Sequence[Link]], most: int = 1) -> tuple[Chained, ...]:
    """The `most` chains of least loss with one card of each stage, best first, where each card reads all that the one
    before it writes. A card may stand in several stages. Equal losses are in the order of the ids.

    Exact: of the chains that end at one card, only the `most` best can begin one of the `most` best.
    """
    ending: list[tuple[Link, list[Chained]]] = [(link, [Chained(link.loss, (link.card,))]) for link in stages[0]]
    for following in stages[1:]:
        # Most cards read and write the same, so that each combination is looked at once.
        by_reads: dict[frozenset[str], list[Chained]] = {}
        for link in following:
            if link.reads not in by_reads:
                before = (chain for one, chains in ending if one.writes <= link.reads for chain in chains)
                by_reads[link.reads] = heapq.nsmallest(most, before)
        ending = [
            (link, [Chained(chain.loss + link.loss, (*chain.cards, link.card)) for chain in by_reads[link.reads]])
            for link in following
        ]
    return tuple(heapq.nsmallest(most, (chain for _, chains in ending for chain in chains)))


def _least_rest(
    links: Sequence[Link], after: Mapping[str, Sequence[str]], ends: Collection[str], greatest: int
) -> list[dict[str, float]]:
    """By number of further cards and by card: the least sum of their losses, infinite where none lead to an end."""
    rest = [{link.card: 0.0 if link.card in ends else math.inf for link in links}]
    loss = {link.card: link.loss for link in links}
    for _ in range(1, greatest):
        rest.append(
            {
                card: min((loss[two] + rest[-1][two] for two in following), default=math.inf)
                for card, following in after.items()
            }
        )
    return rest


def as_stages(chain: Chained, links: Sequence[Link], reads: Collection[str]) -> tuple[Stage, ...]:
    """The chain as the stages of a plan: each with the kind of content, besides text, that it passes on."""
    by_id = {link.card: link for link in links}
    stages, kind = [], _main(reads)
    for name in chain.cards:
        written = _main(by_id[name].writes)
        stages.append(Stage(consumes=kind, produces=written, card=name))
        kind = written
    return tuple(stages)


def _main(kinds: Collection[str]) -> str:
    """The one kind that names `kinds`: the first that is not text, since text goes along in any case."""
    return min((kind for kind in kinds if kind != "text"), default="text")
