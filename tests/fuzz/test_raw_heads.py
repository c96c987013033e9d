"""A sample of `bench.fuzz --heads`, and the heads themselves."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from bench.fuzz import SEED, fuzz_heads
from bench.gateway.processes import Start
from tests.fuzz.heads import fuzz_head, smuggling_forms

HEADS = 4_000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="starts processes in a session")
def test_no_raw_head_breaks_the_gateway_or_passes_without_a_key(warm: Callable[[Start], Start]) -> None:
    result = fuzz_heads(list(range(HEADS)), started=warm)
    found = [f"{finding.problem} (python -m bench.fuzz --only heads {finding.number})" for finding in result.findings]
    assert not found, "\n".join(found[:20])
    # A run in which nothing is read as a request, or all is, tests nothing.
    assert result.statuses[200] > HEADS / 100
    assert result.statuses[400] > HEADS / 10


def test_the_same_seed_and_number_give_the_same_head() -> None:
    assert [fuzz_head(SEED, number) for number in range(100)] == [fuzz_head(SEED, number) for number in range(100)]


def test_heads_differ() -> None:
    assert len({tuple(fuzz_head(SEED, number)) for number in range(300)}) > 250


def test_every_form_of_smuggling_has_the_tail() -> None:
    assert all(raw.endswith(b"THE TAIL") for _, raw in smuggling_forms("/", {}, b"THE TAIL"))
