"""llama.cpp: a server has the adapters of its `--lora` options from its start; a request states the scale of each.

The scales of a request are those that it states, and 0 for all others; but the server takes up what it has cached of a
prompt whatever adapter it was computed with: what its slot has, unless the request states the scale of every adapter,
and what it has saved of other slots in any case. So every request, of the base too, states all scales, and nothing
cached is used. An id is the position of the option.
"""

from __future__ import annotations

from typing import Any

import msgspec

from router.cards.schema import Card
from router.dispatch.call import Call
from router.dispatch.connection.urls import endpoint_url
from router.dispatch.lora.api import Held, Listed
from router.dispatch.lora.http import FixedServer, failure, root_url, unexpected


class LlamaCppApi(FixedServer):
    """A llama.cpp server: that at which `card` is called."""

    reason = "llama.cpp has the adapters of its --lora options from its start, and loads no others"

    async def list(self) -> Listed:
        """The adapters in the order of their ids, named by the cards in the base's `lora_slots`.

        Raises `refused` where the server has another number of adapters than the card: a request that left one out
        would be answered from the cache of another adapter.
        """
        reply = await self._client.send(
            self._card, "GET", root_url(endpoint_url(self._card, "models"), "lora-adapters")
        )
        if not reply.succeeded or not isinstance(reply.body, list):
            raise unexpected(self._card, reply)
        names, paths = self._card.lora_slots or (), [_path(entry) for entry in reply.body]
        if len(paths) != len(names):
            raise failure(
                self._card,
                "refused",
                f"the server has {len(paths)} adapters and `lora_slots` names {len(names)}; both must be the same, in "
                "the order of --lora",
            )
        return Listed(tuple(Held(name, path) for name, path in zip(names, paths, strict=True)))


def name_of(card: Card) -> str:
    """The name of a card's adapter in `lora_slots`."""
    return card.id


def named(call: Call, card: Card) -> Call:
    """The call with the scale of each adapter: 1 for those of the card, 0 for the others; nothing cached is used."""
    slots = card.lora_slots or ()
    scales = [{"id": slot, "scale": float(name in card.applied)} for slot, name in enumerate(slots)]
    return msgspec.structs.replace(call, body={**call.body, "lora": scales, "cache_prompt": False})


def _path(entry: Any) -> str:
    path = entry.get("path") if isinstance(entry, dict) else None
    return path if isinstance(path, str) else ""
