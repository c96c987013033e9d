from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from router.cards.catalog import Catalog
from router.cards.facts import ModelFacts
from router.cards.schema import Card
from router.errors import CallerError
from router.learn.data import ASSUMED_OUTPUT_TOKENS, RoutingSet
from router.learn.training.outcome_table import MIN_ROWS
from router.learn.training.train import train
from router.perceive.ability.ability import fact_count
from router.perceive.features import Perceiver, feature_vector
from router.perceive.predictor import Predictor
from router.perceive.text.encoder import StaticEncoder
from router.wire.chat.request import ChatRequest

SUM, POEM = "What is 321 plus 654?", "Write a poem about the moon in autumn."


def quality(predictor: Predictor, prompt: str) -> dict[str, float]:
    values, *_ = predictor.expect(feature_vector(predictor.encoder, (prompt,)))
    return dict(zip((*predictor.models, "population"), values.tolist(), strict=True))


def wide(data: RoutingSet, models: int) -> RoutingSet:
    """`data` with `models` models: its models repeated under different names."""
    columns = np.arange(models) % len(data.models)
    return msgspec.structs.replace(
        data,
        models=tuple(f"{data.models[column]}-{number}" for number, column in enumerate(columns)),
        scores=data.scores[:, columns].copy(),
        cost_usd=None,
        output_tokens=None,
    )


def with_scores(data: RoutingSet, scores: np.ndarray) -> RoutingSet:
    return msgspec.structs.replace(data, scores=scores.astype(np.float32))


