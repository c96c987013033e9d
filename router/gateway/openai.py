"""OpenAI's shapes: the body, the names of models, errors, the list of models."""

from __future__ import annotations

import calendar
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from router.cards import Catalog
from router.decide.flags import Flags, parse_flags
from router.decide.policy import Policies
from router.dispatch import Answer
from router.errors import CallerError, UnknownModelError, did_you_mean
from router.types import encodable

DEFAULT_POLICY = "default"
_ROUTED = re.compile(r"auto(?:/(?P<policy>[^\[\]]+))?(?:\[(?P<flags>.*)\])?", re.DOTALL)


class FieldError(CallerError):
    """A field of the body is wrong; `param` names it."""

    def __init__(self, param: str, problem: str) -> None:
        self.param = param
        super().__init__(f"`{param}` {problem}")


class Target(msgspec.Struct, frozen=True):
    """What a model name asks for: a policy with flags, or one card."""

    policy: str | None
    flags: str = ""
    card: str | None = None


def read_body(raw: bytes) -> dict[str, Any]:
    """The body's JSON object. Raises CallerError saying what is wrong with it."""
    try:
        body = _decode(raw)
    except UnicodeDecodeError as error:
        raise CallerError(f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise CallerError("the body is nested too deeply") from None
    except ValueError as error:
        raise CallerError(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise CallerError("the body must be a JSON object with `model` and `messages`")
    if not isinstance(body.get("messages"), list):
        raise FieldError("messages", "must be a list of messages")
    return body


def wants_stream(body: Mapping[str, Any]) -> bool:
    """Whether the answer is to come as server-sent events."""
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise FieldError("stream", "must be true or false")
    return bool(stream)


def read_target(body: Mapping[str, Any]) -> Target:
    """What `model` asks for: `auto`, `auto/<policy>`, either with `[<flags>]`, or a card's name."""
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise FieldError("model", "must be the name of a model; `auto` leaves the choice to the gateway")
    routed = _ROUTED.fullmatch(name)
    if routed:
        return Target(routed["policy"] or DEFAULT_POLICY, routed["flags"] or "")
    if name.startswith("auto[") or (name.startswith("auto/") and "[" in name):
        raise FieldError("model", f'is "{name}": flags stand in brackets at its end, as in auto[cheapest]')
    return Target(None, card=name)


def joined_flags(*texts: str) -> str:
    """The flags of all `texts`; a later text's goals override an earlier one's. Raises FlagError."""
    given = [text for text in texts if text.strip()]
    if len(given) < 2:
        return "".join(given)
    flags = Flags()
    for text in given:
        flags = flags.overridden_by(parse_flags(text))
    return str(flags)


def flags_in(body: Mapping[str, Any]) -> str:
    """The flags in the body itself: `metadata.route_flags`, overridden by `route.flags`."""
    metadata, route = body.get("metadata"), body.get("route")
    spoken = metadata.get("route_flags", "") if isinstance(metadata, Mapping) else ""
    if not isinstance(spoken, str):
        raise FieldError("metadata.route_flags", "must be a text such as cheapest,size<7B")
    if route is None:
        return spoken
    if not isinstance(route, Mapping) or set(route) - {"flags"} or not isinstance(route.get("flags", ""), str):
        raise FieldError("route", 'must be an object such as {"flags": "cheapest,size<7B"}')
    return joined_flags(spoken, route.get("flags", ""))


def refuse_flags(card: str, header_flags: str, body: Mapping[str, Any]) -> None:
    """Raise FieldError where flags stand beside the name of a card, which leaves nothing to choose."""
    metadata, route = body.get("metadata"), body.get("route")
    places = {
        "x-route-flags": header_flags,
        "route": route.get("flags") if isinstance(route, Mapping) else route,
        "metadata.route_flags": metadata.get("route_flags") if isinstance(metadata, Mapping) else None,
    }
    for place, flags in places.items():
        if flags and not (isinstance(flags, str) and flags.isspace()):
            raise FieldError(
                place, f'needs the model name auto; "{card}" names one card, which leaves nothing to choose'
            )


def error_body(message: str, kind: str, code: str | None, param: str | None = None) -> bytes:
    """An error as OpenAI's clients read it. Half of a surrogate pair in the message becomes a question mark."""
    return msgspec.json.encode({"error": {"message": encodable(message), "type": kind, "param": param, "code": code}})


def refusal_body(answer: Answer) -> bytes:
    """The body of an upstream's error, as it is or, where that has not OpenAI's shape, put into it."""
    assert isinstance(answer.body, bytes)
    try:
        said = msgspec.json.decode(answer.body)
    except (ValueError, RecursionError):
        said = None
    error = said.get("error") if isinstance(said, dict) else None
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return answer.body
    did = "refused the gateway's credentials: HTTP" if answer.status in (401, 403) else "answered HTTP"
    message = f'the upstream of the card "{answer.card.id}" {did} {answer.status}'
    if isinstance(said, dict):
        words = (error, said.get("message"), said.get("detail"))
        message = next((word for word in words if isinstance(word, str) and word), message)
    return error_body(message, "upstream_error", str(answer.status))


class ModelList:
    """The models that clients may ask for: `auto`, a name a policy, then every card."""

    def __init__(self, catalog: Catalog, policies: Policies) -> None:
        entries = [
            _entry("auto", 0, "pulvinar"),
            *(_entry(f"auto/{id_}", 0, "pulvinar") for id_ in policies.ids),
        ]
        for card in catalog:
            created = calendar.timegm(card.released.timetuple()) if card.released else 0
            entries.append(_entry(card.id, created, card.provider))
        self._entries = {entry["id"]: entry for entry in entries}
        for card in catalog:
            for alias in card.aliases:
                self._entries.setdefault(alias, self._entries[card.id])
        self.listed = msgspec.json.encode({"object": "list", "data": entries})

    def one(self, name: str) -> bytes:
        """The entry of this name or alias. Raises UnknownModelError with the nearest."""
        if name not in self._entries:
            raise UnknownModelError(f'there is no model "{name}"{did_you_mean(name, self._entries)}')
        return msgspec.json.encode(self._entries[name])


def _entry(name: str, created: int, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": owner}


def _decode(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        # A text cut inside an emoji holds the escape of half a surrogate pair, which msgspec refuses.
        if b"\\u" not in raw:
            raise
        return json.loads(raw.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is out of range")
    return number


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
