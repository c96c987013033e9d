"""How a request asks to be routed: by the model's name, and by options in its headers or body."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

from msgspec import Struct

from router.decide.flags import Flags, combined, parse_flags
from router.decide.plans.spec import PREFIX
from router.errors import FieldError

DEFAULT_POLICY = "default"
AUTO = re.compile(r"auto(?:/(?P<policy>[^\[\]]+))?(?:\[(?P<flags>.*)\])?", re.DOTALL)
_PLAN = re.compile(rf"{PREFIX}(?P<plan>[^\[\]]+)(?:\[(?P<flags>.*)\])?", re.DOTALL)
_OPTIONS = frozenset({"batch", "explore", "flags", "policy", "session"})
# Where options are stated; most requests have none of these.
_OPTION_HEADERS = frozenset(f"x-route-{option}" for option in _OPTIONS)
_OPTION_FIELDS = frozenset({"metadata", "route", "service_tier"})
# OpenAI's words for requests that cost less, since they can wait.
_WAITING_TIERS = ("batch", "flex")
_MAX_CHARACTERS = 2_000


class Target(Struct, frozen=True):
    """What a model name asks for: routing, perhaps by a policy and with flags that are not parsed yet, one card, or the
    id of a plan, perhaps with flags.
    """

    policy: str | None = None
    flag_text: str = ""
    card: str | None = None
    plan: str | None = None


class RoutingOptions(Struct, frozen=True):
    """The options beside the model's name, in the headers or the body; empty where there are none.

    `flag_texts` are in rising precedence. `places` names where flags or a policy were given, for errors.
    `batch`: the request can wait. `explore`: the policy may let another card answer than the best forecast would.
    """

    flag_texts: tuple[str, ...] = ()
    policy: str = ""
    session: str = ""
    places: tuple[str, ...] = ()
    batch: bool = False
    explore: bool = True

    def added_to(self, flags: Flags) -> Flags:
        """`flags` with these options' flags added; a later goal overrides an earlier one. Raises FlagError, also
        where limits from two places contradict each other."""
        for text in self.flag_texts:
            flags = combined(flags, parse_flags(text))
        return flags


_AUTO = Target()
_NO_OPTIONS = RoutingOptions()
WILDCARD = "*"


class Aliases(Mapping[str, str]):
    """Targets by the names that clients use: those with a `*` are patterns, and the first that matches counts.

    A name itself takes precedence over patterns, and so does one of `cards`. Iteration gives the names that are no
    patterns.
    """

    def __init__(self, targets: Mapping[str, str], cards: Container[str] = frozenset()) -> None:
        self._exact = {name: target for name, target in targets.items() if WILDCARD not in name}
        self._patterns = tuple((glob(name), target) for name, target in targets.items() if WILDCARD in name)
        self._cards = cards

    def beside(self, cards: Container[str]) -> Aliases:
        """The same aliases beside other cards."""
        made = Aliases({}, cards)
        made._exact, made._patterns = self._exact, self._patterns
        return made

    def __getitem__(self, name: str) -> str:
        if (target := self.target_of(name)) is None:
            raise KeyError(name)
        return target

    def target_of(self, name: str) -> str | None:
        """The target of a name; None where there is none, as for most names."""
        exact = self._exact.get(name)
        if exact is not None:
            return exact
        if self._patterns and not is_auto(name) and not is_plan(name) and name not in self._cards:
            return next((target for pattern, target in self._patterns if pattern.match(name)), None)
        return None

    def __iter__(self) -> Iterator[str]:
        return iter(self._exact)

    def __len__(self) -> int:
        return len(self._exact)


def glob(pattern: str) -> re.Pattern[str]:
    """The expression for a whole text in which `*` stands for any characters, and everything else for itself."""
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]").replace("?", "[?]")))


def covers(pattern: str, other: str) -> bool:
    """Whether every name that `other` matches is one that `pattern` matches."""
    # `*` in `other` is a character here, which only a `*` matches.
    return WILDCARD in pattern and glob(pattern).match(other) is not None


def is_auto(name: str) -> bool:
    """Whether a model's name asks for routing, or tries to."""
    return name == "auto" or name.startswith(("auto/", "auto["))


