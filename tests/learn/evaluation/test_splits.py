from __future__ import annotations

import msgspec
import numpy as np
import pytest

from router.errors import CallerError
from router.learn.data import Prompt, RoutingSet
from router.learn.data.vectors import vectors_of
from router.learn.evaluation.cold_start import error_vector, full_outcomes, population, strategies
from router.learn.evaluation.splits import (
    HiddenOutcomes,
    duplicate_groups,
    k_folds,
    leave_domain_out,
    leave_models_out,
    normalized_question,
    transfer,
)
from router.perceive.encoder import StaticEncoder
from router.types import Doubles, Floats


def twice(data: RoutingSet, domain: str | None = None) -> RoutingSet:
    """The set and a copy of every prompt, in `domain` where one is given."""
    copies = tuple(
        msgspec.structs.replace(each, id=f"{each.id}-copy", domain=domain or each.domain) for each in data.prompts
    )
    doubled = data.rows(np.tile(np.arange(len(data.prompts)), 2))
    return msgspec.structs.replace(doubled, prompts=(*data.prompts, *copies))


def test_copies_of_a_prompt_are_in_the_same_fold(planted_set: RoutingSet) -> None:
    data = twice(planted_set)
    for split in k_folds(data, 5, 0):
        assert not {data.prompts[row].turns for row in split.train} & {data.prompts[row].turns for row in split.test}


def test_folds_cover_every_prompt_once(planted_set: RoutingSet) -> None:
    tested = np.concatenate([split.test for split in k_folds(planted_set, 5, 0)])
    assert sorted(tested) == list(range(120))


def test_another_random_state_makes_other_folds(planted_set: RoutingSet) -> None:
    first, second = (next(k_folds(planted_set, 5, state)).test.tolist() for state in (0, 1))
    assert first != second


def test_by_domain_each_domain_is_forecast_from_the_others(planted_set: RoutingSet) -> None:
    for split in leave_domain_out(planted_set):
        assert len({planted_set.domains[row] for row in split.test}) == 1
        assert not {planted_set.domains[row] for row in split.test} & {planted_set.domains[row] for row in split.train}


def test_many_domains_are_left_out_several_at_a_time(planted_set: RoutingSet) -> None:
    prompts = tuple(msgspec.structs.replace(each, domain=f"d{n % 40}") for n, each in enumerate(planted_set.prompts))
    data = msgspec.structs.replace(planted_set, prompts=prompts)
    splits = list(leave_domain_out(data))
    assert len(splits) == 15
    assert sorted(np.concatenate([split.test for split in splits])) == list(range(120))
    for split in splits:
        assert not {data.domains[row] for row in split.test} & {data.domains[row] for row in split.train}


def test_by_domain_a_prompt_is_not_forecast_from_its_copy_in_another(planted_set: RoutingSet) -> None:
    data = twice(planted_set, domain="copies").rows(np.arange(130))
    splits = list(leave_domain_out(data))
    assert sorted(np.concatenate([split.test for split in splits])) == list(range(130))
    for split in splits:
        assert not {data.prompts[row].turns for row in split.train} & {data.prompts[row].turns for row in split.test}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("What is 2 + 2?\n(A) 3\n(B) 4", "what is 2 + 2\nA) 5\nB) 4\nC) 1"),
        (
            "Who wrote Emma?\nA) X\nB) Y\nAnswer: A\n\nWho wrote Dune?\nA) Z\nB) W\nAnswer:",
            "Who wrote Dune?\n(A) W\n(B) Q",
        ),
    ],
)
def test_a_question_is_known_again_with_other_options_and_examples(one: str, two: str) -> None:
    assert normalized_question((one,)) == normalized_question((two,))


def test_questions_that_share_only_their_last_instruction_stay_apart() -> None:
    assert normalized_question(("Cats purr.\n\nSummarise this.",)) != normalized_question(
        ("Dogs bark.\n\nSummarise this.",)
    )


def test_an_earlier_turn_makes_another_question() -> None:
    assert normalized_question(("In Python?", "And now?")) != normalized_question(("In Rust?", "And now?"))


def test_copies_have_the_number_of_the_first_row_that_asks_the_same(planted_set: RoutingSet) -> None:
    assert duplicate_groups(twice(planted_set)).tolist() == [*range(120), *range(120)]


def renamed(data: RoutingSet, name: str, models: tuple[str, ...]) -> RoutingSet:
    return msgspec.structs.replace(data, name=name, models=models)


