"""What keys with a daily budget have spent today."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from msgspec import Struct

from router.gateway.config.keys import Key
from router.store.state.protocol import StateStore

MOST = 100


class Budget(Struct, frozen=True):
    """What a key may spend on a day (UTC), and what it has spent today, in US dollars."""

    key: str
    budget_usd: float
    spent_usd: float


async def budgets(state: StateStore, keys: Iterable[Key], now_s: float) -> list[Budget]:
    """The budgets of these keys that have spent something today, the fullest first. Raises StateError."""
    limited = [(key.id, float(key.budget_usd_per_day)) for key in keys if key.budget_usd_per_day is not None]
    spent = await asyncio.gather(*(state.spent_usd(key, now_s) for key, _ in limited))
    found = [Budget(key, usd, used) for (key, usd), used in zip(limited, spent, strict=True) if used > 0]
    return sorted(found, key=lambda each: -each.spent_usd / each.budget_usd if each.budget_usd else float("-inf"))
