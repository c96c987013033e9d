"""Which adapters are loaded and unloaded, step by step."""

from __future__ import annotations

from router.dispatch.residency import Full, Load, Ready, Residency, Step

S = "http://127.0.0.1:8000"


def with_slots(slots: int, *pinned: str) -> Residency:
    residency = Residency()
    residency.set_server(S, slots, frozenset(pinned))
    return residency


def use(residency: Residency, adapter: str, now_s: float) -> Step:
    """A whole call: load what it needs, and end it."""
    step = residency.begin(S, adapter, now_s)
    if isinstance(step, Load):
        residency.loaded(S, adapter, now_s)
    if not isinstance(step, Full):
        residency.end(S, adapter, now_s)
    return step


def held(residency: Residency) -> dict[str, str]:
    return {each.name: each.state for each in residency.snapshot()[0].adapters}


def test_an_adapter_is_loaded_once() -> None:
    residency = with_slots(2)
    assert [use(residency, "a", 0), use(residency, "a", 1)] == [Load(), Ready()]


def test_a_call_for_an_adapter_that_is_being_loaded_waits_for_that_load() -> None:
    residency = with_slots(1)
    assert [residency.begin(S, "a", 0), residency.begin(S, "a", 0)] == [Load(), Load()]
    residency.loaded(S, "a", 1)
    assert residency.begin(S, "a", 1) == Ready()


def test_the_adapter_that_has_not_been_used_for_longest_goes() -> None:
    residency = with_slots(2)
    for now_s, adapter in enumerate("aba"):
        use(residency, adapter, now_s)
    assert residency.begin(S, "c", 3) == Load(("b",))


def test_the_adapter_whose_next_use_is_farthest_goes_and_one_without_a_known_use_before_it() -> None:
    residency = with_slots(3)
    for now_s, adapter in enumerate("abc"):
        use(residency, adapter, now_s)
    residency.enqueue("a", 1)
    residency.enqueue("b", 2)
    assert use(residency, "d", 3) == Load(("c",))
    residency.enqueue("d", 3)
    assert use(residency, "e", 4) == Load(("d",))
    residency.dequeue(2)
    residency.enqueue("e", 4)
    assert use(residency, "f", 5) == Load(("b",))


def test_an_adapter_in_use_is_not_evicted() -> None:
    residency = with_slots(1)
    assert residency.begin(S, "a", 0) == Load()
    residency.loaded(S, "a", 1)
    assert not residency.can_begin(S, "b")
    assert residency.begin(S, "b", 2) == Full(helps=True)
    residency.end(S, "a", 3)
    assert residency.begin(S, "b", 4) == Load(("a",))


def test_pinned_adapters_stay_and_a_server_full_of_them_says_that_waiting_does_not_help() -> None:
    residency = with_slots(2, "a")
    use(residency, "a", 0)
    use(residency, "b", 1)
    assert use(residency, "c", 2) == Load(("b",))
    residency.pin(S, "c", True)
    assert residency.begin(S, "d", 3) == Full(helps=False)
    residency.pin(S, "c", False)
    assert use(residency, "d", 4) == Load(("c",))


def test_new_pins_of_the_configuration_leave_those_of_operators() -> None:
    residency = with_slots(2, "a")
    residency.pin(S, "b", True)
    residency.set_server(S, 2, frozenset({"c"}))
    for adapter in "abc":
        use(residency, adapter, 0)
    assert [each.name for each in residency.snapshot()[0].adapters if each.pinned] == ["b", "c"]


def test_where_loading_fails_the_slot_is_free_and_what_was_not_unloaded_is_still_held() -> None:
    residency = with_slots(1)
    use(residency, "a", 0)
    assert residency.begin(S, "b", 1) == Load(("a",))
    residency.failed(S, "b", 2)
    assert held(residency) == {"a": "loaded"}
    assert residency.begin(S, "b", 3) == Load(("a",))
    residency.unloaded(S, "a", 3)
    residency.failed(S, "b", 4)
    assert held(residency) == {}


def test_a_load_that_never_reached_the_server_counts_as_no_load_no_eviction_and_no_failure() -> None:
    residency = with_slots(1)
    use(residency, "a", 0)
    before = residency.snapshot()[0]
    assert residency.begin(S, "b", 1) == Load(("a",))
    residency.withdrawn(S, "b")
    after = residency.snapshot()[0]
    assert held(residency) == {"a": "loaded"}
    assert (after.loads, after.evictions, after.failures) == (before.loads, before.evictions, 0)


