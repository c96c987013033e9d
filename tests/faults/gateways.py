"""Gateways in front of the fault upstream."""

from __future__ import annotations

from typing import Any

import msgspec

from router.cards import Card
from router.dispatch import Timeouts
from router.dispatch.bounds.retry_budget import RetryLimits
from router.gateway.config.gateway_yaml import GatewayConfig
from tests.faults.cells import Cell
from tests.faults.faults import REFUSED_CONNECTION, Protocol
from tests.gateway.servers import make_card, with_timeouts

KEY = "sk-upstream-secret-1234567890"
KEY_VARIABLE = "FAULT_UPSTREAM_KEY"


def short_timeouts(**seconds: float) -> GatewayConfig:
    """Timeouts that end a test soon, and are long enough for a slow but healthy response.

    Retries have no budget: hundreds of failing cells share one key, so that it would run out for some of them.
    """
    limits = {"connect_s": 4.0, "first_token_s": 4.0, "idle_s": 4.0, "total_s": 12.0, **seconds}
    ample = RetryLimits(share=10.0, least=1_000_000)
    return msgspec.structs.replace(with_timeouts(Timeouts(**limits)), retry_budget=ample)


def fault_card(name: str, url: str, fault: str, protocol: Protocol = "chat", **fields: Any) -> Card:
    """A card for the deployment `/name/` of the upstream at `url`, which has the fault `fault`."""
    fields = {"api_key_env": KEY_VARIABLE, "tags": (name,), **fields}
    if protocol == "messages":
        fields = {"provider": "anthropic", "apis": ("messages",), **fields}
    return make_card(name, f"{url}/{name}", fault, **fields)


def cell_cards(cell: Cell, url: str, refusing_url: str) -> list[Card]:
    """The candidates of a cell, tagged with its name; the failing one is the cheapest."""
    upstream_url = refusing_url if cell.fault.name == REFUSED_CONNECTION else url
    cards = [fault_card(f"{cell.name}.bad", upstream_url, cell.fault.name, cell.upstream, tags=(cell.name,), price=1.0)]
    if cell.healthy_left:
        cards.append(fault_card(f"{cell.name}.good", url, "ok", cell.upstream, tags=(cell.name,), price=2.0))
    return cards
