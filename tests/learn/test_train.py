from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from router.errors import CallerError
from router.learn.dataset import RoutingSet
from router.learn.train import ASSUMED_OUTPUT_TOKENS, train
from router.perceive.encoder import StaticEncoder
from router.perceive.features import feature_vector
from router.perceive.predictor import Predictor

SUM, POEM = "What is 321 plus 654?", "Write a poem about the moon in autumn."


def quality(predictor: Predictor, prompt: str) -> dict[str, float]:
    values, *_ = predictor.expect(feature_vector(predictor.encoder, (prompt,)))
    return dict(zip((*predictor.models, "population"), values.tolist(), strict=True))


def with_scores(data: RoutingSet, scores: np.ndarray) -> RoutingSet:
    return msgspec.structs.replace(data, scores=scores.astype(np.float32))


def test_two_trainings_give_identical_files(planted_set: RoutingSet, encoder: StaticEncoder, tmp_path: Path) -> None:
    for name in ("one", "two"):
        train([planted_set], encoder, command="route train").save(tmp_path / name)
    for file in ("predictor.json", "head.npz"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_evidence_states_outcomes_mean_and_origin(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    scores = planted_set.scores.copy()
    scores[5:, 0] = np.nan
    first, second, _ = train([with_scores(planted_set, scores)], encoder).manifest.models
    assert (first.name, first.outcomes, first.data_sets) == ("calculator", 5, ("planted",))
    assert first.mean_quality == pytest.approx(scores[:5, 0].mean(), abs=1e-6)
    assert second.outcomes == 120


def test_the_command_is_kept(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    assert train([planted_set], encoder, command="route train x").manifest.command == "route train x"


def test_two_sets_are_learned_from_together(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    sums, poems = np.arange(0, 120, 2), np.arange(1, 120, 2)
    halves = [planted_set.rows(sums), msgspec.structs.replace(planted_set.rows(poems), name="poems")]
    predictor = train(halves, encoder)
    assert [source.name for source in predictor.manifest.data_sets] == ["planted", "poems"]
    assert predictor.manifest.models[0].data_sets == ("planted", "poems")
    assert quality(predictor, SUM)["calculator"] > quality(predictor, SUM)["poet"] + 0.3


def test_a_model_without_outcomes_gets_about_the_populations_forecast(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    scores = np.column_stack([planted_set.scores, np.full(120, np.nan)])
    data = msgspec.structs.replace(
        with_scores(planted_set, scores),
        models=(*planted_set.models, "unseen"),
        cost_usd=None,
        output_tokens=None,
    )
    found = quality(train([data], encoder), SUM)
    assert found["unseen"] == pytest.approx(found["population"], abs=0.05)


@pytest.mark.parametrize("models", [1, 2])
def test_few_models_are_enough(models: int, planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    data = msgspec.structs.replace(
        planted_set,
        models=planted_set.models[:models],
        scores=planted_set.scores[:, :models],
        cost_usd=None,
        output_tokens=None,
    )
    found = train([data], encoder)
    assert quality(found, SUM)["calculator"] > quality(found, POEM)["calculator"] + 0.3


def test_a_model_that_is_always_wrong_is_forecast_so(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    scores = planted_set.scores.copy()
    scores[:, 2] = 0
    predictor = train([with_scores(planted_set, scores)], encoder)
    for prompt in (SUM, POEM):
        found = quality(predictor, prompt)
        assert found["generalist"] < 0.15 < max(found.values())


def test_the_same_prompt_over_and_over_gives_the_means(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    same = tuple(msgspec.structs.replace(each, turns=(SUM,)) for each in planted_set.prompts)
    found = quality(train([msgspec.structs.replace(planted_set, prompts=same)], encoder), SUM)
    for column, model in enumerate(planted_set.models):
        assert found[model] == pytest.approx(planted_set.scores[:, column].mean(), abs=0.05)


def test_two_prompts_are_enough_to_train(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    found = quality(train([planted_set.rows(np.array([0, 1]))], encoder), SUM)
    assert all(0 <= value <= 1 for value in found.values())


def test_one_prompt_is_too_little(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    with pytest.raises(CallerError, match="at least 2 prompts"):
        train([planted_set.rows(np.array([0]))], encoder)


def test_no_sets_are_too_little(encoder: StaticEncoder) -> None:
    with pytest.raises(CallerError, match="at least 2 prompts"):
        train([], encoder)


def test_a_table_without_outcomes_is_too_little(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    empty = np.full_like(planted_set.scores, np.nan)
    with pytest.raises(CallerError, match="every cell of the score table is empty"):
        train([with_scores(planted_set, empty)], encoder)


def test_without_lengths_every_answer_is_assumed_as_long(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    predictor = train([msgspec.structs.replace(planted_set, output_tokens=None)], encoder)
    tokens = predictor.expect(feature_vector(encoder, (SUM,))).output_tokens
    assert (tokens == ASSUMED_OUTPUT_TOKENS).all()


def test_a_model_without_lengths_is_assumed_to_write_as_the_others(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    lengths = np.array(planted_set.output_tokens)
    lengths[:, 0] = np.nan
    predictor = train([msgspec.structs.replace(planted_set, output_tokens=lengths)], encoder)
    tokens = predictor.expect(feature_vector(encoder, (SUM,))).output_tokens
    assert tokens[0] == tokens[-1]


@pytest.mark.parametrize("width", [1, 5, 32])
def test_leverage_along_every_direction_is_the_exact_formula(width: int) -> None:
    rng = np.random.default_rng(width)
    table = rng.standard_normal((200, width)).astype(np.float32)
    directions, gain, rest = leverage_of(table, penalty=50.0)
    assert directions.shape == (width, width)
    inverse = np.linalg.inv(table.T.astype(float) @ table + 50.0 * np.eye(width))
    for z in rng.standard_normal((10, width)):
        along = directions @ z
        found = rest * (z @ z) + (along**2 * gain).sum()
        assert found == pytest.approx(z @ inverse @ z, rel=1e-4)


def test_leverage_of_a_wide_table_is_exact_along_the_largest_directions() -> None:
    rng = np.random.default_rng(0)
    spread = np.concatenate([np.full(20, 10.0), np.full(60, 0.5)])
    table = (rng.standard_normal((300, 80)) * spread).astype(np.float32)
    directions, gain, rest = leverage_of(table)
    inverse = np.linalg.inv(table.T.astype(float) @ table + 300.0 * np.eye(80))
    for z in np.linalg.eigh(table.T.astype(float) @ table)[1].T[-20:]:
        found = rest * (z @ z) + ((directions @ z) ** 2 * gain).sum()
        assert found == pytest.approx(z @ inverse @ z, rel=1e-3)


def test_more_data_makes_surer(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    vector = feature_vector(encoder, (SUM,))
    _, little, *_ = train([planted_set.rows(np.arange(30))], encoder).expect(vector)
    _, much, *_ = train([planted_set], encoder).expect(vector)
    assert much[:-1].mean() < little[:-1].mean()


def test_a_model_with_fewer_outcomes_is_less_sure(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    twin = np.column_stack([planted_set.scores, planted_set.scores[:, 0]])
    twin[60:, 3] = np.nan
    data = msgspec.structs.replace(
        with_scores(planted_set, twin), models=(*planted_set.models, "twin"), cost_usd=None, output_tokens=None
    )
    head = train([data], encoder).head
    assert head.data_ratio[3] == 2 * head.data_ratio[0] == 2.0
    _, std, *_ = train([data], encoder).expect(feature_vector(encoder, (SUM,)))
    assert std[3] / head.residual_std[3] == pytest.approx(2**0.5 * std[0] / head.residual_std[0], rel=1e-3)
