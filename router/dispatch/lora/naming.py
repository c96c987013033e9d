"""How a request names its adapter, by what the card says of its server."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct

from router.cards.adapter.serving import LLAMA_CPP
from router.cards.schema import Card
from router.dispatch.call import Call
from router.dispatch.lora import llama_cpp, lorax, sglang, vllm
from router.dispatch.lora.api import AdapterApi
from router.dispatch.lora.http import ServerClient


class Naming(Struct, frozen=True):
    """One kind of server. `named`: a call with the adapter of a card; `name_of`: what the server calls that adapter;
    `lacks`: whether an error answer (status and words) says that the adapter of this name is not there.
    """

    api: Callable[[ServerClient, Card], AdapterApi]
    name_of: Callable[[Card], str] = lambda card: card.model
    named: Callable[[Call, Card], Call] = lambda call, _: call
    lacks: Callable[[str, int, str], bool] = lambda *_: False


_BY_SERVER: Mapping[str, Naming] = {
    "vllm": Naming(vllm.VllmApi, lacks=vllm.lacks),
    "sglang": Naming(sglang.SglangApi, sglang.name_of, sglang.named, sglang.lacks),
    "lorax": Naming(lorax.LoraxApi, lorax.name_of, lorax.named),
    LLAMA_CPP: Naming(llama_cpp.LlamaCppApi, llama_cpp.name_of, llama_cpp.named),
}
# What clients can name adapters by, at one of these servers or in front of it.
_OF_CLIENTS = (
    "adapter_id",
    "adapter_parameters",
    "adapter_source",
    "api_token",
    "lora",
    "lora_id",
    "lora_name",
    "lora_path",
    "lora_request",
)


def naming_of(card: Card) -> Naming | None:
    """How adapters are named at the card's server; None where its card says nothing of adapters."""
    if card.adapters is not None:
        return _BY_SERVER[card.adapters.server]
    return _BY_SERVER[LLAMA_CPP] if card.lora_slots is not None else None


def named_in(call: Call, card: Card) -> Call:
    """The call as the card's server needs it to use the adapter of this card, or none: whatever the client named."""
    naming = naming_of(card)
    return call if naming is None else naming.named(call, card)


def without_adapters(call: Call, card: Card) -> tuple[Call, tuple[str, ...]]:
    """The call without the fields by which a client names weights itself, and these fields, where the gateway chooses
    the adapters of the card's server: others' could be read that way, or files that no card names.
    """
    if naming_of(card) is None:
        return call, ()
    stated = tuple(field for field in _OF_CLIENTS if field in call.body)
    if not stated:
        return call, ()
    body, chat_body = (
        None if each is None else {field: value for field, value in each.items() if field not in _OF_CLIENTS}
        for each in (call.body, call.chat_body)
    )
    return msgspec.structs.replace(call, body=body, chat_body=chat_body), stated


def is_lost(card: Card, status: int, words: str) -> bool:
    """Whether an error answer says that the server does not have the card's adapter, such as after a restart."""
    naming = naming_of(card)
    return naming is not None and card.kind == "adapter" and naming.lacks(naming.name_of(card), status, words)