def is_plan(name: str) -> bool:
    """Whether a model's name asks for a plan."""
    return name.startswith(PREFIX)


def read_target(name: Any, aliases: Mapping[str, str]) -> Target:
    """What `model` asks for: `auto`, `auto/<policy>`, `plan/<name>`, each with `[<flags>]`, an alias, or a card's name.

    A body without a model asks for routing. `aliases` may be `Aliases`. Raises FieldError.
    """
    if name is None:
        return _AUTO
    if not isinstance(name, str) or not name:
        raise FieldError("model", "must be the name of a model, or `auto` for routing")
    target = aliases.target_of(name) if isinstance(aliases, Aliases) else aliases.get(name)
    target = name if target is None else target
    if target == "auto":
        return _AUTO
    if is_plan(target):
        if (match := _PLAN.fullmatch(target)) is None:
            raise FieldError("model", f'is "{name}": flags belong in brackets at its end, as in plan/name[cost<1$]')
        return Target(flag_text=match["flags"] or "", plan=match["plan"])
    if not is_auto(target):
        return Target(card=target)
    match = AUTO.fullmatch(target)
    if match is None:
        raise FieldError("model", f'is "{name}": flags belong in brackets at its end, as in auto[cheapest]')
    return Target(match["policy"], match["flags"] or "")


def read_routing_options(headers: Mapping[str, str], body: Mapping[str, Any]) -> RoutingOptions:
    """The options in the headers, which take precedence, and in the body. Raises FieldError."""
    if _OPTION_FIELDS.isdisjoint(body) and _OPTION_HEADERS.isdisjoint(headers):
        return _NO_OPTIONS
    metadata, route = body.get("metadata"), body.get("route")
    if route is None:
        route = {}
    elif not isinstance(route, Mapping) or set(route) - _OPTIONS:
        raise FieldError("route", 'must be an object such as {"flags": "cheapest,size<7B", "policy": "cheap"}')
    in_metadata = metadata if isinstance(metadata, Mapping) else {}
    flags = {
        "metadata.route_flags": _text(in_metadata, "route_flags", "metadata.route_flags"),
        "route.flags": _text(route, "flags", "route.flags"),
        "x-route-flags": headers.get("x-route-flags", ""),
    }
    policies = {
        "route.policy": _text(route, "policy", "route.policy"),
        "x-route-policy": headers.get("x-route-policy", ""),
    }
    return RoutingOptions(
        flag_texts=tuple(text for text in flags.values() if text.strip()),
        policy=policies["x-route-policy"] or policies["route.policy"],
        session=headers.get("x-route-session", "") or _text(route, "session", "route.session"),
        places=tuple(place for place, value in (flags | policies).items() if value.strip()),
        batch=_stated("batch", headers, route, default=body.get("service_tier") in _WAITING_TIERS),
        explore=_stated("explore", headers, route, default=True),
    )


def _stated(option: str, headers: Mapping[str, str], route: Mapping[str, Any], *, default: bool) -> bool:
    """What an option that is true or false is in the header, else in the body. Raises FieldError."""
    stated = {f"route.{option}": route.get(option), f"x-route-{option}": headers.get(f"x-route-{option}")}
    for place, value in stated.items():
        if value not in (None, "", True, False, "true", "false"):
            raise FieldError(place, "must be true or false")
    marks = [value in (True, "true") for value in stated.values() if value not in (None, "")]
    # The header, which comes last, takes precedence.
    return marks[-1] if marks else default


def _text(holder: Mapping[str, Any], field: str, place: str) -> str:
    value = holder.get(field)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _MAX_CHARACTERS:
        raise FieldError(
            place, "must be a text such as cheapest,size<7B" if "flags" in place else "must be a short text"
        )
    return value
