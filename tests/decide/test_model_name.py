from __future__ import annotations

from typing import Any

import pytest

from router.decide.flags import Flags, parse_flags
from router.decide.model_name import RoutingOptions, Target, read_routing_options, read_target
from router.errors import FieldError, FlagError

ALIASES = {"gpt-4": "auto/cheap", "mini": "gpt-4o-mini"}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        (None, Target()),
        ("auto", Target()),
        ("auto/cheap", Target(policy="cheap")),
        ("plan/cheap-first", Target(plan="cheap-first")),
        ("plan/cheap-first[calls<=2]", Target(plan="cheap-first", flag_text="calls<=2")),
        ("auto[size<7B]", Target(flag_text="size<7B")),
        ("auto/cheap[size<7B,smallest]", Target(policy="cheap", flag_text="size<7B,smallest")),
        ("auto[]", Target()),
        ("gpt-4o", Target(card="gpt-4o")),
        ("automatic", Target(card="automatic")),
        ("mini", Target(card="gpt-4o-mini")),
        ("gpt-4", Target(policy="cheap")),
    ],
)
def test_a_model_name_selects_routing_or_a_card(name: str | None, target: Target) -> None:
    assert read_target(name, ALIASES) == target


@pytest.mark.parametrize("name", ["", 7, ["auto"], "auto/", "auto/a[x", "auto[x]y", "plan/", "plan/a[x"])
def test_an_invalid_model_name_is_rejected(name: Any) -> None:
    with pytest.raises(FieldError) as caught:
        read_target(name, {})
    assert caught.value.param == "model"


def test_without_headers_and_fields_there_are_no_options() -> None:
    assert read_routing_options({}, {"model": "auto"}) == RoutingOptions()


def test_headers_take_precedence_over_the_body() -> None:
    options = read_routing_options(
        {"x-route-flags": "cheapest*3", "x-route-policy": "best", "x-route-session": "s"},
        {
            "metadata": {"route_flags": "cheapest*1,size<7B"},
            "route": {"flags": "cheapest*2", "policy": "cheap", "session": "t"},
        },
    )
    assert options.added_to(Flags()) == parse_flags("size<7B,cheapest*3")
    assert (options.policy, options.session) == ("best", "s")
    assert options.places == ("metadata.route_flags", "route.flags", "x-route-flags", "route.policy", "x-route-policy")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"route": "cheap"}, "route"),
        ({"route": {"polisy": "cheap"}}, "route"),
        ({"route": {"flags": 7}}, "route.flags"),
        ({"route": {"session": "x" * 2_001}}, "route.session"),
        ({"metadata": {"route_flags": ["cheapest"]}}, "metadata.route_flags"),
    ],
)
def test_an_invalid_option_is_rejected_with_its_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(FieldError) as caught:
        read_routing_options({}, body)
    assert caught.value.param == param


def test_metadata_without_routing_flags_is_ignored() -> None:
    assert read_routing_options({}, {"metadata": "any", "route": None}) == RoutingOptions()


def test_limits_from_two_places_that_contradict_each_other_are_a_flag_error() -> None:
    options = read_routing_options({"x-route-flags": "tag!=beta"}, {"route": {"flags": "size<9B"}})
    with pytest.raises(FlagError, match="no card can meet both tag=beta and tag!=beta") as caught:
        options.added_to(parse_flags("tag=beta"))
    assert caught.value.source[caught.value.position :].startswith("tag!=beta")


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, {}, False),
        ({}, {"service_tier": "flex"}, True),
        ({}, {"service_tier": "batch"}, True),
        ({}, {"service_tier": "priority"}, False),
        ({}, {"service_tier": ["flex"]}, False),
        ({}, {"route": {"batch": True}}, True),
        ({"x-route-batch": "true"}, {}, True),
        ({"x-route-batch": "false"}, {"route": {"batch": True}, "service_tier": "flex"}, False),
        ({}, {"route": {"batch": False}, "service_tier": "flex"}, False),
    ],
)
def test_a_request_can_be_marked_as_one_that_can_wait(
    headers: dict[str, str], body: dict[str, Any], expected: bool
) -> None:
    assert read_routing_options(headers, body).batch is expected


@pytest.mark.parametrize(
    ("headers", "body", "param"),
    [({"x-route-batch": "yes"}, {}, "x-route-batch"), ({}, {"route": {"batch": ["true"]}}, "route.batch")],
)
def test_a_mark_that_is_neither_true_nor_false_is_rejected(
    headers: dict[str, str], body: dict[str, Any], param: str
) -> None:
    with pytest.raises(FieldError) as caught:
        read_routing_options(headers, body)
    assert caught.value.param == param
