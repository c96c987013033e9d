from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from router.errors import CallerError
from router.learn.data import RoutingSet
from router.learn.data.vectors import vectors_of
from router.learn.evaluation.cold_start import (
    HiddenOutcomes,
    NewModelForecaster,
    Strategy,
    error_vector,
    full_outcomes,
    leave_models_out,
    population,
    strategies,
)
from router.perceive.text.encoder import StaticEncoder
from router.types import Doubles, Floats

MODELS = ("calculator", "poet", "generalist")


def test_no_more_probes_are_revealed_than_the_budget_allows() -> None:
    probes = HiddenOutcomes("new", np.array([1.0, 0.0, np.nan, 1.0]), budget=2)
    assert probes.rows.tolist() == [0, 1, 3]
    assert (probes(0), probes(1), probes(0)) == (1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="more than 2 probes"):
        probes(3)


def test_a_row_on_which_the_model_was_not_run_cannot_be_revealed() -> None:
    with pytest.raises(ValueError, match="was not run on row 1"):
        HiddenOutcomes("new", np.array([1.0, np.nan]), budget=2)(1)


def test_the_left_out_model_is_hidden_from_the_strategy(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    seen: list[tuple[tuple[str, ...], int]] = []
    tested: set[bytes] = set()

    def learn(data: RoutingSet, vectors: Floats) -> NewModelForecaster:
        trained = {row.tobytes() for row in vectors}

        def forecast(probes: HiddenOutcomes, test_vectors: Floats) -> Doubles:
            assert not trained & {row.tobytes() for row in test_vectors}
            tested.update(row.tobytes() for row in test_vectors)
            assert probes.model not in data.models
            seen.append((data.models, probes.budget))
            return np.full(len(test_vectors), 0.5)

        return forecast

    vectors = vectors_of(planted_set.prompts, encoder)
    leave_models_out(planted_set, vectors, {"blind": learn}, full_outcomes(encoder), probes=(0, 4))
    assert {models for models, _ in seen} == {("poet", "generalist"), ("calculator", "generalist"), MODELS[:2]}
    assert [budget for _, budget in seen] == [0, 4] * 3
    assert len(tested) == 24


def test_the_gain_is_0_for_the_prior_and_1_for_full_outcomes(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    vectors = vectors_of(planted_set.prompts, encoder)
    lines = leave_models_out(planted_set, vectors, strategies(encoder, {}), full_outcomes(encoder), probes=(0, 16))
    by_name = {(line.method, line.probes): line for line in lines}
    assert by_name["population", 0].gain == 0.0
    assert by_name["full outcomes", None].gain == 1.0
    assert set(by_name) == {
        *((method, count) for method in strategies(encoder, {}) for count in (0, 16)),
        ("full outcomes", None),
    }


@pytest.mark.parametrize("strategy", [population, lambda encoder: error_vector(encoder.dimensions)])
def test_probes_of_a_model_that_is_always_right_raise_its_forecast(
    strategy: Callable[[StaticEncoder], Strategy], planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    vectors = vectors_of(planted_set.prompts, encoder)
    forecast = strategy(encoder)(planted_set, vectors)
    few, many = (forecast(HiddenOutcomes("new", np.ones(120), count), vectors).mean() for count in (4, 64))
    none = forecast(HiddenOutcomes("new", np.ones(120), 0), vectors).mean()
    assert none < few < many
    assert many > 0.85


def test_probes_reveal_the_domain_in_which_a_new_model_is_good(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    vectors = vectors_of(planted_set.prompts, encoder)
    forecast_new = error_vector(encoder.dimensions)(planted_set, vectors)
    poems = np.array([domain == "poetry" for domain in planted_set.domains])
    forecast = forecast_new(HiddenOutcomes("new", poems.astype(float), 64), vectors)
    assert forecast[poems].mean() > forecast[~poems].mean() + 0.3


def test_adaptive_probes_reveal_the_domain_in_which_a_new_model_is_good(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    vectors = vectors_of(planted_set.prompts, encoder)
    ours = strategies(encoder, {})["pulvinar, adaptive probes"](planted_set, vectors)
    poems = np.array([domain == "poetry" for domain in planted_set.domains])
    before, after = (ours(HiddenOutcomes("new", poems.astype(float), count), vectors) for count in (0, 16))
    assert after[poems].mean() > before[poems].mean() + 0.2
    assert after[~poems].mean() < before[~poems].mean() - 0.2


def test_leaving_one_of_two_models_out_is_an_error(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    two = msgspec.structs.replace(planted_set, models=MODELS[:2], scores=planted_set.scores[:, :2])
    vectors = vectors_of(two.prompts, encoder)
    with pytest.raises(CallerError, match="--by model needs at least three models; planted has 2"):
        leave_models_out(two, vectors, strategies(encoder, {}), full_outcomes(encoder))
