"""Estimated latency of a model without measurements: the roofline model of one reference accelerator (as in
GenZ, arXiv:2406.01698).

Decoding is bound by memory bandwidth: every active weight is read once per token. Prefill is bound by arithmetic or by
reading the weights once. Assumes bfloat16, batch size one, 989 TFLOP/s and 3,400 GB/s (an H100).
"""

from __future__ import annotations

import numpy as np

from router.types import Doubles

_FLOPS = 989e12
_BYTES_PER_SECOND = 3.4e12
_BYTES_PER_WEIGHT = 2.0


def time_per_token_ms(active_parameters: Doubles) -> Doubles:
    """Milliseconds for one output token; NaN where the size is unknown."""
    return active_parameters * (_BYTES_PER_WEIGHT / _BYTES_PER_SECOND * 1e3)


def time_to_first_token_ms(active_parameters: Doubles, input_tokens: int) -> Doubles:
    """Milliseconds of prefill for a prompt of `input_tokens`; NaN where the size is unknown."""
    arithmetic = active_parameters * (2.0 * input_tokens / _FLOPS * 1e3)
    prefill: Doubles = np.maximum(arithmetic, time_per_token_ms(active_parameters))
    return prefill
