from collections.abc import Iterator

import pytest

from tests.gateway.servers import Upstream, upstream_server


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-gateway-secret")
    with upstream_server() as server:
        yield server
