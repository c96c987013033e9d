from __future__ import annotations

import numpy as np
import pytest

from router.perceive.roofline import time_per_token_ms, time_to_first_token_ms

LLAMA_3_8B, LLAMA_2_7B = 8.03e9, 6.74e9


@pytest.mark.parametrize(
    ("parameters", "input_tokens", "milliseconds"),
    [
        (LLAMA_3_8B, 128, 4.600),
        (LLAMA_3_8B, 512, 8.462),
        (LLAMA_3_8B, 1024, 17.184),
        (LLAMA_3_8B, 2048, 35.480),
        (LLAMA_3_8B, 4096, 75.407),
        (LLAMA_2_7B, 1024, 14.509),
    ],
)
def test_the_prefill_time_is_near_that_of_genz(parameters: float, input_tokens: int, milliseconds: float) -> None:
    estimate = time_to_first_token_ms(np.array([parameters]), input_tokens)[0]
    assert estimate == pytest.approx(milliseconds, rel=0.15)


@pytest.mark.parametrize(("parameters", "milliseconds"), [(LLAMA_3_8B, 4.116), (LLAMA_2_7B, 3.786)])
def test_the_time_per_token_is_near_that_of_genz(parameters: float, milliseconds: float) -> None:
    assert time_per_token_ms(np.array([parameters]))[0] == pytest.approx(milliseconds, rel=0.15)


def test_prefill_takes_at_least_one_pass_over_the_weights() -> None:
    size = np.array([7e10])
    assert time_to_first_token_ms(size, 0) == time_per_token_ms(size)


def test_an_unknown_size_has_an_unknown_latency() -> None:
    assert np.isnan(time_per_token_ms(np.array([np.nan]))).all()
    assert np.isnan(time_to_first_token_ms(np.array([np.nan]), 100)).all()
