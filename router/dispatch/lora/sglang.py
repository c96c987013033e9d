"""SGLang: adapters are loaded by name and path, and a request names one in `lora_path`, or as `base:adapter`.

Its endpoints stand beside the API (`/load_lora_adapter`), need `--enable-lora`, and answer 400 with `success: false`.
Servers until 0.5 refuse an adapter beyond `--max-loaded-loras`; later ones unload the one used longest ago by
themselves. An adapter that was unloaded is loaded again, in the middle of a request, where a request names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from router.cards.schema import Card
from router.dispatch.call import Call
from router.dispatch.connection.urls import endpoint_url
from router.dispatch.lora.api import Activity, AdapterServerError, Problem
from router.dispatch.lora.http import Reply, failure, root_url, unexpected
from router.dispatch.lora.vllm import LoadingServer

_FIELD = "lora_path"
_PROBLEMS: Mapping[str, Problem] = {
    "already loaded": "exists",
    "already exists": "exists",
    "Maximum number of loaded LoRA adapters": "full",
    "when trying to evict": "full",
    "LoRA is not enabled": "unsupported",
    "does not exist. Loaded LoRAs": "missing",
}


class SglangApi(LoadingServer):
    """An SGLang server: that at which `card` is called."""

    async def activity(self) -> Activity | None:
        """Nothing: its metrics do not name adapters."""
        return None

    async def load(self, name: str, path: str, *, pinned: bool) -> None:
        """Load the adapter. `pinned`: into the memory of the GPU, unless all others would be locked out there."""
        reply = await self._post("load_lora_adapter", {"lora_name": name, "lora_path": path, "pinned": pinned})
        if pinned and "not allowed to pin all slots" in reply.words:
            reply = await self._post("load_lora_adapter", {"lora_name": name, "lora_path": path, "pinned": False})
        self._check(reply)

    async def unload(self, name: str) -> None:
        """Unload it. SGLang answers when the requests that use it have ended."""
        self._check(await self._post("unload_lora_adapter", {"lora_name": name}))

    async def _post(self, path: str, body: dict[str, Any]) -> Reply:
        url = root_url(endpoint_url(self._card, "models"), path)
        return await self._client.send(self._card, "POST", url, body)

    def _check(self, reply: Reply) -> None:
        stated = reply.body.get("success") if isinstance(reply.body, dict) else None
        if reply.succeeded and stated is not False:
            return
        raise self._error(reply, stated is not None)

    def _error(self, reply: Reply, is_own: bool) -> AdapterServerError:
        words = reply.words
        if not is_own:
            # Not an answer of these endpoints.
            if reply.status in (404, 405):
                return failure(self._card, "unsupported", f"HTTP {reply.status}: this SGLang loads no adapters")
            return unexpected(self._card, reply)
        problem: Problem = next((problem for part, problem in _PROBLEMS.items() if part in words), "refused")
        return failure(self._card, problem, words)


def name_of(card: Card) -> str:
    """The name of a card's adapter; its model may be stated as SGLang does, `base:adapter`."""
    return card.model.partition(":")[2] or card.model


def named(call: Call, card: Card) -> Call:
    """The call with the card's adapter alone, whatever the client named."""
    if card.kind == "model":
        if _FIELD not in call.body:
            return call
        return msgspec.structs.replace(
            call, body={field: value for field, value in call.body.items() if field != _FIELD}
        )
    return msgspec.structs.replace(call, body={**call.body, _FIELD: name_of(card)})


def lacks(name: str, status: int, words: str) -> bool:
    """Whether the answer to a request says that the adapter is not there."""
    return status >= 400 and name in words and ("are not loaded" in words or "has never been loaded" in words)
