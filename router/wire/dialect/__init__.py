"""Dialects: what the chat completions of servers and models accept, and how a body is fitted to one.

`servers.py` and `models.py` are the tables. A field is kept, renamed, limited, left out, or refused: see `Field`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from router.errors import FieldError
from router.wire.dialect.fields import fit_fields, has_usual_fields
from router.wire.dialect.history import fit_history, fit_thinking
from router.wire.dialect.lookup import dialect_for
from router.wire.dialect.messages import are_plain, fit_messages, without_cache_control
from router.wire.dialect.rules import FIELDS, Dialect
from router.wire.dialect.servers import SERVERS
from router.wire.texts import OBJECT

__all__ = ["SERVERS", "Dialect", "Fitted", "adapt", "dialect_for", "may_be_refused", "refusal"]

# Fields that some servers refuse, with a value that asks for something, and parts that are not text or an image.
_USUAL_FIELDS = frozenset({"response_format", "stop", "tool_choice", "tools"})
_RARE_FIELDS = frozenset(name for name, field in FIELDS.items() if not field.hint) - _USUAL_FIELDS
_USUAL_PARTS = ("image_url", "text")
_MAX_USUAL_STOPS = 4


class Fitted(Struct, frozen=True):
    """A body in a dialect. `changed`: the fields that were left out or limited although they may matter."""

    body: Mapping[str, Any]
    changed: tuple[str, ...] = ()


def adapt(chat_body: Mapping[str, Any], dialect: Dialect, maker: str = "") -> Fitted:
    """A chat body, the client's own or a converted one, in an upstream's dialect.

    `maker` is the `id_without_effort` of the upstream's card, to which alone its reasoning is returned. Raises
    FieldError that names a field or a content part which the server does not support and without which the answer would
    be another.
    """
    fields_are_usual = has_usual_fields(chat_body, dialect)
    if (
        fields_are_usual
        and dialect.thinks
        and "cache_control" not in chat_body
        and are_plain(chat_body.get("messages"), dialect)
    ):
        # As most are, and as every server accepts them.
        return Fitted(chat_body)
    fitted, changed = (dict(chat_body), []) if fields_are_usual else fit_fields(chat_body, dialect)
    if not dialect.cache_control:
        fitted.pop("cache_control", None)
        if isinstance(fitted.get("tools"), list):
            fitted["tools"] = [without_cache_control(tool) for tool in fitted["tools"]]
    messages = fitted.get("messages")
    if isinstance(messages, list):
        fitted["messages"] = fit_messages(fit_history(messages, dialect, maker), dialect)
        fit_thinking(fitted, dialect, changed)
    return Fitted(fitted, tuple(dict.fromkeys(changed)))


def may_be_refused(chat_body: Mapping[str, Any]) -> bool:
    """Whether the body has a field or part that some servers refuse: then `refusal` is worth asking of every card."""
    stop = chat_body.get("stop")
    if isinstance(stop, list) and len(stop) > _MAX_USUAL_STOPS:
        return True
    rare = _RARE_FIELDS.intersection(chat_body)
    if rare and any(chat_body[name] not in (None, *FIELDS[name].defaults) for name in rare):
        return True
    messages = chat_body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        parts = message.get("content") if isinstance(message, OBJECT) else None
        if isinstance(parts, list) and any(
            isinstance(part, Mapping) and part.get("type") not in _USUAL_PARTS for part in parts
        ):
            return True
    return False


def refusal(chat_body: Mapping[str, Any], dialect: Dialect) -> str | None:
    """Why a server of this dialect cannot answer the body; None where it can."""
    try:
        adapt(chat_body, dialect)
    except FieldError as error:
        return str(error)
    return None
