"""Estimated time and memory of a model without measurements, by the roofline model (as in GenZ, arXiv:2406.01698).

Decoding is bound by memory bandwidth: for each token, every active weight, the output embedding, the KV cache of the
context and the state are read once. Prefill is bound by arithmetic, or by reading the weights once. What does not fit
into the accelerator's memory is read from that of the host, at the same time as the rest. Batch size one.
"""

from __future__ import annotations

import numpy as np

from router.cards.machine.columns import Machines
from router.types import Doubles


def memory_bytes(machines: Machines, context_tokens: Doubles | float) -> Doubles:
    """What the model needs with the KV cache of one sequence of this length; NaN where its size is unknown."""
    needed: Doubles = machines.weight_bytes + machines.kv_bytes * context_tokens + machines.state_bytes
    return needed


def time_per_token_ms(machines: Machines, context_tokens: Doubles | float) -> Doubles:
    """Milliseconds for one output token after a context of this length; NaN where the size is unknown."""
    read = machines.read_bytes + machines.kv_bytes * context_tokens + machines.state_bytes
    milliseconds: Doubles = read / _bytes_per_s(machines, context_tokens) * 1e3
    return milliseconds


def time_to_first_token_ms(machines: Machines, input_tokens: int) -> Doubles:
    """Milliseconds of prefill for a prompt of `input_tokens`; NaN where the size is unknown."""
    operations = 2.0 * machines.active_parameters * input_tokens + machines.attention_flops * float(input_tokens) ** 2
    # Each token may use other experts, so a prompt of many reads them all, once.
    read = np.minimum(machines.read_bytes * max(input_tokens, 1), machines.prompt_bytes)
    reading = read / _bytes_per_s(machines, input_tokens)
    milliseconds: Doubles = np.maximum(operations / machines.flops, reading) * 1e3
    return milliseconds


def _bytes_per_s(machines: Machines, context_tokens: Doubles | float) -> Doubles:
    """The bandwidth at which all that the model needs is read, in part from the host where it does not fit."""
    needed, memory = memory_bytes(machines, context_tokens), machines.memory_bytes
    # Unknown memory counts as enough: the comparison with NaN is false.
    exceeds = needed > memory
    if not exceeds.any():
        return machines.bytes_per_s
    slower = np.maximum(memory / machines.bytes_per_s, (needed - memory) / machines.offload_bytes_per_s)
    return np.where(exceeds, needed / slower, machines.bytes_per_s)
