"""What each call cost: as recorded, or from list prices where the caller gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from router.errors import FileError
from router.learn.data.routing_set import RoutingSet
from router.learn.training.train import ASSUMED_OUTPUT_TOKENS
from router.perceive.encoder import Encoder
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
    """`{"name": {"usd_per_m_input": 0.15, "usd_per_m_output": 0.6, "aliases": ["other name"]}}` by name and alias.

    Entries without both prices are left out. Raises FileError.
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
    """USD a call `(prompts, models)`, NaN where unknown, and in words where it is from; None where nothing is known.

    With list prices a call costs the prompt's tokens (as `encoder` counts them) and the recorded length of the
    answer; where the set has no lengths, every answer is taken to be equally long.
    """
    if data.cost_usd is not None and np.isfinite(data.cost_usd).any():
        return np.asarray(data.cost_usd, dtype=np.float64), "recorded with the set"
    if prices is None:
        return None, NO_COSTS
    unknown = Price(np.nan, np.nan)
    known = [prices.get(model, unknown) for model in data.models]
    priced = sum(price is not unknown for price in known)
    if not priced:
        return None, "no costs: --prices has none of the models"
    incoming = np.array([encoder.count_tokens(prompt.turns[-1]) for prompt in data.prompts], dtype=np.float64)
    lengths, words = data.output_tokens, "recorded lengths"
    if lengths is None or not np.isfinite(lengths).any():
        lengths = np.full(data.scores.shape, ASSUMED_OUTPUT_TOKENS, dtype=np.float32)
        words = f"{ASSUMED_OUTPUT_TOKENS} tokens an answer, as the set has no lengths"
    per_input = np.array([price.input_usd for price in known]) / 1e6
    per_output = np.array([price.output_usd for price in known]) / 1e6
    cost = incoming[:, None] * per_input + lengths.astype(np.float64) * per_output
    return cost, f"list prices of {priced} of {len(known)} models × {words}"
