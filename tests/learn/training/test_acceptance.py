from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from router.cards.facts import ModelFacts
from router.errors import CallerError
from router.learn.training.train import train
from router.perceive.ability.acceptance import TIERS, AcceptanceParameters
from router.perceive.predictor import Predictor
from router.perceive.text.encoder import StaticEncoder
from tests.graded_prompts import EASY, HARD, MODELS, facts, graded_predictor, graded_prompts, measured

THING = "kettle of Rome"


@pytest.fixture(scope="module")
def graded(encoder: StaticEncoder) -> Predictor:
    return graded_predictor(encoder)


def parameters(predictor: Predictor) -> AcceptanceParameters:
    assert predictor.acceptance is not None
    return predictor.acceptance


def qualities(predictor: Predictor, text: str) -> list[float]:
    """The qualities of the models on a prompt, the weakest model first, without the population's."""
    return predictor.expect(predictor.vectors([(text.format(thing=THING),)])[0]).quality[:-1].tolist()


def test_two_trainings_give_identical_files(graded: Predictor, encoder: StaticEncoder, tmp_path: Path) -> None:
    graded.save(tmp_path / "one")
    graded_predictor(encoder).save(tmp_path / "two")
    for file in ("predictor.json", "head.npz"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize("text", [EASY, HARD])
def test_a_stronger_model_has_a_higher_quality_on_every_prompt(graded: Predictor, text: str) -> None:
    expected = qualities(graded, text)
    assert expected == sorted(expected)


def test_everybody_answers_an_easy_prompt_and_models_differ_on_a_hard_one(graded: Predictor) -> None:
    easy, hard = qualities(graded, EASY), qualities(graded, HARD)
    assert min(easy) > 0.7
    assert hard[-1] - hard[0] > easy[-1] - easy[0] + 0.3
    assert all(one > other for one, other in zip(easy, hard, strict=True))


def test_the_curve_passes_through_the_strengths_of_the_tiers(graded: Predictor) -> None:
    fitted = parameters(graded)
    assert len(fitted.tier_ratings) == len(TIERS)
    assert (np.diff(fitted.tier_ratings) > 0).all()
    assert fitted.strengths(fitted.tier_ratings) == pytest.approx(fitted.tier_strengths)
    ratings = np.linspace(-10, 10, 200)
    assert (np.diff(fitted.strengths(ratings)) > 0).all()


def test_outcomes_are_columns_of_the_rating_model(graded: Predictor) -> None:
    fitted = parameters(graded)
    assert fitted.outcomes.shape == (len(MODELS), 2)
    assert np.isfinite(fitted.outcomes).all()
    assert (np.diff(fitted.outcomes.mean(axis=1)) > 0).mean() > 0.7


def test_of_few_models_the_outcomes_are_no_measurement(encoder: StaticEncoder) -> None:
    few = measured()
    few = msgspec.structs.replace(few, models=few.models[:3], scores=few.scores[:, :3].copy())
    fitted = parameters(train([few], encoder, facts=facts(), graded=graded_prompts()))
    assert fitted.outcomes.shape == (3, 0)


@pytest.mark.parametrize(("listed", "changes"), [("m3", True), ("another", False)])
def test_what_a_leaderboard_says_of_a_measured_model_counts_for_it(
    encoder: StaticEncoder, tmp_path: Path, listed: str, changes: bool
) -> None:
    (tmp_path / "arena_text.csv").write_text(f"model,full\n{listed},1900\n", encoding="utf-8")
    known = facts() | {"m3": ModelFacts("m3", family="acme")}
    trained = train([measured()], encoder, facts=known, graded=graded_prompts(), leaderboards=tmp_path)
    rated = parameters(trained).rated[:, 0]
    assert bool(rated[3] > rated[4]) is changes


def test_the_graded_prompts_are_a_source_in_the_manifest(graded: Predictor) -> None:
    assert [source.name for source in graded.manifest.data_sets] == ["measured", "graded"]


def test_a_model_that_stands_for_a_strength_must_be_known(encoder: StaticEncoder) -> None:
    prompts = msgspec.structs.replace(graded_prompts(), strengths=(*graded_prompts().strengths[:-1], ("unheard-of",)))
    with pytest.raises(CallerError, match="strengths: there are no facts of the model unheard-of"):
        train([measured()], encoder, facts=facts(), graded=prompts)


def test_strengths_whose_models_are_not_rated_in_their_order_are_refused(encoder: StaticEncoder) -> None:
    reverse = {name: ModelFacts(name, benchmarks={"lmarena_text": 0.5 - 0.04 * n}) for n, name in enumerate(MODELS)}
    data = measured()
    data = msgspec.structs.replace(data, scores=data.scores[:, ::-1].copy())
    with pytest.raises(CallerError, match="strengths: the models of medium are not rated above those of small"):
        train([data], encoder, facts=reverse, graded=graded_prompts())
