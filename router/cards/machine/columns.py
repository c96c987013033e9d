"""What the shapes and machines of all cards come to, as arrays with one entry per card."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from router.cards.machine.facts import Hardware
from router.cards.schema import Card

_REFERENCE = Hardware(name="h100")
_BYTES_PER_WEIGHT = 2.0


class Machines(Struct, frozen=True, eq=False):
    """Arrays of shape `(cards,)` in the order of the catalogue; NaN where a card states neither shape nor size.

    `active_parameters` are those that one token uses and `read_bytes` what they take; `weight_bytes` all weights take.
    Both contain those of an adapter. `kv_bytes` are for one token of context, `state_bytes` for a sequence, and
    `attention_flops` for a prompt, divided by the square of its tokens; they are 0 where the card states no shape.

    `memory_bytes` is NaN where the card states no hardware. The other figures are then those of a reference machine
    (one H100).
    """

    active_parameters: NDArray[np.float64]
    read_bytes: NDArray[np.float64]
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
    columns = np.array(rows, dtype=np.float64).reshape(len(cards), 10).T.copy()
    names = Machines.__struct_fields__[:10]
    has_shape = np.array([card.arch is not None for card in cards], dtype=np.bool_)
    return Machines(**dict(zip(names, columns, strict=True)), has_shape=has_shape)


def _model(card: Card) -> tuple[float, ...]:
    adapter = float(card.lora.bytes or 0) if card.lora is not None else 0.0
    of_adapter = adapter / _BYTES_PER_WEIGHT
    if (arch := card.arch) is not None:
        active = arch.parameters.active
        read = active * arch.bits / 8
        attention = arch.kv_bytes_per_token, float(arch.state_bytes), arch.attention_flops
        return active + of_adapter, read + adapter, arch.weight_bytes + adapter, *attention
    active = card.size.active if card.size else np.nan
    total = card.size.total if card.size else np.nan
    read, weights = active * _BYTES_PER_WEIGHT, total * _BYTES_PER_WEIGHT
    return active + of_adapter, read + adapter, weights + adapter, 0.0, 0.0, 0.0


def _machine(hardware: Hardware | None) -> tuple[float, ...]:
    known = hardware or _REFERENCE
    memory = np.nan if hardware is None else hardware.memory_bytes
    return known.flops, known.bytes_per_s, known.offload_bytes_per_s, memory
