"""The cost of each call in a data set: as recorded, or estimated from list prices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from router.errors import FileError
from router.learn.data.routing_set import ASSUMED_OUTPUT_TOKENS, RoutingSet
from router.perceive.text.encoder import Encoder
from router.types import Doubles

NO_COSTS = "no costs: the set records none and no --prices were given"


class Price(Struct, frozen=True):
    """USD per million tokens."""

    input_usd: float
    output_usd: float


class _Entry(Struct):
    usd_per_m_input: float | None = None
    usd_per_m_output: float | None = None
    aliases: list[str] = []


def read_prices(file: Path) -> dict[str, Price]:
    """Read `{"name": {"usd_per_m_input": 0.15, "usd_per_m_output": 0.6, "aliases": ["other name"]}}`.

    Returns the prices by name and alias, without entries that do not state both prices. Raises FileError.
    """
    try:
        document = msgspec.json.decode(file.read_bytes(), type=dict[str, _Entry])
    except OSError as error:
        raise FileError(str(file), None, f"cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        expected = 'expected {"name": {"usd_per_m_input": 0.15, "usd_per_m_output": 0.6}, …}'
        raise FileError(str(file), None, f"{expected}: {error}") from None
    prices: dict[str, Price] = {}
    for name, entry in document.items():
        if entry.usd_per_m_input is None or entry.usd_per_m_output is None:
            continue
        if not (0 <= entry.usd_per_m_input < np.inf and 0 <= entry.usd_per_m_output < np.inf):
            raise FileError(str(file), None, f"{name}: a price is below 0")
        for alias in (name, *entry.aliases):
            prices[alias] = Price(entry.usd_per_m_input, entry.usd_per_m_output)
    return prices


def costs_of(data: RoutingSet, encoder: Encoder, prices: Mapping[str, Price] | None) -> tuple[Doubles | None, str]:
    """USD per call `(prompts, models)`, NaN where unknown, and a description of the source. None without any costs.

    With list prices, a call is charged for the prompt's tokens (as `encoder` counts them) and the recorded length of
    the answer; where the set has no lengths, all answers are assumed to be equally long.
    """
    if data.cost_usd is not None and np.isfinite(data.cost_usd).any():
        return np.asarray(data.cost_usd, dtype=np.float64), "recorded with the set"
    if prices is None:
        return None, NO_COSTS
    unknown = Price(np.nan, np.nan)
    price_of = [prices.get(model, unknown) for model in data.models]
    priced = sum(price is not unknown for price in price_of)
    if not priced:
        return None, "no costs: --prices has none of the models"
    input_tokens = np.array([encoder.count_tokens(prompt.turns[-1]) for prompt in data.prompts], dtype=np.float64)
    output_tokens, source = data.output_tokens, "recorded lengths"
    if output_tokens is None or not np.isfinite(output_tokens).any():
        output_tokens = np.full(data.scores.shape, ASSUMED_OUTPUT_TOKENS, dtype=np.float32)
        source = f"{ASSUMED_OUTPUT_TOKENS} tokens an answer, as the set has no lengths"
    input_usd = np.array([price.input_usd for price in price_of]) / 1e6
    output_usd = np.array([price.output_usd for price in price_of]) / 1e6
    cost = input_tokens[:, None] * input_usd + output_tokens.astype(np.float64) * output_usd
    return cost, f"list prices of {priced} of {len(price_of)} models × {source}"
