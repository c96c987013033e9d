"""Gateways in front of the fault upstream."""

from __future__ import annotations

from typing import Any

from router.cards import Card
from router.dispatch import Timeouts
from router.gateway.config.gateway_yaml import GatewayConfig
from tests.faults.cells import Cell
from tests.faults.faults import REFUSES, Protocol
from tests.gateway.servers import make_card, with_timeouts

KEY = "sk-upstream-secret-1234567890"
KEY_VARIABLE = "FAULT_UPSTREAM_KEY"


def short_timeouts(**seconds: float) -> GatewayConfig:
    """Settings whose timeouts end a test soon, and that a dripping answer keeps."""
    limits = {"connect_s": 0.5, "first_token_s": 1.5, "idle_s": 1.5, "total_s": 5.0, **seconds}
    return with_timeouts(Timeouts(**limits))


def fault_card(name: str, url: str, fault: str, protocol: Protocol = "chat", **facts: Any) -> Card:
    """A card of the deployment `/name/` of the upstream at `url`, which does as `fault` says."""
    facts = {"api_key_env": KEY_VARIABLE, "tags": (name,), **facts}
    if protocol == "messages":
        facts = {"provider": "anthropic", "apis": ("messages",), **facts}
    return make_card(name, f"{url}/{name}", fault, **facts)


def cell_cards(cell: Cell, url: str, refusing_url: str) -> list[Card]:
    """The candidates of a cell, which its name as a tag finds: the one that fails is the cheapest."""
    place = refusing_url if cell.fault.name == REFUSES else url
    cards = [fault_card(f"{cell.name}.bad", place, cell.fault.name, cell.upstream, tags=(cell.name,), price=1.0)]
    if cell.healthy_left:
        cards.append(fault_card(f"{cell.name}.good", url, "ok", cell.upstream, tags=(cell.name,), price=2.0))
    return cards
