"""How many uses find their adapter loaded in one cache of `slots`, for a fixed order of uses and any server at once."""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Sequence


def lru_hits(uses: Sequence[str], slots: int) -> int:
    """The least recently used goes."""
    return _hits(uses, slots, renews=True)


def fifo_hits(uses: Sequence[str], slots: int) -> int:
    """The first loaded goes."""
    return _hits(uses, slots, renews=False)


def _hits(uses: Sequence[str], slots: int, *, renews: bool) -> int:
    held: OrderedDict[str, None] = OrderedDict()
    hits = 0
    for adapter in uses:
        if adapter in held:
            hits += 1
            if renews:
                held.move_to_end(adapter)
            continue
        if len(held) == slots:
            held.popitem(last=False)
        held[adapter] = None
    return hits


def belady_hits(uses: Sequence[str], slots: int) -> int:
    """The one whose next use is farthest goes, which needs the whole future: no order of evictions has more hits."""
    places: dict[str, deque[int]] = {}
    for place, adapter in enumerate(uses):
        places.setdefault(adapter, deque()).append(place)
    held: dict[str, float] = {}
    farthest: list[tuple[float, str]] = []
    hits = 0
    for adapter in uses:
        own = places[adapter]
        own.popleft()
        next_use = own[0] if own else float("inf")
        if adapter in held:
            hits += 1
        elif len(held) == slots:
            # Entries of the heap that are no longer true are dropped when they come up.
            while held.get((candidate := heapq.heappop(farthest))[1]) != -candidate[0]:
                pass
            del held[candidate[1]]
        held[adapter] = next_use
        heapq.heappush(farthest, (-next_use, adapter))
    return hits
