"""Model names and routing options, as clients write them."""

from __future__ import annotations

from typing import Any

import pytest

from router.decide.flags import Flags, parse_flags
from router.decide.model_name import RoutingOptions, Target, is_auto, read_routing_options, read_target
from router.errors import FieldError, FlagError

NO_ALIASES: dict[str, str] = {}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        (None, Target()),
        ("auto", Target()),
        ("auto/cheap", Target(policy="cheap")),
        ("auto[size<9B]", Target(flags=parse_flags("size<9B"))),
        ("auto/cheap[smallest]", Target(policy="cheap", flags=parse_flags("smallest"))),
        ("auto[]", Target()),
        ("gpt-4o", Target(card="gpt-4o")),
        ("automatic", Target(card="automatic")),
    ],
)
def test_a_model_name_asks_for_routing_or_for_one_card(name: str | None, target: Target) -> None:
    assert read_target(name, NO_ALIASES) == target


def test_an_alias_stands_for_its_target() -> None:
    assert read_target("gpt-4", {"gpt-4": "auto/cheap"}) == Target(policy="cheap")


@pytest.mark.parametrize("name", ["", 7, ["auto"], "auto[cheapest", "auto[cheapest]x", "auto/[x]y"])
def test_a_model_name_that_cannot_be_read_names_the_field(name: Any) -> None:
    with pytest.raises(FieldError) as caught:
        read_target(name, NO_ALIASES)
    assert caught.value.param == "model"


def test_flags_in_a_model_name_that_cannot_be_read_are_a_flag_error() -> None:
    with pytest.raises(FlagError, match="unknown flag"):
        read_target("auto[sizze<9B]", NO_ALIASES)


@pytest.mark.parametrize(("name", "auto"), [("auto", True), ("auto/x", True), ("auto[x", True), ("automatic", False)])
def test_names_that_begin_with_auto_are_for_routing(name: str, auto: bool) -> None:
    assert is_auto(name) is auto


def test_options_in_headers_take_precedence_over_those_in_the_body() -> None:
    headers = {"x-route-flags": "cheapest*0.5", "x-route-policy": "fast", "x-route-session": "s1"}
    body = {
        "route": {"flags": "cheapest*0.2,size<9B", "policy": "cheap", "session": "s2"},
        "metadata": {"route_flags": "smallest"},
    }
    options = read_routing_options(headers, body)
    assert (options.policy, options.session) == ("fast", "s1")
    assert options.added_to(parse_flags("newest")) == parse_flags("size<9B,newest,smallest,cheapest*0.5")
    assert options.places == (
        "metadata.route_flags",
        "route.flags",
        "x-route-flags",
        "route.policy",
        "x-route-policy",
    )


def test_a_request_without_options_has_none() -> None:
    options = read_routing_options({}, {"metadata": "of another kind", "route": None})
    assert options == RoutingOptions()
    assert options.added_to(Flags()) == Flags()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"route": "cheapest"}, "route"),
        ({"route": {"flag": "cheapest"}}, "route"),
        ({"route": {"flags": 7}}, "route.flags"),
        ({"route": {"policy": "p" * 2001}}, "route.policy"),
        ({"route": {"session": ["s"]}}, "route.session"),
        ({"metadata": {"route_flags": {}}}, "metadata.route_flags"),
    ],
)
def test_an_option_of_the_wrong_kind_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(FieldError) as caught:
        read_routing_options({}, body)
    assert caught.value.param == param
