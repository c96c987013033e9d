"""How a request names its adapter, by what the card says of its server."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


def naming_of(card: Card) -> Naming | None:
    """How adapters are named at the card's server; None where its card says nothing of adapters."""
    if card.adapters is not None:
        return _BY_SERVER[card.adapters.server]
    return _BY_SERVER[LLAMA_CPP] if card.lora_slots is not None else None


def named_in(call: Call, card: Card) -> Call:
    """The call as the card's server needs it to use the adapter of this card, or none: whatever the client named."""
    naming = naming_of(card)
    return call if naming is None else naming.named(call, card)


def is_lost(card: Card, status: int, words: str) -> bool:
    """Whether an error answer says that the server does not have the card's adapter, such as after a restart."""
    naming = naming_of(card)
    return naming is not None and card.kind == "adapter" and naming.lacks(naming.name_of(card), status, words)
