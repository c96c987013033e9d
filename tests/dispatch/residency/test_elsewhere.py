"""Which adapters are loaded and unloaded at a server that other processes use as well."""

from __future__ import annotations

import itertools

from router.dispatch.residency import Full, Load, Ready, Residency, Usage
from tests.dispatch.residency.test_state import S, use, with_slots

_TICKETS = itertools.count(1000)


def apply(residency: Residency, *usages: Usage, now_s: float = 10.0) -> None:
    """The other processes, by numbers, do this now, and nothing else."""
    by_name = {str(number): usage for number, usage in enumerate(usages)}
    residency.apply(S, by_name, now_s, lambda: next(_TICKETS))


def test_an_adapter_in_use_elsewhere_is_not_evicted() -> None:
    residency = with_slots(1)
    use(residency, "a", 0)
    apply(residency, Usage(used=("a",)))
    assert residency.begin(S, "b", 11) == Full(helps=True)
    assert not residency.begin_unload(S, "a")
    apply(residency)
    assert residency.begin(S, "b", 12) == Load(("a",))


def test_an_adapter_in_use_elsewhere_can_be_used_here() -> None:
    residency = with_slots(1)
    use(residency, "a", 0)
    apply(residency, Usage(used=("a",)))
    assert residency.begin(S, "a", 11) == Ready()


def test_an_adapter_that_another_process_unloads_takes_no_calls() -> None:
    residency = with_slots(2)
    use(residency, "a", 0)
    apply(residency, Usage(leaving=("a",)))
    assert residency.begin(S, "a", 11) == Full(helps=True)


def test_of_two_idle_adapters_the_one_that_was_used_elsewhere_lately_stays() -> None:
    residency = with_slots(2)
    use(residency, "a", 0)
    use(residency, "b", 1)
    apply(residency, Usage(used=("a",)), now_s=5)
    apply(residency, now_s=6)
    assert residency.begin(S, "c", 7) == Load(("b",))


def test_a_use_elsewhere_begins_the_time_to_live_anew() -> None:
    residency = with_slots(1)
    residency.set_ttl("a", 10)
    use(residency, "a", 0)
    apply(residency, Usage(used=("a",)), now_s=8)
    apply(residency, now_s=9)
    assert residency.expired(18) == []
    assert residency.expired(19) == [(S, "a")]


def test_what_others_load_takes_slots() -> None:
    residency = with_slots(2)
    use(residency, "a", 0)
    apply(residency, Usage(loading=("x",)))
    assert residency.begin(S, "b", 11) == Load(("a",))


def test_what_others_load_into_the_slot_of_one_that_goes_takes_no_further_slot() -> None:
    residency = with_slots(3)
    use(residency, "a", 0)
    use(residency, "b", 1)
    apply(residency, Usage(loading=("x",), leaving=("a",)))
    assert residency.begin(S, "c", 11) == Load()


def test_an_adapter_that_several_load_takes_one_slot() -> None:
    residency = with_slots(2)
    apply(residency, Usage(loading=("x",)), Usage(loading=("x",)))
    assert residency.begin(S, "x", 11) == Load()
    assert residency.begin(S, "b", 12) == Load()


def test_pins_elsewhere_hold_here_and_a_server_full_of_pins_says_that_waiting_does_not_help() -> None:
    residency = with_slots(2, "a")
    use(residency, "a", 0)
    use(residency, "b", 1)
    apply(residency, Usage(pinned=("b",)))
    assert residency.begin(S, "c", 11) == Full(helps=False)


def test_an_adapter_for_which_a_request_waits_elsewhere_goes_last() -> None:
    residency = with_slots(2)
    use(residency, "a", 0)
    use(residency, "b", 1)
    apply(residency, Usage(waiting={"a": 1}))
    assert residency.begin(S, "c", 11) == Load(("b",))


def test_a_request_that_waits_elsewhere_gets_a_slot_that_is_always_in_use_here() -> None:
    residency = with_slots(1)
    use(residency, "a", 0)
    residency.begin(S, "a", 1)
    apply(residency, Usage(waiting={"b": 1}))
    for now_s in range(11, 30):
        if isinstance(residency.begin(S, "a", now_s), Full):
            break
        residency.end(S, "a", now_s)
    else:
        raise AssertionError("it is used for ever")
    assert residency.usage(S, 0).used == ("a",)
    residency.end(S, "a", 30)
    assert residency.usage(S, 0).used == ()
    apply(residency, now_s=31)
    assert residency.begin(S, "a", 32) == Ready()


def test_nothing_is_loaded_ahead_for_requests_that_wait_elsewhere() -> None:
    residency = with_slots(2)
    apply(residency, Usage(waiting={"b": 1}))
    assert residency.prefetch(S, 11) is None
    assert residency.usage(S, 0).waiting == {}


def test_a_process_publishes_what_its_calls_use_or_used_lately_wait_for_load_and_unload() -> None:
    residency = with_slots(4)
    for now_s, adapter in enumerate("abc"):
        use(residency, adapter, now_s)
    residency.begin(S, "a", 5)
    residency.begin(S, "d", 5)
    residency.begin_unload(S, "b")
    residency.pin(S, "c", True)
    residency.enqueue("e", 1)
    residency.enqueue("e", 2)
    assert residency.usage(S, 2) == Usage(("a", "c"), ("d",), ("b",), {"e": 2}, ("c",))
    assert residency.usage(S, 3).used == ("a",)


def test_a_recent_use_is_none_while_a_request_waits_elsewhere() -> None:
    residency = with_slots(2)
    use(residency, "a", 0)
    apply(residency, Usage(waiting={"b": 1}))
    assert residency.usage(S, 0).used == ()


def test_what_a_server_lists_is_no_use_of_this_process() -> None:
    residency = with_slots(2)
    residency.observe(S, ["a"], 5)
    assert not residency.usage(S, 0)


def test_a_step_conflicts_with_what_others_began_meanwhile() -> None:
    residency = with_slots(1)
    use(residency, "a", 0)
    assert residency.begin(S, "b", 1) == Load(("a",))
    assert not residency.conflicts(S, "b", ("a",), is_stale=False)
    apply(residency, Usage(used=("a",)))
    assert residency.conflicts(S, "b", ("a",), is_stale=False)
    apply(residency, Usage(leaving=("a",), loading=("x",)))
    assert residency.conflicts(S, "b", ("a",), is_stale=False)
    apply(residency, Usage(loading=("x",)))
    assert residency.conflicts(S, "b", (), is_stale=False)


def test_a_use_conflicts_with_an_unload_and_with_changes_that_were_not_listed_yet() -> None:
    residency = with_slots(1)
    use(residency, "a", 0)
    residency.begin(S, "a", 1)
    assert not residency.conflicts(S, "a", (), is_stale=False)
    assert residency.conflicts(S, "a", (), is_stale=True)
    apply(residency, Usage(leaving=("a",)))
    assert residency.conflicts(S, "a", (), is_stale=False)


def test_nothing_is_kept_for_the_requests_at_a_server_that_is_not_configured_any_more() -> None:
    residency = with_slots(1)
    apply(residency, Usage(waiting={"b": 1}))
    assert residency.is_waited_for
    residency.remove_server(S)
    assert not residency.is_waited_for
