"""The machine of a card."""

from __future__ import annotations

import msgspec
import pytest

from router.cards import Catalog
from router.cards.lint import lint
from router.cards.schema import Card, to_plain
from router.formats.quantities import read_quantity
from tests.decide.cards import card


def test_the_figures_of_a_card_take_precedence_over_the_accelerators() -> None:
    hardware = card("a", hardware={"name": "H100", "count": 2, "memory": "94GiB", "efficiency": 0.5}).hardware
    assert hardware is not None
    assert hardware.memory_bytes == 2 * 94 * 2**30
    assert hardware.bytes_per_s == pytest.approx(3400 * 2**30)
    assert hardware.flops == pytest.approx(989e12)


@pytest.mark.parametrize(
    ("hardware", "problem"),
    [
        ({"name": "h10"}, r'there is no accelerator "h10"; did you mean "h100"\? Or state tflops, memory'),
        ({"tflops": 100}, "without the name of an accelerator, memory, gb_per_s must be stated"),
        ({"name": "h100", "efficiency": 1.5}, "efficiency"),
        ({"name": "h100", "count": 0}, "count"),
    ],
)
def test_an_unknown_machine_is_rejected(hardware: dict[str, object], problem: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=problem):
        card("a", hardware=hardware)


@pytest.mark.parametrize(
    ("arch", "problem"),
    [
        ({"experts": 2, "experts_per_token": 3}, "experts_per_token: is 3"),
        ({"attention_layers": 9}, "is 9, of 2 layers"),
    ],
)
def test_an_impossible_shape_is_rejected(arch: dict[str, object], problem: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=problem):
        card("a", arch={"layers": 2, "hidden": 8, "vocab": 10, **arch})


def test_a_card_with_a_machine_is_printed_as_it_was_written() -> None:
    facts = {
        "hardware": {"tflops": 10.0, "memory": "6GiB", "gb_per_s": 200.0},
        "arch": {"layers": 2, "hidden": 8, "vocab": 10, "layer_parameters": "1M"},
    }
    stated = card("a", **facts)
    plain = to_plain(stated)
    assert {key: plain[key] for key in facts} == facts
    assert msgspec.convert(plain, Card, dec_hook=read_quantity) == stated


def test_an_adapter_has_the_shape_of_its_base_and_its_machine_on_the_same_server() -> None:
    base = card("llama", hardware={"name": "l4"}, arch={"layers": 2, "hidden": 8, "vocab": 10})
    near = card("near", kind="adapter", base="llama", lora={"rank": 8, "bytes": 1000})
    far = card("far", kind="adapter", base="llama", base_url="http://elsewhere:8000/v1")
    catalog = Catalog([base, near, far])
    assert catalog.named("near").hardware == base.hardware
    assert catalog.named("far").hardware is None
    assert catalog.named("far").arch == base.arch
    machines, ids = catalog.machines, catalog.ids
    added = machines.weight_bytes[ids.index("near")] - machines.weight_bytes[ids.index("llama")]
    assert added == 1000


def test_lint_says_that_the_weights_exceed_the_memory() -> None:
    arch = {"layers": 80, "hidden": 8192, "vocab": 128256, "layer_parameters": "68B"}
    (hint,) = lint(card("a", arch=arch, hardware={"name": "h100"})).hints
    assert hint.startswith("hardware: the weights take 130.6 GiB, its memory is 80.0 GiB")
    assert lint(card("a", arch=arch, hardware={"name": "h100", "count": 2})).hints == ()
