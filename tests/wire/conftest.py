from collections.abc import Iterator

import pytest

from tests.wire.chats import ConversionGateway, conversion_server


@pytest.fixture(scope="module")
def one_server() -> Iterator[ConversionGateway]:
    with conversion_server() as server:
        yield server


@pytest.fixture
def gateway(one_server: ConversionGateway) -> ConversionGateway:
    """The conversion server, with its default answers."""
    fresh = ConversionGateway()
    one_server.chat, one_server.chunks, one_server.error = fresh.chat, fresh.chunks, fresh.error
    return one_server
