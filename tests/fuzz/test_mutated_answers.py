"""A sample of `bench.fuzz --answers`, and the answers themselves."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from bench.fuzz import SEED, fuzz_streams
from bench.gateway.processes import Start
from tests.fuzz.streams import fuzz_answer

ANSWERS = 400


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="starts processes in a session")
def test_no_answer_of_a_model_server_breaks_the_gateway(warm: Callable[[Start], Start]) -> None:
    result = fuzz_streams(list(range(ANSWERS)), started=warm)
    found = [f"{finding.problem} (python -m bench.fuzz --only answers {finding.number})" for finding in result.findings]
    assert not found, "\n".join(found[:20])
    # A run in which no answer arrives, or none fails, tests nothing.
    assert result.upstream_calls > ANSWERS / 2
    assert result.statuses[200] > ANSWERS / 5


def test_the_same_seed_and_number_give_the_same_answer() -> None:
    first, second = ([fuzz_answer(SEED, number, "messages", True) for number in range(50)] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("protocol", ["chat/completions", "messages", "completions", "responses"])
def test_answers_differ(protocol: str) -> None:
    assert len({fuzz_answer(SEED, number, protocol, True).pieces for number in range(200)}) > 150
