"""How much of a resource one holder may take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.dispatch.bounds.share import fits, room


def taken_by(holders: int, capacity: int, share: float) -> list[int]:
    """What greedy holders have when nobody can take any more, each having taken one at a time in turn."""
    held = [0] * holders
    while True:
        before = list(held)
        for number in range(holders):
            held[number] += fits(held[number], 1, capacity - sum(held), share)
        if held == before:
            return held


@pytest.mark.parametrize(("capacity", "most"), [(1, 1), (4, 3), (8, 6), (512, 384)])
def test_a_single_holder_gets_three_quarters(capacity: int, most: int) -> None:
    assert taken_by(1, capacity, 0.75) == [most]


def test_two_greedy_holders_get_equal_parts_and_leave_some() -> None:
    assert taken_by(2, 512, 0.75) == [219, 219]


def test_a_share_of_one_is_no_limit() -> None:
    assert taken_by(1, 512, 1.0) == [512]


@given(st.integers(1, 6), st.integers(1, 600), st.floats(0.05, 1.0))
def test_a_holder_of_nothing_gets_what_is_free_and_nobody_more(holders: int, capacity: int, share: float) -> None:
    held = taken_by(holders, capacity, share)
    assert sum(held) <= capacity
    assert all(held) or sum(held) == capacity
    assert fits(0, 1, capacity - sum(held), share) == (sum(held) < capacity)


@given(st.integers(0, 600), st.integers(0, 600), st.sampled_from([0.05, 0.25, 0.5, 0.75, 1.0]))
def test_the_room_of_a_holder_is_what_it_can_take_one_by_one(held: int, free: int, share: float) -> None:
    taken = 0
    while fits(held + taken, 1, free - taken, share):
        taken += 1
    assert room(held, free, share) == taken
