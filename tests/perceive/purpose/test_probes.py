"""Probes of an adapter raise its forecast on prompts of its own task, and leave all others to its base."""

from __future__ import annotations

import numpy as np
import pytest

from router.cards.catalog import Catalog
from router.perceive.predictor import Evidence
from router.types import Doubles
from tests.perceive.purpose.tasks import BASE, GENERIC, TASKS, adapter, prompts
from tests.perceive.purpose.test_profiles import PREDICTOR, VECTORS

SQL = TASKS.index("sql")
BARE = adapter("sql", shown=0)


def probes(texts: list[str], score: float) -> dict[str, Evidence]:
    return {"sql": Evidence(PREDICTOR.vectors([(text,) for text in texts]), np.full(len(texts), score))}


def qualities(evidence: dict[str, Evidence]) -> dict[str, Doubles]:
    catalog = Catalog([BASE, BARE, adapter("haiku")])
    return dict(zip(catalog.ids, PREDICTOR.bind(catalog, evidence).qualities(VECTORS).T, strict=True))


def test_right_answers_raise_the_forecast_on_the_task() -> None:
    found = qualities(probes(prompts("sql")[:8], 1.0))
    assert found["sql"][SQL] > found[BASE.id][SQL]


@pytest.mark.parametrize("at", [at for at in range(len(TASKS) + len(GENERIC)) if at != SQL])
def test_right_answers_take_no_prompt_of_other_tasks_from_the_base(at: int) -> None:
    found = qualities(probes(prompts("sql")[:8], 1.0))
    assert found["sql"][at] < found[BASE.id][at]


def test_wrong_answers_lower_the_forecast_on_the_task() -> None:
    found = qualities(probes(prompts("sql")[:8], 0.0))
    assert found["sql"][SQL] < found[BASE.id][SQL] - 0.1


def test_probes_of_a_card_move_no_other_card() -> None:
    without, with_probes = qualities({}), qualities(probes(prompts("sql")[:8], 1.0))
    for card in (BASE.id, "haiku"):
        assert with_probes[card].tobytes() == without[card].tobytes()
