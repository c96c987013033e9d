from collections.abc import Iterator

import pytest

from tests.wire.chats import Converting, converting_server


@pytest.fixture(scope="module")
def one_server() -> Iterator[Converting]:
    with converting_server() as server:
        yield server


@pytest.fixture
def gateway(one_server: Converting) -> Converting:
    """A server that converts, its answers as they are by default."""
    fresh = Converting()
    one_server.chat, one_server.chunks, one_server.refusal = fresh.chat, fresh.chunks, fresh.refusal
    return one_server