def test_no_call_uses_an_adapter_that_is_being_unloaded() -> None:
    residency = with_slots(2)
    use(residency, "a", 0)
    assert residency.begin_unload(S, "a")
    assert residency.begin(S, "a", 1) == Full(helps=True)
    residency.unloaded(S, "a", 2)
    assert residency.begin(S, "a", 3) == Load()


def test_an_adapter_in_use_is_not_unloaded() -> None:
    residency = with_slots(1)
    residency.begin(S, "a", 0)
    assert not residency.begin_unload(S, "a")
    residency.loaded(S, "a", 1)
    assert not residency.begin_unload(S, "a")


def test_an_adapter_whose_unloading_failed_is_used_again() -> None:
    residency = with_slots(1)
    use(residency, "a", 0)
    residency.begin_unload(S, "a")
    residency.failed(S, "a", 1)
    assert residency.begin(S, "a", 2) == Ready()


def test_an_adapter_past_its_time_expires_unless_it_is_used_or_pinned() -> None:
    residency = with_slots(4, "pinned")
    for adapter in ("pinned", "short", "long", "used"):
        residency.set_ttl(adapter, 1000 if adapter == "long" else 60)
        use(residency, adapter, 0)
    residency.begin(S, "used", 1)
    assert residency.expired(59) == []
    assert residency.expired(60) == [(S, "short")]
    residency.end(S, "used", 100)
    residency.set_ttl("short", None)
    assert residency.expired(160) == [(S, "used")]


def test_a_server_that_restarts_holds_nothing_but_what_is_being_loaded() -> None:
    residency = with_slots(2)
    use(residency, "a", 0)
    residency.begin(S, "b", 1)
    residency.drop_server(S)
    assert held(residency) == {"b": "loading"}
    residency.loaded(S, "b", 2)
    residency.end(S, "b", 3)
    assert use(residency, "b", 4) == Ready()
    assert use(residency, "a", 5) == Load()


def test_what_the_server_reports_is_taken_over() -> None:
    residency = with_slots(3)
    use(residency, "a", 0)
    use(residency, "b", 1)
    residency.observe(S, ["b", "by-hand"], 2)
    assert held(residency) == {"b": "loaded", "by-hand": "loaded"}


def test_a_report_that_is_older_than_a_change_does_not_undo_it() -> None:
    residency = with_slots(3)
    use(residency, "a", 0)
    residency.begin_unload(S, "a")
    residency.unloaded(S, "a", 5)
    use(residency, "b", 5)
    residency.observe(S, ["a"], 4)
    assert held(residency) == {"b": "loaded"}


def test_several_adapters_go_where_the_server_has_fewer_slots_than_before() -> None:
    residency = with_slots(3)
    for now_s, adapter in enumerate("abc"):
        use(residency, adapter, now_s)
    residency.set_server(S, 2)
    assert residency.begin(S, "d", 3) == Load(("a", "b"))


def test_the_next_adapter_of_the_queue_is_loaded_ahead_where_no_other_is_lost_that_is_needed() -> None:
    residency = with_slots(2)
    use(residency, "a", 0)
    use(residency, "b", 1)
    assert residency.prefetch(S, 2) is None
    for ticket, adapter in enumerate("acd"):
        residency.enqueue(adapter, ticket)
    assert residency.prefetch(S, 2) == "c"
    assert residency.begin(S, "c", 2) == Load(("b",))
    assert residency.prefetch(S, 2) is None


def test_an_adapter_is_loaded_ahead_only_where_its_request_could_be_served() -> None:
    residency = with_slots(1)
    residency.set_server("other", 1)
    residency.enqueue("a", 1, ["other"])
    assert residency.prefetch(S, 0) is None
    assert residency.prefetch("other", 0) == "a"


def test_one_adapter_at_a_time_is_loaded_ahead_until_a_call_uses_it_or_its_request_leaves() -> None:
    residency = with_slots(3)
    for ticket, adapter in enumerate("abcd"):
        residency.enqueue(adapter, ticket)
    for adapter, ends in (("a", "used"), ("b", "left")):
        assert residency.prefetch(S, 0) == adapter
        residency.begin(S, adapter, 0)
        residency.end(S, adapter, 0)
        residency.loaded(S, adapter, 1)
        assert residency.prefetch(S, 1) is None
        if ends == "used":
            residency.begin(S, adapter, 2)
        residency.dequeue("abcd".index(adapter))
    assert residency.prefetch(S, 3) == "c"