def test_another_set_is_forecast_on_the_models_that_both_have(planted_set: RoutingSet) -> None:
    learned = planted_set.rows(np.arange(80))
    tested = renamed(planted_set.rows(np.arange(80, 120)), "other", ("stranger", "poet", "calculator"))
    data, split = transfer(learned, tested)
    assert data.models == ("calculator", "poet")
    assert (len(split.train), len(split.test)) == (80, 40)
    # Calculator is the other set's third column, poet its second.
    assert (data.scores[split.test] == tested.scores[:, [2, 1]]).all()


def test_questions_of_the_test_set_are_not_learned_from(planted_set: RoutingSet) -> None:
    _, split = transfer(planted_set, renamed(planted_set.rows(np.arange(10)), "other", planted_set.models))
    assert set(split.train.tolist()) == set(range(10, 120))


def test_sets_that_share_fewer_than_two_models_cannot_be_compared(planted_set: RoutingSet) -> None:
    other = renamed(planted_set, "other", ("a", "b", "poet"))
    with pytest.raises(CallerError, match="share 1 models; --test needs two, and --aliases joins names"):
        transfer(planted_set, other)


def test_no_more_probes_are_revealed_than_were_granted() -> None:
    probes = HiddenOutcomes("new", np.array([1.0, 0.0, np.nan, 1.0]), budget=2)
    assert probes.rows.tolist() == [0, 1, 3]
    assert (probes(0), probes(1), probes(0)) == (1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="more than 2 probes"):
        probes(3)


def test_a_row_on_which_the_model_was_not_run_cannot_be_asked() -> None:
    with pytest.raises(ValueError, match="was not run on row 1"):
        HiddenOutcomes("new", np.array([1.0, np.nan]), budget=2)(1)


def test_the_left_out_model_is_hidden_from_those_who_place_it(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    seen: list[tuple[tuple[str, ...], int]] = []
    tested: set[bytes] = set()

    def learn(data: RoutingSet, vectors: Floats):  # type: ignore[no-untyped-def]
        learned = {row.tobytes() for row in vectors}

        def place(probes: HiddenOutcomes, asked: Floats) -> Doubles:
            assert not learned & {row.tobytes() for row in asked}
            tested.update(row.tobytes() for row in asked)
            assert probes.model not in data.models
            seen.append((data.models, probes.budget))
            return np.full(len(asked), 0.5)

        return place

    vectors = vectors_of(planted_set.prompts, encoder)
    leave_models_out(planted_set, vectors, {"blind": learn}, full_outcomes(encoder), probes=(0, 4))
    assert {models for models, _ in seen} == {("poet", "generalist"), ("calculator", "generalist"), MODELS[:2]}
    assert [budget for _, budget in seen] == [0, 4] * 3
    assert len(tested) == 24


MODELS = ("calculator", "poet", "generalist")


def test_the_ladder_begins_at_the_prior_and_ends_at_full_outcomes(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
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
    strategy,
    planted_set: RoutingSet,
    encoder: StaticEncoder,  # type: ignore[no-untyped-def]
) -> None:
    vectors = vectors_of(planted_set.prompts, encoder)
    place = strategy(encoder)(planted_set, vectors)
    few, many = (place(HiddenOutcomes("new", np.ones(120), count), vectors).mean() for count in (4, 64))
    none = place(HiddenOutcomes("new", np.ones(120), 0), vectors).mean()
    assert none < few < many
    assert many > 0.85


def test_probes_show_what_a_new_model_is_good_at(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    vectors = vectors_of(planted_set.prompts, encoder)
    place = error_vector(encoder.dimensions)(planted_set, vectors)
    poems = np.array([domain == "poetry" for domain in planted_set.domains])
    forecast = place(HiddenOutcomes("new", poems.astype(float), 64), vectors)
    assert forecast[poems].mean() > forecast[~poems].mean() + 0.3


def test_leaving_one_of_two_models_out_leaves_too_little(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    two = msgspec.structs.replace(planted_set, models=MODELS[:2], scores=planted_set.scores[:, :2])
    vectors = vectors_of(two.prompts, encoder)
    with pytest.raises(CallerError, match="--by model needs at least three models; planted has 2"):
        leave_models_out(two, vectors, strategies(encoder, {}), full_outcomes(encoder))


def test_one_prompt_has_no_other_to_be_forecast_from(planted_set: RoutingSet) -> None:
    one = msgspec.structs.replace(planted_set.rows(np.array([0])), prompts=(Prompt("a", ("hi",)),))
    with pytest.raises(CallerError, match=r"different prompts \(1\), got 5"):
        list(k_folds(one, 5, 0))
