"""The limit `fits`: model and context within the memory of the card's hardware."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from router.cards import Card
from router.cards.machine.config_json import arch_of
from router.errors import FlagError, NoCandidateError
from router.formats.quantities import write_quantity
from tests.cards.machine.configs import LLAMA_3_8B, LLAMA_3_70B, MIXTRAL
from tests.decide.cards import card, choose, features


def model(name: str, config: dict[str, Any], **hardware: Any) -> Card:
    arch = msgspec.to_builtins(arch_of(config), enc_hook=write_quantity)
    return card(name, arch=arch, hardware={"name": "h100", **hardware}, context="1M")


SMALL, LARGE, EXPERTS = model("a", LLAMA_3_8B), model("b", LLAMA_3_70B), model("c", MIXTRAL)


def test_models_that_do_not_fit_are_rejected_with_both_numbers() -> None:
    decision = choose([SMALL, LARGE, EXPERTS], flags="fits=yes")
    assert decision.plan.card == "a"
    assert decision.rejections["b"].reason == (
        "needs 131.4 GiB of memory (131.4 GiB of weights, 110 tokens of context), its hardware has 80.0 GiB"
    )
    assert "c" in decision.rejections


def test_two_accelerators_hold_what_one_does_not() -> None:
    assert choose([SMALL, model("b", LLAMA_3_70B, count=2)], [0.1, 0.9], "fits=yes").plan.card == "b"


def test_a_model_fits_only_as_long_as_its_context_does() -> None:
    cards, long = [SMALL, card("z", context="1M")], features(tokens=600_000)
    assert choose(cards, [0.9, 0.1], "fits=yes").plan.card == "a"
    with pytest.raises(NoCandidateError, match="600,100 tokens of context"):
        choose(cards, [0.9, 0.1], "fits=yes", seen=long)


def test_without_hardware_it_is_unknown_whether_a_model_fits() -> None:
    unknown = card("b", size="70B")
    assert choose([SMALL, unknown], flags="fits=yes").rejections["b"].reason == "fits unknown"


def test_without_a_shape_the_weights_can_only_show_that_a_model_does_not_fit() -> None:
    sizes = [card(name, size=size, hardware={"name": "h100"}) for name, size in (("b", "70B"), ("c", "8B"))]
    rejections = choose([SMALL, *sizes], flags="fits=yes").rejections
    assert rejections["b"].reason.startswith("needs 130.4 GiB")
    assert rejections["c"].reason == "fits unknown"


def test_the_bytes_of_an_adapter_are_added_to_those_of_its_base() -> None:
    base = model("a", LLAMA_3_8B, memory="16GiB")
    light, heavy = (
        card(name, kind="adapter", base="a", lora={"rank": 8, "bytes": size})
        for name, size in (("b", 40_000_000), ("c", 4_000_000_000))
    )
    rejections = choose([base, light, heavy], flags="fits=yes").rejections
    assert list(rejections) == ["c"]
    assert rejections["c"].reason.startswith("needs 18.7 GiB of memory (18.7 GiB of weights,")


def test_memory_of_the_host_does_not_make_a_model_fit() -> None:
    offloaded = model("b", LLAMA_3_70B, offload_gb_per_s=256)
    assert choose([SMALL, offloaded], [0.1, 0.9]).plan.card == "b"
    assert "b" in choose([SMALL, offloaded], [0.1, 0.9], "fits=yes").rejections


def test_the_value_is_yes_or_no() -> None:
    with pytest.raises(FlagError, match="expected yes or no"):
        choose([SMALL], flags="fits=maybe")
