from collections.abc import Iterator

import pytest

from tests.compose.run.servers import Script, script_server


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-gateway-secret")
    with script_server() as server:
        yield server
