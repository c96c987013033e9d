"""Virtual token counters."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from router.dispatch.residency import TokenCounters


def waiting(*tenants: str) -> TokenCounters:
    counters = TokenCounters()
    for tenant in tenants:
        counters.join(tenant)
    return counters


def test_the_tenant_that_has_used_the_fewest_tokens_is_next() -> None:
    counters = waiting("a", "b")
    counters.charge("a", 100)
    counters.charge("b", 60)
    assert counters.next(["a", "b"]) == "b"
    counters.charge("b", 60)
    assert counters.next(["a", "b"]) == "a"


def test_of_equal_tenants_the_first_is_next() -> None:
    assert waiting("a", "b").next(["b", "a"]) == "b"


def test_running_calls_count_as_much_as_calls_have_used_lately() -> None:
    counters = waiting("a", "b")
    counters.charge("a", 100)
    counters.charge("b", 101)
    counters.begin("a")
    assert counters.next(["a", "b"]) == "b"
    counters.end("a")
    assert counters.next(["a", "b"]) == "a"


def test_a_tenant_that_comes_gets_nothing_for_the_time_in_which_it_did_not_wait() -> None:
    counters = waiting("a", "b")
    for tenant in ("a", "b"):
        counters.charge(tenant, 1000)
    counters.charge("a", 50)
    counters.join("new")
    assert counters.counter("new") == 1000


def test_nothing_is_counted_while_nobody_waits() -> None:
    counters = TokenCounters()
    counters.charge("a", 1_000_000)
    counters.join("a")
    counters.join("b")
    assert counters.counter("a") == counters.counter("b") == 0
    counters.charge("a", 10)
    counters.leave("a")
    counters.leave("b")
    counters.join("a")
    assert counters.counter("a") == 0


@settings(max_examples=150, deadline=None)
@given(
    slots=st.integers(1, 8),
    longest=st.integers(1, 500),
    tenants=st.integers(2, 5),
    steps=st.integers(10, 300),
    seed=st.integers(0, 10_000),
)
def test_the_counters_of_waiting_tenants_differ_by_at_most_the_tokens_of_the_running_calls(
    slots: int, longest: int, tenants: int, steps: int, seed: int
) -> None:
    """Calls of any length end in any order; tenants come and go, and may run calls while they do not wait."""
    draw = random.Random(seed)
    counters, running, present = TokenCounters(), [], set[str]()
    names = [f"t{number}" for number in range(tenants)]
    for _ in range(steps):
        name = draw.choice(names)
        if draw.random() < 0.2:
            (counters.leave if name in present else counters.join)(name)
            present ^= {name}
        if len(running) == slots or (running and draw.random() < 0.3):
            ended = running.pop(draw.randrange(len(running)))
            counters.end(ended)
            counters.charge(ended, draw.randint(1, longest))
        while present and len(running) < slots:
            served = counters.next(sorted(present))
            counters.begin(served)
            running.append(served)
        values = [counters.counter(name) for name in present]
        assert not values or max(values) - min(values) <= slots * longest
