"""What a request asks to be answered by: the model's name, and the wishes beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from router.decide.flags import Flags, parse_flags
from router.errors import FieldError

DEFAULT_POLICY = "default"
AUTO = re.compile(r"auto(?:/(?P<policy>[^\[\]]+))?(?:\[(?P<flags>.*)\])?", re.DOTALL)
_WISHES = frozenset({"flags", "policy", "session"})
_LONGEST_WISH = 2_000


class Target(Struct, frozen=True):
    """What a model name asks for: a choice, perhaps by a policy and with flags, or one card."""

    policy: str | None = None
    flags: str = ""
    card: str | None = None


class RoutingOptions(Struct, frozen=True):
    """What stands beside the model's name, in the headers or the body; empty where nothing does.

    `places` names where flags or a policy were found, for errors.
    """

    flags: str = ""
    policy: str = ""
    session: str = ""
    places: tuple[str, ...] = ()


def is_auto(name: str) -> bool:
    """Whether a model's name leaves the choice to the gateway, or tries to."""
    return name == "auto" or name.startswith(("auto/", "auto["))


def read_target(name: Any, aliases: Mapping[str, str]) -> Target:
    """What `model` asks for: `auto`, `auto/<policy>`, either with `[<flags>]`, an alias, or a card's name.

    A body without a model leaves the choice to the gateway. Raises FieldError.
    """
    if name is None:
        return Target()
    if not isinstance(name, str) or not name:
        raise FieldError("model", "must be the name of a model; `auto` leaves the choice to the gateway")
    meant = aliases.get(name, name)
    if not is_auto(meant):
        return Target(card=meant)
    found = AUTO.fullmatch(meant)
    if found is None:
        raise FieldError("model", f'is "{name}": flags stand in brackets at its end, as in auto[cheapest]')
    return Target(found["policy"], found["flags"] or "")


def read_routing_options(headers: Mapping[str, str], body: Mapping[str, Any]) -> RoutingOptions:
    """The wishes in the headers, which are the strongest, and in the body. Raises FieldError, or FlagError."""
    metadata, route = body.get("metadata"), body.get("route")
    spoken = _text(metadata, "route_flags", "metadata.route_flags") if isinstance(metadata, Mapping) else ""
    if route is None:
        route = {}
    elif not isinstance(route, Mapping) or set(route) - _WISHES:
        raise FieldError("route", 'must be an object such as {"flags": "cheapest,size<7B", "policy": "cheap"}')
    flags = {
        "metadata.route_flags": spoken,
        "route.flags": _text(route, "flags", "route.flags"),
        "x-route-flags": headers.get("x-route-flags", ""),
    }
    policies = {
        "route.policy": _text(route, "policy", "route.policy"),
        "x-route-policy": headers.get("x-route-policy", ""),
    }
    return RoutingOptions(
        flags=joined_flags(*flags.values()),
        policy=policies["x-route-policy"] or policies["route.policy"],
        session=headers.get("x-route-session", "") or _text(route, "session", "route.session"),
        places=tuple(place for place, wish in (flags | policies).items() if wish.strip()),
    )


def joined_flags(*texts: str) -> str:
    """The flags of all `texts`; a later text's goals override an earlier one's. Raises FlagError."""
    given = [text for text in texts if text.strip()]
    if len(given) < 2:
        return "".join(given)
    flags = Flags()
    for text in given:
        flags = flags.overridden_by(parse_flags(text))
    return str(flags)


def _text(holder: Mapping[str, Any], field: str, place: str) -> str:
    value = holder.get(field)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _LONGEST_WISH:
        raise FieldError(
            place, "must be a text such as cheapest,size<7B" if "flags" in place else "must be a short text"
        )
    return value