def test_a_request_whose_adapter_no_slot_can_take_is_passed_by_eight_others_at_most() -> None:
    residency = with_slots(2)
    for adapter in "aaab":
        residency.begin(S, adapter, 0)
        residency.loaded(S, adapter, 0)
    residency.enqueue("cold", 1, [S])
    for now_s in range(8):
        assert residency.begin(S, "b", now_s) == Ready()
        residency.end(S, "b", now_s)
    assert residency.begin(S, "b", 9) == Full(helps=True)
    assert residency.begin(S, "a", 9) == Ready()
    assert residency.begin(S, "cold", 9) == Full(helps=True)
    residency.end(S, "b", 10)
    assert residency.begin(S, "other", 11) == Full(helps=True)
    assert residency.begin(S, "cold", 11) == Load(("b",))
    residency.dequeue(1)


def test_no_slot_of_others_is_kept_for_a_request_whose_tenant_has_its_share() -> None:
    residency = with_slots(2)
    for adapter in ("greedy", "modest"):
        residency.begin(S, adapter, 0)
        residency.loaded(S, adapter, 0)
    residency.end(S, "modest", 0)
    own = ["greedy"]
    residency.enqueue("next of greedy", 1, [S], lambda _: own)
    for now_s in range(8):
        assert residency.begin(S, "modest", now_s) == Ready()
        residency.end(S, "modest", now_s)
    # The tenant's own adapter is the one that leaves.
    assert residency.begin(S, "modest", 9) == Ready()
    assert residency.begin(S, "greedy", 9) == Full(helps=True)
    residency.end(S, "modest", 9)
    residency.end(S, "greedy", 9)
    own.clear()
    assert residency.begin(S, "next of greedy", 10) == Load(("greedy",))


def test_a_slot_that_was_kept_for_a_request_is_free_once_its_tenant_has_its_share() -> None:
    residency = with_slots(2)
    for adapter in ("modest", "modest", "own", "own", "own"):
        residency.begin(S, adapter, 0)
        residency.loaded(S, adapter, 0)
    own: list[str] = []
    residency.enqueue("next of greedy", 1, [S], lambda _: own)
    for now_s in range(8):
        residency.begin(S, "own", now_s)
    assert not residency.can_begin(S, "modest")
    own.append("own")
    residency.begin(S, "own", 9)
    assert residency.can_begin(S, "modest")
    assert not residency.can_begin(S, "own")


def test_a_slot_is_no_longer_kept_for_a_request_that_has_gone() -> None:
    residency = with_slots(1)
    residency.begin(S, "a", 0)
    residency.loaded(S, "a", 0)
    residency.enqueue("cold", 1)
    for now_s in range(8):
        residency.begin(S, "a", now_s)
    assert not residency.can_begin(S, "a")
    residency.dequeue(1)
    assert residency.begin(S, "a", 9) == Ready()


def test_an_adapter_is_loaded_ahead_at_one_server_only() -> None:
    residency = with_slots(1)
    residency.set_server("other", 1)
    for ticket in range(4):
        residency.enqueue("a", ticket)
    assert residency.prefetch("other", 0) == "a"
    residency.begin("other", "a", 0)
    assert residency.prefetch(S, 0) is None


def test_no_adapter_is_loaded_ahead_for_a_request_that_another_server_may_serve_sooner() -> None:
    residency = with_slots(1)
    residency.set_server("other", 1)
    for ticket, adapter in enumerate("abc"):
        residency.enqueue(adapter, ticket)
    assert residency.prefetch(S, 0) is None
    residency.enqueue("d", 3)
    assert residency.prefetch(S, 0) == "d"


def test_a_server_that_is_no_longer_configured_is_not_listed() -> None:
    residency = with_slots(1)
    residency.begin(S, "a", 0)
    residency.remove_server(S)
    residency.loaded(S, "a", 1)
    residency.end(S, "a", 2)
    assert residency.snapshot() == ()


def test_a_call_that_outlives_the_removal_of_its_server_uses_its_adapter_when_the_server_comes_back() -> None:
    residency = Residency()
    residency.set_server("one", 1)
    residency.begin("one", "a", 0.0)
    residency.loaded("one", "a", 1.0)
    residency.remove_server("one")
    residency.set_server("one", 1)
    residency.observe("one", ["a"], 2.0)
    assert isinstance(residency.begin("one", "b", 3.0), Full)
    assert isinstance(residency.begin("one", "a", 3.0), Ready)
    residency.end("one", "a", 4.0)
    assert isinstance(residency.begin("one", "b", 5.0), Full)
    residency.end("one", "a", 6.0)
    assert residency.begin("one", "b", 7.0) == Load(("a",))