def test_two_trainings_give_identical_files(planted_set: RoutingSet, encoder: StaticEncoder, tmp_path: Path) -> None:
    for name in ("one", "two"):
        train([planted_set], encoder, command="route train").save(tmp_path / name)
    for file in ("predictor.json", "head.npz"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_manifest_has_outcomes_mean_and_data_sets_of_a_model(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    scores = planted_set.scores.copy()
    scores[5:, 0] = np.nan
    first, second, _ = train([with_scores(planted_set, scores)], encoder).manifest.models
    assert (first.name, first.outcomes, first.data_sets) == ("calculator", 5, ("planted",))
    assert first.mean_quality == pytest.approx(scores[:5, 0].mean(), abs=1e-6)
    assert second.outcomes == 120


def test_the_manifest_has_the_command(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    assert train([planted_set], encoder, command="route train x").manifest.command == "route train x"


def test_two_sets_are_joined(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    sums, poems = np.arange(0, 120, 2), np.arange(1, 120, 2)
    halves = [planted_set.rows(sums), msgspec.structs.replace(planted_set.rows(poems), name="poems")]
    predictor = train(halves, encoder)
    assert [source.name for source in predictor.manifest.data_sets] == ["planted", "poems"]
    assert predictor.manifest.models[0].data_sets == ("planted", "poems")
    assert quality(predictor, SUM)["calculator"] > quality(predictor, SUM)["poet"] + 0.3


def test_a_model_without_outcomes_gets_about_the_forecast_of_the_population(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    scores = np.column_stack([planted_set.scores, np.full(120, np.nan)])
    data = msgspec.structs.replace(
        with_scores(planted_set, scores),
        models=(*planted_set.models, "unseen"),
        cost_usd=None,
        output_tokens=None,
    )
    forecast = quality(train([data], encoder), SUM)
    assert forecast["unseen"] == pytest.approx(forecast["population"], abs=0.05)


@pytest.mark.parametrize("models", [1, 2])
def test_one_or_two_models_are_enough(models: int, planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    data = msgspec.structs.replace(
        planted_set,
        models=planted_set.models[:models],
        scores=planted_set.scores[:, :models],
        cost_usd=None,
        output_tokens=None,
    )
    predictor = train([data], encoder)
    assert quality(predictor, SUM)["calculator"] > quality(predictor, POEM)["calculator"] + 0.3


def test_a_model_that_is_always_wrong_has_a_low_forecast(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    scores = planted_set.scores.copy()
    scores[:, 2] = 0
    predictor = train([with_scores(planted_set, scores)], encoder)
    for prompt in (SUM, POEM):
        forecast = quality(predictor, prompt)
        assert forecast["generalist"] < 0.15 < max(forecast.values())


def test_with_one_prompt_many_times_the_forecasts_are_the_means(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    same = tuple(msgspec.structs.replace(prompt, turns=(SUM,)) for prompt in planted_set.prompts)
    forecast = quality(train([msgspec.structs.replace(planted_set, prompts=same)], encoder), SUM)
    for column, model in enumerate(planted_set.models):
        assert forecast[model] == pytest.approx(planted_set.scores[:, column].mean(), abs=0.05)


def test_two_prompts_are_enough_to_train(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    forecast = quality(train([planted_set.rows(np.array([0, 1]))], encoder), SUM)
    assert all(0 <= value <= 1 for value in forecast.values())


def test_one_prompt_is_too_few(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    with pytest.raises(CallerError, match="at least 2 prompts"):
        train([planted_set.rows(np.array([0]))], encoder)


def test_no_sets_are_too_few(encoder: StaticEncoder) -> None:
    with pytest.raises(CallerError, match="at least 2 prompts"):
        train([], encoder)


def test_a_table_without_outcomes_is_an_error(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    empty = np.full_like(planted_set.scores, np.nan)
    with pytest.raises(CallerError, match="every cell of the score table is empty"):
        train([with_scores(planted_set, empty)], encoder)


def test_without_lengths_the_assumed_length_is_forecast(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    predictor = train([msgspec.structs.replace(planted_set, output_tokens=None)], encoder)
    tokens = predictor.expect(feature_vector(encoder, (SUM,))).output_tokens
    assert (tokens == ASSUMED_OUTPUT_TOKENS).all()


def test_a_model_without_lengths_gets_the_length_of_the_population(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    lengths = np.array(planted_set.output_tokens)
    lengths[:, 0] = np.nan
    predictor = train([msgspec.structs.replace(planted_set, output_tokens=lengths)], encoder)
    tokens = predictor.expect(feature_vector(encoder, (SUM,))).output_tokens
    assert tokens[0] == tokens[-1]


def test_more_data_reduce_the_uncertainty(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    vector = feature_vector(encoder, (SUM,))
    _, little, *_ = train([planted_set.rows(np.arange(30))], encoder).expect(vector)
    _, much, *_ = train([planted_set], encoder).expect(vector)
    assert much[:-1].mean() < little[:-1].mean()


def test_a_model_with_fewer_outcomes_is_more_uncertain(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    twin = np.column_stack([planted_set.scores, planted_set.scores[:, 0]])
    twin[60:, 3] = np.nan
    data = msgspec.structs.replace(
        with_scores(planted_set, twin), models=(*planted_set.models, "twin"), cost_usd=None, output_tokens=None
    )
    trained = train([data], encoder)
    _, std, *_ = trained.expect(feature_vector(encoder, (SUM,)))
    assert std[3] > 1.2 * std[0]


def test_the_uncertainty_is_at_least_the_standard_error_of_the_mean_outcome(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    trained = train([planted_set], encoder)
    vectors = np.stack([feature_vector(encoder, prompt.turns) for prompt in planted_set.prompts])
    quality, std, *_ = trained.expect_all(vectors)
    residual = np.square(planted_set.scores - quality[:, :-1]).mean(axis=0)
    assert (std[:, :-1] > np.sqrt(residual / len(vectors))).all()


def test_the_uncertainty_out_of_domain_is_at_least_that_in_domain(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    uncertainty = train([planted_set], encoder).head.uncertainty
    assert uncertainty.shape == (2, 2)
    assert ((uncertainty > 0) & (uncertainty <= 1)).all()
    assert (uncertainty[1] >= uncertainty[0]).all()


def test_the_second_moment_is_the_mean_outer_product_of_profiles(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    trained = train([planted_set], encoder)
    vectors = np.stack([feature_vector(encoder, prompt.turns) for prompt in planted_set.prompts])
    profiles = trained.profile(vectors).profiles
    np.testing.assert_allclose(trained.head.second_moment, profiles.T @ profiles / len(profiles), atol=1e-9)


def test_a_family_is_a_fact_only_with_three_models(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    data = wide(planted_set, 5)
    families = ("llama", "llama", "llama", "gpt", "gpt")
    facts = {name: ModelFacts(name, family=family) for name, family in zip(data.models, families, strict=True)}
    trained = train([data], encoder, facts=facts)
    assert trained.manifest.families == ("llama",)
    size = trained.head.ability.shape[1]
    assert len(trained.head.facts.mean) == size + fact_count(("llama",))


def test_without_facts_there_are_no_families_and_the_population_is_the_mean_model(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    trained = train([planted_set], encoder)
    assert trained.manifest.families == ()
    np.testing.assert_allclose(trained.population.mean, trained.head.ability.mean(axis=0), atol=1e-12)


def test_facts_on_models_outside_the_sets_are_ignored(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    facts = {"other": ModelFacts("other", benchmarks={"mmlu": 0.9})}
    assert train([planted_set], encoder, facts=facts).id == train([planted_set], encoder).id


def test_a_model_without_outcomes_is_not_part_of_the_population(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    data = wide(planted_set, 4)
    data.scores[:, 3] = np.nan
    trained = train([data], encoder)
    np.testing.assert_allclose(trained.population.mean, trained.head.ability[:3].mean(axis=0), atol=1e-12)


def test_a_model_without_outcomes_is_forecast_like_an_unknown_model(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    data = wide(planted_set, 4)
    data.scores[:, 3] = np.nan
    trained = train([data], encoder)
    catalog = Catalog([Card(id=name, provider="openai", model=name) for name in (data.models[3], "unknown")])
    forecast = trained.bind(catalog)(Perceiver(encoder)(ChatRequest.from_prompt(SUM)))
    assert [trained.column(catalog, position) for position in (0, 1)] == [None, None]
    assert forecast.quality[0] == forecast.quality[1]
    assert forecast.quality_std[0] == forecast.quality_std[1]


def test_scores_between_zero_and_one_are_learned_without_rescaling(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    scaled = quality(train([with_scores(planted_set, 0.25 + planted_set.scores / 2)], encoder), SUM)
    plain = quality(train([planted_set], encoder), SUM)
    for model in planted_set.models:
        assert scaled[model] == pytest.approx(0.25 + plain[model] / 2, abs=0.05)


@pytest.mark.parametrize("prompts", [3, MIN_ROWS - 1, MIN_ROWS])
def test_few_prompts_give_forecasts_near_the_means(
    prompts: int, planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    data = planted_set.rows(np.arange(prompts))
    predictor = train([data], encoder)
    vectors = np.stack([feature_vector(encoder, (text,)) for text in (SUM, POEM)])
    expected = predictor.expect_all(vectors)
    assert all(np.isfinite(array).all() for array in expected)
    if prompts < MIN_ROWS:
        assert np.ptp(expected.quality, axis=0).max() < 1e-6
