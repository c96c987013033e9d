"""Examples move the forecast of their own card, near them, and nothing else."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.cards.catalog import Catalog
from router.cards.schema import Card
from router.loading import load_predictor
from router.perceive.predictor import Predictor
from router.settings import shipped_artifact_folder
from router.types import Doubles
from tests.perceive.purpose.tasks import BASE, GENERIC, TASKS, adapter, adapters, prompts

PREDICTOR = load_predictor(shipped_artifact_folder())
ASKED = (*(prompts(task)[8] for task in TASKS), *GENERIC)
VECTORS = PREDICTOR.vectors([(text,) for text in ASKED])


def forecasts(cards: list[Card], predictor: Predictor = PREDICTOR) -> dict[str, Doubles]:
    """The qualities of each card on the asked prompts."""
    catalog = Catalog([BASE, *cards])
    return dict(zip(catalog.ids, predictor.bind(catalog).qualities(VECTORS).T, strict=True))


ALL = forecasts(adapters())


@settings(deadline=None)
@given(st.sets(st.sampled_from(TASKS)))
def test_no_card_moves_the_forecast_of_another_one(kept: set[str]) -> None:
    of_some = forecasts([adapter(task) for task in sorted(kept)])
    for card, qualities in of_some.items():
        assert qualities.tobytes() == ALL[card].tobytes()


def test_editing_the_examples_of_a_card_moves_only_this_card() -> None:
    edited = forecasts([adapter(task, shown=3 if task == "sql" else 5) for task in TASKS])
    moved = {card for card, qualities in edited.items() if qualities.tobytes() != ALL[card].tobytes()}
    assert moved <= {"sql"}


def test_a_card_without_examples_keeps_its_forecast() -> None:
    plain = Card(id="plain", provider="openai", model="plain", benchmarks={})
    without = forecasts([plain, adapter("haiku", shown=0)])
    beside = forecasts([plain, adapter("haiku", shown=0), adapter("sql"), adapter("regex")])
    for card, qualities in without.items():
        assert qualities.tobytes() == beside[card].tobytes()


def test_a_near_prompt_raises_the_forecast_above_the_base() -> None:
    for at, task in enumerate(TASKS):
        assert ALL[task][at] > ALL[BASE.id][at] + 0.01


def test_a_far_prompt_keeps_the_forecast_of_the_base() -> None:
    far = len(TASKS) + np.arange(len(GENERIC))
    for task in TASKS:
        assert ALL[task][far] == pytest.approx(ALL[BASE.id][far], abs=2e-6)
        assert (ALL[task][far] < ALL[BASE.id][far]).all()


def test_a_model_with_examples_keeps_its_forecast_on_far_prompts_to_the_bit() -> None:
    plain = Card(id="coder", provider="openai", model="coder")
    shown = msgspec.structs.replace(plain, examples=tuple(prompts("sql")[:5]))
    without, with_examples = forecasts([plain])["coder"], forecasts([shown])["coder"]
    assert with_examples[len(TASKS) :].tobytes() == without[len(TASKS) :].tobytes()
    assert with_examples[0] > without[0]


def test_not_examples_take_prompts_nearer_to_them_out_again() -> None:
    limited = adapter("sql", not_examples=tuple(prompts("sql")[7:10]))
    limited = msgspec.structs.replace(limited, examples=(*limited.examples, *prompts("regex")[:5]))
    free = msgspec.structs.replace(limited, not_examples=())
    assert forecasts([limited])["sql"][0] <= forecasts([free])["sql"][0]


def test_not_examples_far_from_the_prompt_change_nothing() -> None:
    limited = adapter("sql", not_examples=tuple(prompts("haiku")[:3]))
    assert forecasts([limited])["sql"][0] == ALL["sql"][0]


def test_the_forecast_is_the_same_however_often_a_card_was_seen() -> None:
    fresh = load_predictor(shipped_artifact_folder())
    again = forecasts(adapters(), fresh)
    assert all(again[card].tobytes() == qualities.tobytes() for card, qualities in ALL.items())
