"""What a card states about the shape of its model (`arch`) and about the machine it runs on (`hardware`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from router.errors import did_you_mean
from router.formats.quantities import ByteCount, Size

GIB = 2**30
"""The bytes of a GB, of memory as well as of bandwidth, as GenZ counts them."""
Count = Annotated[int, Meta(gt=0)]


class Accelerator(NamedTuple):
    """The peak arithmetic of dense 16-bit matrices, the memory, and the bandwidth of that memory."""

    tflops: float
    memory_gib: float
    gb_per_s: float


ACCELERATORS: Mapping[str, Accelerator] = {
    "t4": Accelerator(65, 16, 320),
    "l4": Accelerator(121, 24, 300),
    "a10": Accelerator(125, 24, 600),
    "rtx-4090": Accelerator(165, 24, 1008),
    "l40s": Accelerator(362, 48, 864),
    "a100-40": Accelerator(312, 40, 1600),
    "a100-80": Accelerator(312, 80, 2039),
    "h100": Accelerator(989, 80, 3400),
    "h200": Accelerator(989, 141, 4800),
    "mi300x": Accelerator(1307, 192, 5300),
    "tpu-v5e": Accelerator(197, 16, 820),
}
"""Accelerators by name, with the makers' figures; those of a card take precedence."""

OFFLOAD_GB_PER_S = 128.0
"""The usual bandwidth to the memory of the host, which holds what does not fit."""


class Hardware(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The machine of a card: an accelerator by name, or its figures, and how many of them share the model.

    `tflops` of 16-bit matrices, `gb_per_s` of the accelerator's memory, `offload_gb_per_s` to that of the host.
    `efficiency` is the share of these that the server reaches.
    """

    name: Annotated[str, Meta(description="h100, a100-80, l4 …; else state tflops, memory and gb_per_s.")] | None = None
    count: Count = 1
    tflops: Annotated[float, Meta(gt=0)] | None = None
    memory: ByteCount | None = None
    gb_per_s: Annotated[float, Meta(gt=0)] | None = None
    offload_gb_per_s: Annotated[float, Meta(gt=0)] | None = None
    efficiency: Annotated[float, Meta(gt=0, le=1, description="Share of the peak that the server reaches.")] = 1.0

    def __post_init__(self) -> None:
        if self.name is not None and self.name.lower() not in ACCELERATORS:
            hint = did_you_mean(self.name.lower(), ACCELERATORS) or f"; known: {', '.join(ACCELERATORS)}."
            raise ValueError(f'there is no accelerator "{self.name}"{hint} Or state tflops, memory and gb_per_s')
        missing = [key for key in ("tflops", "memory", "gb_per_s") if getattr(self, key) is None]
        if self.name is None and missing:
            raise ValueError(f"without the name of an accelerator, {', '.join(missing)} must be stated")

    @property
    def flops(self) -> float:
        """Operations per second of all accelerators, at the efficiency."""
        stated = self.tflops if self.tflops is not None else self._known.tflops
        return stated * 1e12 * self.count * self.efficiency

    @property
    def memory_bytes(self) -> float:
        """The memory of all accelerators."""
        stated = self.memory if self.memory is not None else self._known.memory_gib * GIB
        return float(stated) * self.count

    @property
    def bytes_per_s(self) -> float:
        """The bandwidth of the memory of all accelerators, at the efficiency."""
        stated = self.gb_per_s if self.gb_per_s is not None else self._known.gb_per_s
        return stated * GIB * self.count * self.efficiency

    @property
    def offload_bytes_per_s(self) -> float:
        """The bandwidth to the memory of the host, at the efficiency."""
        return (self.offload_gb_per_s or OFFLOAD_GB_PER_S) * GIB * self.efficiency

    @property
    def _known(self) -> Accelerator:
        return ACCELERATORS[(self.name or "").lower()]


class Arch(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The shape of a transformer, as its `config.json` states it (`route cards arch`).

    `attention_layers` are those with a KV cache, by default all; `state_bytes` is what the other layers keep of a
    sequence, however long it is. `bits` per weight. `layer_parameters` replaces what follows from the shape.
    """

    layers: Count
    hidden: Count
    vocab: Count
    heads: Count = 1
    kv_heads: Count | None = None
    head_dim: Count | None = None
    intermediate: Annotated[int, Meta(ge=0)] = 0
    gated: Annotated[bool, Meta(description="The feed-forward layers have three matrices, not two.")] = True
    experts: Count = 1
    experts_per_token: Count = 1
    tied: Annotated[bool, Meta(description="Input and output share one embedding.")] = False
    bits: Annotated[float, Meta(gt=0, le=64)] = 16.0
    attention_layers: Annotated[int, Meta(ge=0)] | None = None
    state_bytes: Annotated[int, Meta(ge=0)] = 0
    layer_parameters: Size | None = None

    def __post_init__(self) -> None:
        if self.experts_per_token > self.experts:
            raise ValueError(f"experts_per_token: is {self.experts_per_token}, of {self.experts} experts")
        if self.attention_layers is not None and self.attention_layers > self.layers:
            raise ValueError(f"attention_layers: is {self.attention_layers}, of {self.layers} layers")

    @property
    def parameters(self) -> Size:
        """The parameters of the layers, without embeddings: all, and those that one token uses."""
        if self.layer_parameters is not None:
            return self.layer_parameters
        head = self.head_dim or self.hidden // self.heads
        attention = 2 * self.hidden * head * (self.heads + (self.kv_heads or self.heads))
        expert = (3 if self.gated else 2) * self.hidden * self.intermediate
        gate = self.hidden * self.experts if self.experts > 1 else 0
        shared = attention + gate
        total, active = (self.layers * (shared + n * expert) for n in (self.experts, self.experts_per_token))
        return Size(float(total), float(active))

    @property
    def head_bytes(self) -> float:
        """What the output embedding takes, which every token reads, whether or not it is that of the input, too."""
        return self.vocab * self.hidden * self.bits / 8

    @property
    def weight_bytes(self) -> float:
        """What all weights take, embeddings included."""
        embeddings = self.vocab * self.hidden * (1 if self.tied else 2)
        return (self.parameters.total + embeddings) * self.bits / 8

    @property
    def kv_bytes_per_token(self) -> float:
        """What the KV cache takes for one token of context, at 16 bits, or at 32 where the weights have 32."""
        layers = self.layers if self.attention_layers is None else self.attention_layers
        head = self.head_dim or self.hidden // self.heads
        return 2.0 * layers * (self.kv_heads or self.heads) * head * (4 if self.bits >= 32 else 2)

    @property
    def attention_flops(self) -> float:
        """The operations of attention in a prompt of n tokens, divided by n²."""
        layers = self.layers if self.attention_layers is None else self.attention_layers
        return 4.0 * layers * self.heads * (self.head_dim or self.hidden // self.heads)
