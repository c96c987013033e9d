"""The best chains of cards by what each reads and writes, against brute force."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence

from hypothesis import given
from hypothesis import strategies as st

from router.cards import Card
from router.decide.plans.chains import Chained, Link, as_stages, best_chains, best_in_stages, links_of

KINDS = ("text", "image", "audio", "json")


def link(card: str, reads: str, writes: str, loss: float) -> Link:
    return Link(card, frozenset(reads.split()), frozenset(writes.split()), loss)


OCR = link("ocr", "image", "text", 0.2)
SMALL = link("small", "text", "text", 0.3)
STRONG = link("strong", "text", "text", 0.1)
SEEING = link("seeing", "text image", "text", 0.9)
SPEECH = link("speech", "audio", "text json", 0.2)
CARDS = (OCR, SMALL, STRONG, SEEING, SPEECH)


def by_brute_force(
    links: Sequence[Link], reads: Collection[str], writes: Collection[str], most: int, stages: tuple[int, int]
) -> list[tuple[str, ...]]:
    found = []
    for count in range(stages[0], stages[1] + 1):
        for chain in itertools.permutations(links, count):
            fits = all(one.writes <= two.reads for one, two in itertools.pairwise(chain))
            fits = fits and "text" in chain[-1].reads
            fits = fits and (count == 1 or set(reads) == {"text"} or not chain[-1].reads >= set(reads))
            if fits and chain[0].reads >= set(reads) and chain[-1].writes >= set(writes):
                found.append((math.fsum(each.loss for each in chain), tuple(each.card for each in chain)))
    return [cards for _, cards in sorted(found)[:most]]


kinds = st.sets(st.sampled_from(KINDS), min_size=1, max_size=3).map(frozenset)
# Quarters are exact, so that equal losses are equal whatever the order of the sum.
losses = st.integers(0, 12).map(lambda number: number / 4)
link_lists = st.lists(st.tuples(kinds, kinds, losses), min_size=0, max_size=7).map(
    lambda facts: [Link(f"c{number}", *fact) for number, fact in enumerate(facts)]
)


@given(link_lists, kinds, kinds, st.integers(1, 5), st.integers(1, 2), st.integers(2, 3))
def test_the_best_chains_are_those_of_brute_force(
    links: list[Link], reads: frozenset[str], writes: frozenset[str], most: int, least: int, greatest: int
) -> None:
    stages = (least, greatest)
    found = [chain.cards for chain in best_chains(links, reads, writes, most, stages)]
    assert found == by_brute_force(links, reads, writes, most, stages)


@given(st.lists(link_lists, min_size=1, max_size=3), st.integers(1, 5))
def test_the_best_chains_through_given_stages_are_those_of_brute_force(stages: list[list[Link]], most: int) -> None:
    fitting = (
        Chained(math.fsum(each.loss for each in chain), tuple(each.card for each in chain))
        for chain in itertools.product(*stages)
        if all(one.writes <= two.reads for one, two in itertools.pairwise(chain))
    )
    assert best_in_stages(stages, most) == tuple(sorted(fitting)[:most])


def test_an_image_is_read_before_the_best_text_only_card_answers() -> None:
    assert best_chains(CARDS, ["image"], most=1)[0].cards == ("ocr", "strong")


def test_a_card_that_reads_the_image_itself_is_a_chain_of_one() -> None:
    assert ("seeing",) in [chain.cards for chain in best_chains(CARDS, ["image"])]
    assert ("seeing",) not in [chain.cards for chain in best_chains(CARDS, ["image"], stages=(2, 3))]


def test_no_other_card_comes_before_one_that_reads_the_image_itself() -> None:
    assert [chain.cards for chain in best_chains((OCR, SEEING), ["image"])] == [("seeing",)]


def test_a_card_that_only_transcribes_does_not_answer() -> None:
    assert best_chains((OCR,), ["image"]) == ()


def test_a_card_that_writes_more_than_the_next_one_reads_does_not_precede_it() -> None:
    assert best_chains((SPEECH, STRONG), ["audio"], stages=(2, 3)) == ()


def test_nothing_leads_where_no_card_reads_the_content() -> None:
    assert best_chains((SMALL, STRONG), ["video"]) == ()


def test_a_chain_is_written_as_the_stages_of_a_plan() -> None:
    stages = as_stages(Chained(0.3, ("ocr", "strong")), CARDS, ["image", "text"])
    assert [(each.consumes, each.produces, each.card) for each in stages] == [
        ("image", "text", "ocr"),
        ("text", "text", "strong"),
    ]


def test_cards_are_stages_by_what_they_state_and_those_without_a_loss_are_left_out() -> None:
    ocr = Card("ocr", "openai", "ocr", modalities=("text", "image"), consumes=("image",))
    plain = Card("plain", "openai", "plain")
    assert links_of([ocr, plain, Card("unknown", "openai", "m")], {"ocr": 0.5, "plain": 0.25, "unknown": math.nan}) == (
        link("ocr", "image", "text", 0.5),
        link("plain", "text", "text", 0.25),
    )
