"""The synthetic trace of S-LoRA (arXiv:2311.03285): gamma arrivals, adapters by a power law, uniform lengths.

The gaps between requests are Gamma(1 / cv², cv² / rate) seconds. The adapter is floor(n · x), where x in [0, 1) has the
density α · x^(α - 1): α = 1 is uniform, with α = 0.1 the first of 2,000 adapters gets 47 % of all requests. Inputs and
outputs have 8 to 512 tokens.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

_SHORTEST, _LONGEST = 8, 512

LONGEST_TOKENS = 2 * _LONGEST
"""The most tokens of one request, input and output together."""


class Request(Struct, frozen=True):
    """A request of the trace: when it comes in seconds, its adapter and tenant, and its tokens."""

    number: int
    arrives_s: float
    adapter: str
    tenant: str
    input_tokens: int
    output_tokens: int

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


def trace(
    requests: int, rate: float, *, alpha: float, adapters: int = 2000, cv: float = 1.0, tenant: str = "", seed: int = 0
) -> list[Request]:
    """So many requests, `rate` a second."""
    draw = np.random.default_rng(seed)
    arrives_s = np.cumsum(draw.gamma(1 / cv**2, cv**2 / rate, requests)).tolist()
    numbers = (adapters * draw.power(alpha, requests)).astype(int).tolist()
    tokens = draw.integers(_SHORTEST, _LONGEST, (requests, 2), endpoint=True).tolist()
    rows = zip(arrives_s, numbers, tokens, strict=True)
    return [
        Request(place, time_s, f"adapter-{number}", tenant, *lengths)
        for place, (time_s, number, lengths) in enumerate(rows)
    ]


def merged(*traces: list[Request]) -> list[Request]:
    """The requests of several traces in the order of their arrival."""
    every = sorted((request for each in traces for request in each), key=lambda request: request.arrives_s)
    return [
        Request(place, each.arrives_s, each.adapter, each.tenant, each.input_tokens, each.output_tokens)
        for place, each in enumerate(every)
    ]
