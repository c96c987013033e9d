"""A base with adapters on scripted servers, as cards and as a router."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from router.cards import Card, Catalog
from router.cards.adapter.facts import Lora
from router.cards.adapter.serving import AdapterServer
from router.cards.price import Price
from router.cards.servers import Place
from router.decide.policy import Policies, Policy
from router.formats.quantities import Dollars, Seconds
from router.gateway.app import make_app
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from router.pipeline import Router
from tests.dispatch.lora.scripted import BASE
from tests.gateway.servers import IndifferentPredictor, make_gateway, served


def make_cards(
    urls: Iterable[str],
    adapters: Iterable[str] = ("a", "b", "c"),
    *,
    server: str = "vllm",
    slots: int = 2,
    pinned: tuple[str, ...] = (),
    load_timeout_s: float = 5.0,
    facts: dict[str, dict[str, Any]] | None = None,
    **of_base: Any,
) -> list[Card]:
    """The base's card `base`, and cards of adapters whose weights are at /adapters/NAME; `facts` are more of theirs."""
    places = tuple(Place(f"{url}/v1") for url in urls)
    settings = AdapterServer(server, slots, Seconds(load_timeout_s), pinned=pinned)  # type: ignore[arg-type]
    price = Price(Dollars(2.0), Dollars(2.0))
    base = Card("base", "hosted_vllm", BASE, adapters=settings, deployments=places, **{"price": price, **of_base})
    cheaper = Price(Dollars(1.0), Dollars(1.0))
    stated: dict[str, Any] = {"kind": "adapter", "base": "base", "price": cheaper}
    return [
        base,
        *(
            Card(
                name,
                "hosted_vllm",
                name,
                **{**stated, "lora": Lora(path=f"/adapters/{name}"), **(facts or {}).get(name, {})},
            )
            for name in adapters
        ),
    ]


def router_of(cards: list[Card]) -> Router:
    """A router that prefers what is cheap, and falls back."""
    policy = Policy(id="default", description="d", goals={"cheapest": 1.0}, fallbacks=3, headers="on")
    return Router(Catalog(cards), Policies([policy]), IndifferentPredictor())


@contextlib.contextmanager
def gateway_here(cards: list[Card], keys: Iterable[str] = (), config: GatewayConfig = GatewayConfig()) -> Iterator[str]:  # noqa: B008 - frozen
    """A gateway in this process; the value is its URL. The key `ops` is `pv-ops`, and so on."""
    known = Keys([Key(id=name, hash=hash_of(f"pv-{name}")) for name in keys])
    with served(make_app(make_gateway(router_of(cards), config, known))) as url:
        yield url
