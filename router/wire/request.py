"""Read a client's body in any protocol as a request. It is converted to chat once, here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from router.errors import CallerError
from router.types import Api
from router.wire.chat.request import ChatRequest, Turn
from router.wire.completions import COMPLETIONS
from router.wire.content_types import check_part_types
from router.wire.conversion import Conversion
from router.wire.messages import MESSAGES
from router.wire.ollama import OLLAMA_CHAT, OLLAMA_GENERATE
from router.wire.reading.needs import modalities_of, needs_of
from router.wire.responses import RESPONSES
from router.wire.texts import all_text

CONVERSIONS: Mapping[Api, Conversion] = {
    "completions": COMPLETIONS,
    "messages": MESSAGES,
    "responses": RESPONSES,
    "ollama_chat": OLLAMA_CHAT,
    "ollama_generate": OLLAMA_GENERATE,
}
"""The conversions by which an upstream that supports only chat can answer clients of other protocols."""


def read_request(api: Api, body: Mapping[str, Any]) -> ChatRequest:
    """The request in a client's body. Raises CallerError that names the invalid field of a chat body.

    A body that cannot be converted to chat is no error here: an upstream that supports `api` itself may accept it. But
    a content part of a type that no protocol has is one.
    """
    if api == "chat":
        return ChatRequest.from_body(body)
    try:
        chat_body = CONVERSIONS[api].to_chat(body)
        request = ChatRequest.from_body(chat_body)
    except CallerError as error:
        check_part_types(body)
        turns = (Turn("user", all_text(body)),)
        modalities, needs = modalities_of(body), needs_of(body)
        return ChatRequest(turns, modalities, needs, body=body, api=api, native_only=str(error))
    modalities, needs = request.modalities | modalities_of(body), needs_of(body)
    return msgspec.structs.replace(request, modalities=modalities, needs=needs, body=body, api=api)
