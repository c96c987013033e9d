from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from router.dispatch.connection.litellm_clients import close_clients, forget_clients_of_earlier_loops


class Client:
    closed = False

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def litellm() -> Any:
    handler = pytest.importorskip("litellm.caching.llm_caching_handler")
    return SimpleNamespace(in_memory_llm_clients_cache=handler.LLMClientCache())


def kept(litellm: Any) -> Client:
    """A client that litellm keeps for the running loop."""
    client = Client()
    litellm.in_memory_llm_clients_cache.set_cache("anthropic", client)
    return client


def test_only_the_clients_of_the_running_loop_are_closed(litellm: Any) -> None:
    other_loop = asyncio.new_event_loop()

    async def keep() -> Client:
        return kept(litellm)

    async def close_own() -> Client:
        own = kept(litellm)
        await close_clients(litellm)
        return own

    other = other_loop.run_until_complete(keep())
    assert asyncio.run(close_own()).closed
    assert not other.closed
    assert list(litellm.in_memory_llm_clients_cache.cache_dict.values()) == [other]
    other_loop.close()


def test_a_new_loop_gets_no_client_of_an_earlier_one_with_the_same_address(litellm: Any) -> None:
    async def begin() -> object:
        kept(litellm)
        forget_clients_of_earlier_loops(litellm)
        forgotten = litellm.in_memory_llm_clients_cache.get_cache("anthropic")
        own = kept(litellm)
        forget_clients_of_earlier_loops(litellm)
        assert litellm.in_memory_llm_clients_cache.get_cache("anthropic") is own
        return forgotten

    assert asyncio.run(begin()) is None
