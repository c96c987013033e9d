"""The request of a client of any protocol as a chat request, for plans that write its messages anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from router.dispatch import Call
from router.wire import CONVERSIONS

Messages = Sequence[Mapping[str, Any]]


def as_chat(call: Call) -> Call:
    """The call as one in chat, whose answer is decoded. Raises CallerError where chat cannot express it."""
    if call.api == "chat":
        return msgspec.structs.replace(call, chat_body=None, decode=True)
    body = call.chat_body if call.chat_body is not None else CONVERSIONS[call.api].to_chat(call.body)
    body = {**body, "stream": call.stream}
    return msgspec.structs.replace(call, api="chat", body=body, chat_body=None, decode=True)


def with_messages(call: Call, messages: Messages) -> Call:
    """The chat call with these messages."""
    return msgspec.structs.replace(call, body={**call.body, "messages": list(messages)})


def messages_of(call: Call) -> list[Mapping[str, Any]]:
    """The messages of a chat call."""
    messages = call.body.get("messages")
    return [each for each in messages if isinstance(each, Mapping)] if isinstance(messages, list) else []


def newest_of_user(messages: Messages) -> int | None:
    """The position of the newest message of the user's; None without one."""
    return next((at for at in reversed(range(len(messages))) if messages[at].get("role") == "user"), None)
