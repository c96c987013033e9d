"""The HTTP clients that litellm keeps, one for each provider and event loop, with their connections."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from typing import Any

_LOOPS: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


def forget_clients_of_earlier_loops(litellm: Any) -> None:
    """Have litellm make new clients where this event loop is new.

    It knows loops by their addresses in memory, and that of a loop may be the address of an earlier one.
    """
    loop = asyncio.get_running_loop()
    if loop not in _LOOPS:
        _LOOPS.add(loop)
        _forgotten(litellm)
    if not isinstance(vars(litellm).get("module_level_aclient"), _ClientOfLoop):
        litellm.module_level_aclient = _ClientOfLoop()


class _ClientOfLoop:
    """The client that litellm uses for streams of some providers: one for each loop, instead of one for all."""

    def __getattr__(self, name: str) -> Any:
        from litellm.llms.custom_httpx.http_handler import get_async_httpx_client

        client = get_async_httpx_client("litellm_module_level_client", {"client_alias": "module level aclient"})
        return getattr(client, name)


async def close_clients(litellm: Any) -> None:
    """Close the clients of this event loop."""
    for client in _forgotten(litellm):
        await client.close()


def _forgotten(litellm: Any) -> list[Any]:
    """The clients of this event loop that can be closed; litellm keeps none of the loop's clients any more."""
    kept = litellm.in_memory_llm_clients_cache
    of_loop = kept.update_cache_key_with_event_loop("")
    names = [name for name in kept.cache_dict if name.endswith(of_loop)]
    clients = [kept.cache_dict[name] for name in names]
    for name in names:
        kept.delete_cache(name)
    return [client for client in clients if inspect.iscoroutinefunction(getattr(client, "close", None))]


def without_logs(logging: type) -> None:
    """Leave out what litellm's class for its logs prepares after each call, about a seventh of the CPU time of a call.

    No log is ever sent: litellm's callbacks are not among the gateway's settings. Only the bodies are left out, since
    the methods around them restore the context. Releases without them log as before.
    """

    def log(_self: Any, *_: Any, **__: Any) -> None:
        """Do nothing."""

    async def log_in_loop(_self: Any, *_: Any, **__: Any) -> None:
        """Do nothing."""

    for event in ("success", "failure"):
        setattr(logging, f"_{event}_handler_body", log)
        setattr(logging, f"_async_{event}_handler_body", log_in_loop)
