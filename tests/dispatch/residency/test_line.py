"""In which order waiting requests are served."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from router.dispatch.residency import TokenCounters
from router.dispatch.residency.line import WaitingLine
from router.dispatch.residency.queued import LATER_FIRST


def line_of(*waiters: str) -> WaitingLine[str]:
    """A waiter `a1` is the first of the tenant `a`."""
    line: WaitingLine[str] = WaitingLine(TokenCounters())
    for waiter in waiters:
        line.add(waiter[0], waiter)
    return line


def served(line: WaitingLine[str], *, warm: str = "", fits: str = "", most: int = 100) -> list[str]:
    """Serve at most so many requests at once; `warm` and `fits` name them."""
    names: list[str] = []
    for tenant, waiter in line.offers(lambda each: not fits or each in fits, lambda each: each in warm or not warm):
        line.serve(tenant, waiter)
        names.append(waiter)
        if len(names) == most:
            break
    return names


def test_tenants_are_served_in_turn() -> None:
    assert served(line_of("a1", "a2", "a3", "b1", "c1")) == ["a1", "b1", "c1", "a2", "a3"]


def test_the_turn_goes_on_where_it_ended() -> None:
    line = line_of("a1", "a2", "b1", "b2")
    assert [served(line, most=1) for _ in range(4)] == [["a1"], ["b1"], ["a2"], ["b2"]]


def test_the_tenant_with_the_fewest_tokens_is_served_first() -> None:
    line = line_of("a1", "a2", "b1", "b2")
    line.counters.charge("a", 10)
    assert served(line) == ["b1", "b2", "a1", "a2"]


def test_requests_that_nothing_free_fits_are_skipped() -> None:
    line = line_of("a1", "a2", "b1", "b2")
    assert served(line, fits="a2 b2") == ["a2", "b2"]
    assert len(line) == 2


def test_a_warm_request_goes_before_a_cold_one_of_its_tenant_but_not_of_another() -> None:
    line = line_of("a1", "a2", "b1", "b2")
    assert served(line, warm="a2", most=2) == ["a2", "b1"]


def test_at_most_eight_later_requests_are_served_before_a_cold_one() -> None:
    line = line_of("a0", *[f"a{number}" for number in range(1, 20)])
    order = [served(line, warm="".join(f"a{number}," for number in range(1, 20)), most=1)[0] for _ in range(12)]
    assert order.index("a0") == LATER_FIRST


def test_a_cold_request_whose_turn_it_is_leaves_others_what_it_cannot_take() -> None:
    line = line_of("a0", *[f"b{number}" for number in range(3)])
    for tenant, waiter in line.offers(lambda _: True, lambda each: each != "a0"):
        if waiter != "a0":
            line.serve(tenant, waiter)
    assert len(line) == 1


@settings(deadline=None)
@given(
    arrivals=st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), min_size=1, max_size=60),
    at_once=st.integers(1, 5),
)
def test_no_request_is_passed_by_more_than_eight_later_ones_of_its_tenant(
    arrivals: list[tuple[str, bool]], at_once: int
) -> None:
    line: WaitingLine[tuple[str, int]] = WaitingLine(TokenCounters())
    for number, (tenant, _) in enumerate(arrivals):
        line.add(tenant, (tenant, number))
    order: list[tuple[str, int]] = []
    while len(line):
        before = len(order)
        for tenant, waiter in line.offers(lambda _: True, lambda each: arrivals[each[1]][1]):
            line.serve(tenant, waiter)
            order.append(waiter)
            if len(order) - before == at_once:
                break
    assert Counter(order) == Counter({(tenant, number): 1 for number, (tenant, _) in enumerate(arrivals)})
    for place, (tenant, number) in enumerate(order):
        passed = [other for name, other in order[:place] if name == tenant and other > number]
        assert len(passed) <= LATER_FIRST
