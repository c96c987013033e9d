from __future__ import annotations

import msgspec
import numpy as np
import pytest

from router.errors import CallerError
from router.learn.data import Prompt, RoutingSet
from router.learn.evaluation.splits import duplicate_groups, k_folds, leave_domain_out, normalized_question, transfer


def twice(data: RoutingSet, domain: str | None = None) -> RoutingSet:
    """The set and a copy of every prompt, in `domain` where one is given."""
    copies = tuple(
        msgspec.structs.replace(prompt, id=f"{prompt.id}-copy", domain=domain or prompt.domain)
        for prompt in data.prompts
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


def test_another_random_state_gives_other_folds(planted_set: RoutingSet) -> None:
    first, second = (next(k_folds(planted_set, 5, state)).test.tolist() for state in (0, 1))
    assert first != second


def test_by_domain_each_domain_is_forecast_from_the_others(planted_set: RoutingSet) -> None:
    for split in leave_domain_out(planted_set):
        assert len({planted_set.domains[row] for row in split.test}) == 1
        assert not {planted_set.domains[row] for row in split.test} & {planted_set.domains[row] for row in split.train}


def test_many_domains_are_left_out_several_at_a_time(planted_set: RoutingSet) -> None:
    prompts = tuple(
        msgspec.structs.replace(prompt, domain=f"d{n % 40}") for n, prompt in enumerate(planted_set.prompts)
    )
    data = msgspec.structs.replace(planted_set, prompts=prompts)
    splits = list(leave_domain_out(data))
    assert len(splits) == 15
    assert sorted(np.concatenate([split.test for split in splits])) == list(range(120))
    for split in splits:
        assert not {data.domains[row] for row in split.test} & {data.domains[row] for row in split.train}


def test_by_domain_a_prompt_is_not_forecast_from_its_copy_in_another_domain(planted_set: RoutingSet) -> None:
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
def test_a_question_is_recognised_with_other_options_and_examples(one: str, two: str) -> None:
    assert normalized_question((one,)) == normalized_question((two,))


def test_questions_that_share_only_their_last_instruction_are_different() -> None:
    assert normalized_question(("Cats purr.\n\nSummarise this.",)) != normalized_question(
        ("Dogs bark.\n\nSummarise this.",)
    )


def test_an_earlier_turn_makes_another_question() -> None:
    assert normalized_question(("In Python?", "And now?")) != normalized_question(("In Rust?", "And now?"))


def test_duplicates_have_the_number_of_the_first_row_with_the_same_question(planted_set: RoutingSet) -> None:
    assert duplicate_groups(twice(planted_set)).tolist() == [*range(120), *range(120)]


def renamed(data: RoutingSet, name: str, models: tuple[str, ...]) -> RoutingSet:
    return msgspec.structs.replace(data, name=name, models=models)


def test_another_set_is_forecast_on_the_models_that_both_have(planted_set: RoutingSet) -> None:
    train_set = planted_set.rows(np.arange(80))
    test_set = renamed(planted_set.rows(np.arange(80, 120)), "other", ("unknown", "poet", "calculator"))
    data, split = transfer(train_set, test_set)
    assert data.models == ("calculator", "poet")
    assert (len(split.train), len(split.test)) == (80, 40)
    # Calculator is the other set's third column, poet its second.
    assert (data.scores[split.test] == test_set.scores[:, [2, 1]]).all()


def test_questions_of_the_test_set_are_not_trained_on(planted_set: RoutingSet) -> None:
    _, split = transfer(planted_set, renamed(planted_set.rows(np.arange(10)), "other", planted_set.models))
    assert set(split.train.tolist()) == set(range(10, 120))


def test_sets_that_share_fewer_than_two_models_cannot_be_compared(planted_set: RoutingSet) -> None:
    other = renamed(planted_set, "other", ("a", "b", "poet"))
    with pytest.raises(CallerError, match=r"share 1 models; --test needs at least two \(--aliases joins"):
        transfer(planted_set, other)


def test_a_single_prompt_cannot_be_split(planted_set: RoutingSet) -> None:
    one = msgspec.structs.replace(planted_set.rows(np.array([0])), prompts=(Prompt("a", ("hi",)),))
    with pytest.raises(CallerError, match=r"different prompts \(1\), got 5"):
        list(k_folds(one, 5, 0))
