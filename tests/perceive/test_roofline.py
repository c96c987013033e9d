"""Time and memory by the roofline model, beside what GenZ gives for the same models and machines."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from router.cards.machine.columns import Machines, machines_of
from router.cards.machine.config_json import arch_of
from router.cards.machine.facts import GIB
from router.formats.quantities import write_quantity
from router.perceive.roofline import memory_bytes, time_per_token_ms, time_to_first_token_ms
from tests.cards.machine.configs import LLAMA_2_7B, LLAMA_3_8B, LLAMA_3_70B, MAMBA_130M, MIXTRAL
from tests.decide.cards import card


def machine(
    config: dict[str, Any], name: str = "h100", lora: dict[str, Any] | None = None, **hardware: Any
) -> Machines:

    arch = msgspec.to_builtins(arch_of(config), enc_hook=write_quantity)
    facts = {"kind": "adapter", "base": "b", "lora": lora} if lora else {}
    return machines_of([card("m", arch=arch, hardware={"name": name, **hardware}, **facts)])


@pytest.mark.parametrize(
    ("config", "name", "context", "milliseconds"),
    [
        (LLAMA_3_8B, "h100", 128, 4.116),
        (LLAMA_3_8B, "h100", 512, 4.130),
        (LLAMA_3_8B, "h100", 1024, 4.149),
        (LLAMA_3_8B, "h100", 2048, 4.186),
        (LLAMA_3_8B, "h100", 4096, 4.260),
        (LLAMA_3_8B, "a100-80", 1024, 6.925),
        (LLAMA_2_7B, "h100", 128, 3.638),
        (LLAMA_2_7B, "h100", 1024, 3.767),
        (LLAMA_2_7B, "h100", 4096, 4.209),
        # After 128 tokens of the answer.
        (LLAMA_2_7B, "h100", 1152, 3.786),
        (LLAMA_2_7B, "a100-80", 1152, 6.312),
    ],
)
def test_the_time_per_token_is_that_of_genz(
    config: dict[str, Any], name: str, context: int, milliseconds: float
) -> None:
    assert time_per_token_ms(machine(config, name), context)[0] == pytest.approx(milliseconds, rel=0.0015)


@pytest.mark.parametrize(
    ("config", "name", "tokens", "milliseconds"),
    [
        (LLAMA_3_8B, "h100", 128, 4.600),
        (LLAMA_3_8B, "h100", 512, 8.462),
        (LLAMA_3_8B, "h100", 1024, 17.184),
        (LLAMA_3_8B, "h100", 2048, 35.480),
        (LLAMA_3_8B, "h100", 4096, 75.407),
        (LLAMA_2_7B, "h100", 1024, 14.509),
        (LLAMA_3_8B, "a100-80", 1024, 54.472),
        (LLAMA_2_7B, "a100-80", 1024, 45.992),
    ],
)
def test_the_prefill_time_is_near_that_of_genz(
    config: dict[str, Any], name: str, tokens: int, milliseconds: float
) -> None:
    assert time_to_first_token_ms(machine(config, name), tokens)[0] == pytest.approx(milliseconds, rel=0.13)


@pytest.mark.parametrize(("tokens", "milliseconds"), [(128, 55.318), (1024, 61.134), (4096, 116.240)])
def test_a_prompt_of_a_mixture_of_experts_reads_all_experts_as_in_genz(tokens: int, milliseconds: float) -> None:
    # It does not fit into one H100, and is read in part from the host.
    assert time_to_first_token_ms(machine(MIXTRAL), tokens)[0] == pytest.approx(milliseconds, rel=0.1)
    assert time_per_token_ms(machine(MIXTRAL), 1024)[0] == pytest.approx(14.752, rel=0.04)


def test_a_lower_efficiency_lengthens_both_times_alike() -> None:
    full, part = machine(LLAMA_3_8B), machine(LLAMA_3_8B, efficiency=0.8)
    assert time_per_token_ms(part, 1024)[0] == pytest.approx(time_per_token_ms(full, 1024)[0] / 0.8)
    assert time_to_first_token_ms(part, 1024)[0] == pytest.approx(time_to_first_token_ms(full, 1024)[0] / 0.8)


def test_two_accelerators_halve_the_times() -> None:
    one, two = machine(LLAMA_3_8B), machine(LLAMA_3_8B, count=2)
    assert time_per_token_ms(two, 1024)[0] == pytest.approx(time_per_token_ms(one, 1024)[0] / 2)


@pytest.mark.parametrize(("config", "gib"), [(LLAMA_3_70B, 131.4), (MIXTRAL, 87.0)])
def test_the_memory_of_the_weights_is_that_of_genz(config: dict[str, Any], gib: float) -> None:
    assert memory_bytes(machine(config), 0)[0] / GIB == pytest.approx(gib, abs=0.06)


def test_the_memory_grows_with_the_context_and_that_of_a_state_does_not() -> None:
    transformer, state_space = machine(LLAMA_3_8B), machine(MAMBA_130M)
    assert memory_bytes(transformer, 1000)[0] - memory_bytes(transformer, 0)[0] == 1000 * 131_072
    assert memory_bytes(state_space, 100_000)[0] == memory_bytes(state_space, 0)[0]
    assert time_per_token_ms(state_space, 100_000)[0] == time_per_token_ms(state_space, 0)[0]


def test_what_does_not_fit_is_read_from_the_host_at_the_same_time() -> None:
    offloaded = machine(LLAMA_3_70B)
    needed = memory_bytes(offloaded, 1024)[0]
    from_host_s = (needed - 80 * GIB) / (128 * GIB)
    read = 2 * (68.45e9 + 128256 * 8192) + 80 * 8 * 128 * 4 * 1024
    expected_ms = read / (needed / max(80 / 3400, from_host_s)) * 1e3
    assert time_per_token_ms(offloaded, 1024)[0] == pytest.approx(expected_ms, rel=0.001)
    faster = machine(LLAMA_3_70B, offload_gb_per_s=256)
    assert time_per_token_ms(faster, 1024)[0] < time_per_token_ms(offloaded, 1024)[0]


def test_an_adapter_adds_its_weights() -> None:
    bare, adapted = machine(LLAMA_3_8B), machine(LLAMA_3_8B, lora={"rank": 64, "bytes": 340_000_000})
    assert memory_bytes(adapted, 0)[0] - memory_bytes(bare, 0)[0] == 340_000_000
    added_ms = time_per_token_ms(adapted, 0)[0] - time_per_token_ms(bare, 0)[0]
    assert added_ms == pytest.approx(340_000_000 / (3400 * GIB) * 1e3)


def test_without_shape_and_machine_the_size_counts_on_a_reference_machine() -> None:
    machines = machines_of([card("a", size="8B"), card("b")])
    assert time_per_token_ms(machines, 4096)[0] == pytest.approx(16e9 / 3.4e12 * 1e3)
    assert time_to_first_token_ms(machines, 0)[0] == time_per_token_ms(machines, 0)[0]
    for of_card in (time_per_token_ms(machines, 10), time_to_first_token_ms(machines, 10), memory_bytes(machines, 10)):
        assert np.isnan(of_card[1])
