from collections.abc import Iterator

import httpx
import pytest

from tests.gateway.servers import Upstream, gateway_server, make_card, upstream_server


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-gateway-secret")
    with upstream_server() as server:
        yield server


@pytest.fixture
def gateway(upstream: Upstream) -> Iterator[httpx.Client]:
    """A gateway whose cheapest card fails, with a more expensive one that works, and one for every behaviour."""
    cards = [
        make_card("cheap", upstream.url, "status-503", price=1.0),
        make_card("dear", upstream.url, "ok", price=2.0, aliases=("vendor/dear",), tags=("beta",)),
        *(
            make_card(model, upstream.url, model, price=3.0)
            for model in ("cut", "mid-event", "no-done", "empty", "breaks-at-once", "quiet", "hang")
        ),
        *(make_card(f"status-{code}", upstream.url, f"status-{code}", price=4.0) for code in (400, 401, 404, 429)),
    ]
    with gateway_server(*cards) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client
