import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from router.cards import Card
from router.cards.catalog import Catalog
from router.decide.policy import Policies, Policy
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from router.gateway.config.reload import ActiveConfig
from router.gateway.telemetry.metrics import Metrics
from router.loading import load_predictor
from router.perceive.predictor import Predictor
from router.pipeline import Router
from router.store.records.snapshots import catalogue_snapshot
from tests.gateway.servers import make_card


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return load_predictor()


def active_with(
    predictor: Predictor,
    url: str = "http://127.0.0.1:9",
    learning: str = "apply",
    more_cards: Sequence[Card] = (),
    **policy: object,
) -> ActiveConfig:
    """A strong and a weaker card, of which a policy that wants quality alone chooses the strong one."""
    prices, facts = {"claude-opus-4-5": 2.0, "gpt-4o-mini": 1.0}, {"capabilities": ("json_schema",)}
    cards = [*(make_card(name, url, price=price, **facts) for name, price in prices.items()), *more_cards]
    policies = [
        Policy(id="default", description="Quality alone.", fallbacks=1, headers="on", learning=learning, **policy)
    ]
    router = Router(Catalog(cards), Policies(policies), predictor)
    keys = Keys([Key(id=name, hash=hash_of(name)) for name in ("ann", "bob", "eve")])
    return ActiveConfig(router, catalogue_snapshot(router.catalog, {}), GatewayConfig(), keys, 1, "fixed", 0.0)


NOWHERE = Path("/dev/null")


def exposed(metrics: Metrics) -> str:
    """What `/metrics` would answer."""
    return asyncio.run(metrics.exposition())[1].decode()
