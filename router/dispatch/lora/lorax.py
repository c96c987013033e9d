"""LoRAX: a request names its adapter as the model, and the server loads it by itself.

There is no endpoint that lists, loads or unloads adapters. The model of a request is an adapter unless it is the id of
the base model; `adapter_source` says where the server finds it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from router.cards.schema import Card
from router.dispatch.call import Call
from router.dispatch.connection.urls import endpoint_url
from router.dispatch.lora.http import FixedServer, root_url, unexpected

# A client must not reach another adapter by these, nor the hub with another account.
_OF_ADAPTERS = frozenset({"adapter_id", "adapter_parameters", "adapter_source", "api_token"})


class LoraxApi(FixedServer):
    """A LoRAX server: that at which `card` is called."""

    reason = "LoRAX loads adapters by itself, when a request names one"

    async def list(self) -> None:
        """Nothing, since it has no list; raises where the server is not well."""
        url = root_url(endpoint_url(self._card, "models"), "health")
        reply = await self._client.send(self._card, "GET", url)
        if not reply.succeeded:
            raise unexpected(self._card, reply)


def name_of(card: Card) -> str:
    """What LoRAX calls a card's adapter: the path of its weights where the card states one, else the model's name."""
    return (card.lora.path if card.lora is not None else None) or card.model


def named(call: Call, card: Card) -> Call:
    """The call with the card's adapter alone, whatever the client named."""
    body: dict[str, Any] = {field: value for field, value in call.body.items() if field not in _OF_ADAPTERS}
    if card.kind == "model":
        return call if len(body) == len(call.body) else msgspec.structs.replace(call, body=body)
    name = name_of(card)
    if source := _source(name):
        body["adapter_source"] = source
    return msgspec.structs.replace(call, body=body, model=name)


def _source(name: str) -> str:
    """The source of an adapter whose name is a place; empty where it is a name, which the server's own source has."""
    if name.startswith("s3://"):
        return "s3"
    return "local" if name.startswith(("/", "./", "../")) else ""
