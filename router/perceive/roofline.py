"""Latency of a model nobody has measured: the roofline of one reference accelerator (GenZ, S59; papers.md
2.12).

The closed form reads every active weight once a token while decoding, and is bound by arithmetic or by
reading weights while reading the prompt. bfloat16, batch of one, 989 TFLOP/s and 3,400 GB/s (an H100).
"""

from __future__ import annotations

import numpy as np

from router.types import Doubles

_FLOPS = 989e12
_BYTES_PER_SECOND = 3.4e12
_BYTES_PER_WEIGHT = 2.0


def time_per_token_ms(active_parameters: Doubles) -> Doubles:
    """Milliseconds for one output token; NaN where the size is not known."""
    return active_parameters * (_BYTES_PER_WEIGHT / _BYTES_PER_SECOND * 1e3)


def time_to_first_token_ms(active_parameters: Doubles, input_tokens: int) -> Doubles:
    """Milliseconds to read a prompt of `input_tokens`; NaN where the size is not known."""
    reading = active_parameters * (2.0 * input_tokens / _FLOPS * 1e3)
    longest: Doubles = np.maximum(reading, time_per_token_ms(active_parameters))
    return longest
