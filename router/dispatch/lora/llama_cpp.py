"""llama.cpp: a server has the adapters of its `--lora` options from its start; a request states the scale of each.

The scales of a request are those that it states, and 0 for all others; but the server takes up what it has cached of a
prompt without regard to a list that leaves some out. So every request, of the base too, states the scale of every
adapter. An id is the position of the option.
"""

from __future__ import annotations

import posixpath
from typing import Any

import msgspec

from router.cards.schema import Card
from router.dispatch.call import Call
from router.dispatch.connection.urls import endpoint_url
from router.dispatch.lora.api import Activity, AdapterServerError, Held, Listed
from router.dispatch.lora.http import ServerClient, failure, root_url, unexpected

_FIXED = "llama.cpp has the adapters of its --lora options from its start, and loads no others"


class LlamaCppApi:
    """A llama.cpp server: that at which `card` is called."""

    loads = False

    def __init__(self, client: ServerClient, card: Card) -> None:
        self._client, self._card = client, card

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

    async def activity(self) -> Activity | None:
        """Nothing."""
        return None

    async def load(self, name: str, path: str, *, pinned: bool) -> None:
        """It cannot be asked to."""
        raise self._unsupported()

    async def unload(self, name: str) -> None:
        """It cannot be asked to."""
        raise self._unsupported()

    def _unsupported(self) -> AdapterServerError:
        return failure(self._card, "unsupported", _FIXED)


def name_of(card: Card) -> str:
    """The name of a card's adapter in `lora_slots`."""
    return card.id


def named(call: Call, card: Card) -> Call:
    """The call with the scale of each adapter: 1 for that of the card, 0 for the others."""
    slots = card.lora_slots or ()
    scales = [{"id": slot, "scale": float(name == card.id)} for slot, name in enumerate(slots)]
    return msgspec.structs.replace(call, body={**call.body, "lora": scales})


def is_at(path: str, stated: str) -> bool:
    """Whether a path that the server lists may be that of a card: the files have the same name."""
    return not stated or not path or posixpath.basename(path) == posixpath.basename(stated)


def _path(entry: Any) -> str:
    path = entry.get("path") if isinstance(entry, dict) else None
    return path if isinstance(path, str) else ""
