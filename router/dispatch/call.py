"""A call to an upstream, and the same call in the protocol and dialect of one."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from router.cards.schema import Card
from router.dispatch.bounds.timeouts import Timeouts
from router.dispatch.connection.raw import RawRequest
from router.dispatch.facts import server_facts_of
from router.errors import UpstreamError
from router.types import Api
from router.wire import CONVERSIONS, wants_stream_usage, without_foreign_thinking, without_sealed_reasoning
from router.wire.dialect import Dialect, adapt
from router.wire.effort import sets_effort, with_effort, with_thinking_off
from router.wire.messages.history import as_anthropic_accepts
from router.wire.reading.stored import without_encrypted_reasoning

# A time limit of zero means none to some clients.
_LEAST_S = 0.001


class Affinity(Struct, frozen=True):
    """The server that answered a conversation last (`router.dispatch.providers.server_of`), which is called first.

    `binds`: the request contains what only that server can read, so the call also waits for it. `bound` is the path of
    the field that cannot be left out for another server; empty where all of it can.
    """

    server: str = ""
    binds: bool = False
    bound: str = ""

    def explained(self, failure: UpstreamError) -> UpstreamError:
        """The failure of a call, with the reason why no other server was tried, if there is one."""
        if not (self.binds and self.bound):
            return failure
        reason = f"`{self.bound}` refers to what only this server has; send the whole conversation to go on elsewhere"
        return UpstreamError(f"{failure}; {reason}", failure.status, failure.fault)


NO_AFFINITY = Affinity()


class Call(Struct, frozen=True, eq=False):
    """A client's request, to be sent to any card. `api` is the client's protocol, `body` its JSON, and `chat_body` the
    same as a chat-completions body where it has been converted already.

    `headers` are the client's, with names in lower case; only those that concern the model are forwarded.
    `affinity` is the server that has the conversation. `key_id` is the id of the client's key, empty without one.
    `tenant` is the same where there are several keys, else empty: nothing then needs to be shared out.
    `fresh_connection`: the call is a retry after a broken connection. `decode`: the response will be converted, so
    decode it once. `raw`: what to send as it is, in place of `body`. `changed`: the fields that the upstream's dialect
    left out or limited. The whole exchange ends at `ends_s`, and an attempt must have a response, or the first content
    of a stream, at `first_by_s`, both in seconds of the monotonic clock. `repeats`: another card has failed
    to answer the request. `is_batch`: the request can wait. `model` is the upstream's name for the model, where it is
    not that of the card. `number` is that of the call among those of its plan, from 1; 0 without a plan.
    """

    api: Api
    body: Mapping[str, Any]
    stream: bool = False
    headers: Mapping[str, str] = {}
    chat_body: Mapping[str, Any] | None = None
    fresh_connection: bool = False
    decode: bool = False
    affinity: Affinity = NO_AFFINITY
    key_id: str = ""
    raw: RawRequest | None = None
    changed: tuple[str, ...] = ()
    ends_s: float = math.inf
    first_by_s: float = math.inf
    repeats: bool = False
    tenant: str = ""
    is_batch: bool = False
    model: str = ""
    number: int = 0

    def limits(self, timeouts: Timeouts) -> Timeouts:
        """`timeouts`, as far as the time that is left allows them."""
        now_s = time.monotonic()
        return timeouts.within(self.first_by_s - now_s, self.ends_s - now_s)

    def answer_limit_s(self, timeouts: Timeouts) -> float:
        """The seconds in which an attempt must have its response, or the first content of a stream; more than 0."""
        limit_s = timeouts.first_token_s if self.stream else timeouts.total_s
        return max(min(limit_s, self.first_by_s - time.monotonic()), _LEAST_S)

    def at_server(self, server: str) -> Call:
        """The call for this server: without the reasoning that another one encrypted."""
        affinity = self.affinity
        if not affinity.binds or affinity.bound or server == affinity.server:
            return self
        return msgspec.structs.replace(self, body=without_encrypted_reasoning(self.body))

    @property
    def wants_usage(self) -> bool:
        """Whether the client wants the event that reports a stream's usage."""
        return wants_stream_usage(self.body)


def fitted(call: Call, card: Card, dialect: Dialect) -> Call:
    """The call in a protocol that the card's upstream supports, and in its dialect.

    Raises FieldError where the body cannot be converted, or has a field that the upstream does not support and without
    which the answer would be another.
    """
    if call.api in server_facts_of(card).apis:
        native = _at_effort(card, call, call.body)
        if call.api == "messages":
            is_anthropic = card.provider == "anthropic"
            body = without_foreign_thinking(native.body, signed_only=is_anthropic)
            body = as_anthropic_accepts(body) if is_anthropic else body
            return msgspec.structs.replace(native, body=body)
        if call.api == "responses":
            return msgspec.structs.replace(native, body=without_sealed_reasoning(native.body))
        return _in_dialect(native, card, dialect) if call.api == "chat" else native
    if call.api == "chat":
        return _in_dialect(_at_effort(card, call, call.body), card, dialect)
    chat_body = dict(CONVERSIONS[call.api].to_chat(call.body) if call.chat_body is None else call.chat_body)
    if card.capabilities is not None and "reasoning" not in card.capabilities:
        chat_body.pop("reasoning_effort", None)
    body = with_thinking_off(chat_body, card.provider, card.model)
    chat = msgspec.structs.replace(call, api="chat", body=body, decode=True)
    return _in_dialect(_at_effort(card, chat, call.body), card, dialect)


def _in_dialect(call: Call, card: Card, dialect: Dialect) -> Call:
    adapted = adapt(call.body, dialect, card.id_without_effort)
    if adapted.body is call.body:
        return call
    return msgspec.structs.replace(call, body=adapted.body, changed=adapted.changed)


def _at_effort(card: Card, call: Call, asked: Mapping[str, Any]) -> Call:
    """The call at the card's effort, where it has one and the client's body `asked` states none of its own."""
    if card.effort is None or sets_effort(asked):
        return call
    body = with_effort(call.body, card.effort, call.api, card.provider, card.model)
    return msgspec.structs.replace(call, body=body)
