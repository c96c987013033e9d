"""The simulator of adapter residency, and the reference caches beside it."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.residency.caches import belady_hits, fifo_hits, lru_hits
from bench.residency.measure import fairness, hits
from bench.residency.served import served
from bench.residency.simulator import FIRST_COME, Options, Simulation
from bench.residency.trace import trace


def most_hits(uses: str, slots: int) -> int:
    """The most hits of any eviction, by trying all."""

    def best(place: int, held: frozenset[str]) -> int:
        if place == len(uses):
            return 0
        adapter = uses[place]
        if adapter in held:
            return 1 + best(place + 1, held)
        if len(held) < slots:
            return best(place + 1, held | {adapter})
        return max(best(place + 1, held - {gone} | {adapter}) for gone in held)

    return best(0, frozenset())


@given(st.text("abcd", min_size=1, max_size=9), st.integers(1, 3))
def test_belady_has_the_most_hits_of_all_evictions(uses: str, slots: int) -> None:
    assert belady_hits(uses, slots) == most_hits(uses, slots)


def test_lru_and_fifo_differ_in_what_a_hit_means() -> None:
    assert (lru_hits("abaca", 2), fifo_hits("abaca", 2)) == (2, 1)


def test_the_trace_is_that_of_the_paper() -> None:
    asked = trace(20_000, 10.0, alpha=0.1)
    gaps = [later.arrives_s - earlier.arrives_s for earlier, later in itertools.pairwise(asked)]
    assert sum(gaps) / len(gaps) == pytest.approx(0.1, rel=0.05)
    assert sum(each.adapter == "adapter-0" for each in asked) / len(asked) == pytest.approx(2000**-0.1, abs=0.02)
    lengths = [each.input_tokens for each in asked] + [each.output_tokens for each in asked]
    assert (min(lengths), max(lengths)) == (8, 512)


@pytest.mark.parametrize(("alpha", "slots"), [(0.1, 8), (0.3, 16), (1.0, 32)])
def test_ours_lies_between_lru_and_belady_and_mixes_fewer_adapters_than_first_come_first_served(
    alpha: float, slots: int
) -> None:
    row = hits(alpha, Options(slots=slots), 1500)
    assert row.fifo <= row.lru + 0.01
    assert row.lru <= row.ours <= row.belady
    assert row.distinct < row.distinct_first_come
    assert row.most_held <= slots
    # Eight by the order of the queue, and what begins while its server has no slot that could be emptied.
    assert row.most_passed <= 12


def test_two_tenants_stay_within_the_bound_while_one_floods() -> None:
    shares = fairness(Options(), 40)
    assert 0 < shares.most_apart <= shares.bound
    assert shares.wait_p95_s < shares.wait_p95_first_come_s / 10


def test_every_request_is_served_where_more_calls_run_at_once_than_adapters_have_slots() -> None:
    asked = trace(200, 4.0, alpha=1.0)
    for options in (FIRST_COME, Options()):
        result = Simulation(asked, msgspec.structs.replace(options, slots=2, places=8)).run()
        assert len(result.begun) == 200


def test_the_dispatcher_serves_a_trace_without_ever_holding_more_adapters_than_there_are_slots() -> None:
    row = served(0.3, slots=3, requests=40, adapters=12, rate=60.0)
    assert row.right == 1
    assert row.held <= 3
    assert row.hits <= row.belady
    assert row.loads >= 12 / 2
