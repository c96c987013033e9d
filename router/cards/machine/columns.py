"""What the shapes and machines of all cards come to, as arrays with one entry per card."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from router.cards.machine.facts import GIB, Hardware
from router.cards.schema import Card

# An H100 whose bandwidth is counted in powers of ten: forecasts of cards without hardware stay as they were learned.
_REFERENCE = Hardware(name="h100", gb_per_s=3400 * 1e9 / GIB, offload_gb_per_s=128 * 1e9 / GIB)
_BYTES_PER_WEIGHT = 2.0


class Machines(Struct, frozen=True, eq=False):
    """Arrays of shape `(cards,)` in the order of the catalogue; NaN where a card states neither shape nor size.

    `active_parameters` are those of the layers that one token uses, `read_bytes` what they and the output embedding
    take, `prompt_bytes` what a long prompt reads, which uses all experts, and `weight_bytes` what all weights take. All
    contain those of an adapter. `kv_bytes` are for one token of context, `state_bytes` for a sequence, and
    `attention_flops` for a prompt, divided by the square of its tokens; they are 0 where the card states no shape.

    `memory_bytes` is NaN where the card states no hardware. The other figures are then those of a reference machine
    (one H100).
    """

    active_parameters: NDArray[np.float64]
    read_bytes: NDArray[np.float64]
    prompt_bytes: NDArray[np.float64]
    weight_bytes: NDArray[np.float64]
    kv_bytes: NDArray[np.float64]
    state_bytes: NDArray[np.float64]
    attention_flops: NDArray[np.float64]
    flops: NDArray[np.float64]
    bytes_per_s: NDArray[np.float64]
    offload_bytes_per_s: NDArray[np.float64]
    memory_bytes: NDArray[np.float64]
    has_shape: NDArray[np.bool_]


def machines_of(cards: Sequence[Card]) -> Machines:
    """The machines of `cards`, in the order of `cards`."""
    rows = [(*_model(card), *_machine(card.hardware)) for card in cards]
    columns = np.array(rows, dtype=np.float64).reshape(len(cards), 11).T.copy()
    names = Machines.__struct_fields__[:11]
    has_shape = np.array([card.arch is not None for card in cards], dtype=np.bool_)
    return Machines(**dict(zip(names, columns, strict=True)), has_shape=has_shape)


def _model(card: Card) -> tuple[float, ...]:
    adapter = float(card.lora.bytes or 0) if card.lora is not None else 0.0
    of_adapter = adapter / _BYTES_PER_WEIGHT
    if (arch := card.arch) is not None:
        active = arch.parameters.active
        read = active * arch.bits / 8 + arch.head_bytes
        attention = arch.kv_bytes_per_token, float(arch.state_bytes), arch.attention_flops
        of_prompt = arch.parameters.total * arch.bits / 8 + arch.head_bytes
        return active + of_adapter, read + adapter, of_prompt + adapter, arch.weight_bytes + adapter, *attention
    active = card.size.active if card.size else np.nan
    total = card.size.total if card.size else np.nan
    read, weights = active * _BYTES_PER_WEIGHT, total * _BYTES_PER_WEIGHT
    return active + of_adapter, read + adapter, read + adapter, weights + adapter, 0.0, 0.0, 0.0


def _machine(hardware: Hardware | None) -> tuple[float, ...]:
    known = hardware or _REFERENCE
    memory = np.nan if hardware is None else hardware.memory_bytes
    return known.flops, known.bytes_per_s, known.offload_bytes_per_s, memory
