from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from router.errors import CallerError, MissingExtraError
from router.learn import evaluate as module
from router.learn.dataset import RoutingSet
from router.learn.evaluate import OURS, Report, evaluate, question_of
from router.learn.metrics import Quality
from router.perceive.encoder import Encoder, StaticEncoder


@pytest.fixture(scope="module")
def report(planted_set: RoutingSet, encoder: StaticEncoder) -> Report:
    return evaluate(planted_set, encoder)


def line(report: Report, method: str) -> Quality:
    return next(each for each in report.methods if each.method == method)


def test_ours_beats_random_and_the_best_single_model_on_planted_data(report: Report) -> None:
    ours = line(report, OURS)
    assert ours.quality > line(report, "random").quality + 0.2
    assert ours.quality > line(report, "best single").quality + 0.1
    assert ours.auc is not None
    assert ours.auc > 0.7


def test_no_method_beats_the_oracle(report: Report) -> None:
    oracle = line(report, "oracle")
    assert all(each.quality <= oracle.quality for each in report.methods)
    assert oracle.quality == pytest.approx(report.oracle_quality)
    assert oracle.regret == 0.0


def test_knowing_the_domain_is_worth_much_on_planted_data(report: Report) -> None:
    assert line(report, "best per domain").quality > line(report, "best single").quality + 0.1


def test_the_report_names_what_was_evaluated(report: Report, planted_set: RoutingSet) -> None:
    assert (report.data_set, report.prompts, report.models, report.encoder) == ("planted", 120, 3, "static")
    assert report.best_single in planted_set.models
    assert report.best_single_quality == pytest.approx(planted_set.scores.mean(axis=0).max())


def test_the_same_seed_gives_the_same_report(report: Report, planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    assert evaluate(planted_set, encoder) == report


def test_cheap_and_good_models_keep_quality_at_a_part_of_the_cost(report: Report) -> None:
    ours = line(report, OURS)
    assert ours.cost_95 is not None
    assert ours.cost_99 is not None
    assert 0 < ours.cost_95 <= ours.cost_99


def test_shuffled_outcomes_teach_nothing(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    scores = planted_set.scores[np.random.default_rng(4).permutation(120)]
    ours = line(evaluate(msgspec.structs.replace(planted_set, scores=scores), encoder), OURS)
    assert ours.auc == pytest.approx(0.5, abs=0.12)
    assert ours.captured is not None
    assert ours.captured < 0.2


def twice(data: RoutingSet, domain: str | None = None) -> RoutingSet:
    """The set and a copy of every prompt, in `domain` where one is given."""
    copies = tuple(
        msgspec.structs.replace(each, id=f"{each.id}-copy", domain=domain or each.domain) for each in data.prompts
    )
    doubled = data.rows(np.tile(np.arange(len(data.prompts)), 2))
    return msgspec.structs.replace(doubled, prompts=(*data.prompts, *copies))


def test_copies_of_a_prompt_are_in_the_same_fold(planted_set: RoutingSet) -> None:
    data = twice(planted_set)
    for train, test in module._splits(data, 5, None, seed=0):
        assert not {data.prompts[row].turns for row in train} & {data.prompts[row].turns for row in test}


def test_folds_cover_every_prompt_once(planted_set: RoutingSet) -> None:
    tested = np.concatenate([test for _, test in module._splits(planted_set, 5, None, seed=0)])
    assert sorted(tested) == list(range(120))


def test_by_domain_each_domain_is_forecast_from_the_others(planted_set: RoutingSet) -> None:
    for train, test in module._splits(planted_set, 5, "domain", seed=0):
        assert len({planted_set.domains[row] for row in test}) == 1
        assert not {planted_set.domains[row] for row in test} & {planted_set.domains[row] for row in train}


def test_by_domain_a_prompt_is_not_forecast_from_its_copy_in_another(planted_set: RoutingSet) -> None:
    data = twice(planted_set, domain="copies").rows(np.arange(130))
    splits = list(module._splits(data, 5, "domain", seed=0))
    assert sorted(np.concatenate([test for _, test in splits])) == list(range(130))
    for train, test in splits:
        assert not {data.prompts[row].turns for row in train} & {data.prompts[row].turns for row in test}


def test_a_domain_whose_copies_are_all_there_is_leaves_nothing_to_learn(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    with pytest.raises(CallerError, match="every prompt outside copies is also in it"):
        evaluate(twice(planted_set, domain="copies"), encoder, by="domain")


def test_by_domain_the_report_says_so(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    report = evaluate(planted_set, encoder, by="domain")
    assert "leave one domain out (2 folds)" in report.protocol


@pytest.mark.parametrize("folds", [1, 121])
def test_an_impossible_number_of_folds_is_an_error(folds: int, planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    with pytest.raises(CallerError, match=r"--folds must be between 2 and .*\(120\)"):
        evaluate(planted_set, encoder, folds=folds)


def test_more_folds_than_different_prompts_are_an_error(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    same = tuple(msgspec.structs.replace(each, turns=("hi",)) for each in planted_set.prompts)
    with pytest.raises(CallerError, match=r"different prompts \(1\), got 5"):
        evaluate(msgspec.structs.replace(planted_set, prompts=same), encoder)


def test_by_domain_needs_two_domains(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    with pytest.raises(CallerError, match="needs at least two domains; planted has 1"):
        evaluate(planted_set.rows(np.arange(0, 120, 2)), encoder, by="domain")


def test_by_anything_else_is_an_error(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    with pytest.raises(CallerError, match='--by takes "domain", got "moon"'):
        evaluate(planted_set, encoder, by="moon")


def test_holes_in_the_table_are_evaluated_around(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    scores = planted_set.scores.copy()
    scores[np.random.default_rng(5).random(scores.shape) < 0.3] = np.nan
    scores[:, 2] = np.nan
    scores[::10, 2] = 1.0
    report = evaluate(msgspec.structs.replace(planted_set, scores=scores), encoder)
    assert all(np.isfinite(each.quality) for each in report.methods)


def test_prompts_that_no_model_was_run_on_are_left_out(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    scores = planted_set.scores.copy()
    scores[:7] = np.nan
    report = evaluate(msgspec.structs.replace(planted_set, scores=scores), encoder)
    assert report.prompts == 113
    assert all(np.isfinite(each.quality) for each in report.methods)


def test_a_table_without_outcomes_cannot_be_evaluated(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    empty = msgspec.structs.replace(planted_set, scores=np.full_like(planted_set.scores, np.nan))
    with pytest.raises(CallerError, match="planted has no outcomes"):
        evaluate(empty, encoder)


def test_a_model_that_was_never_run_does_no_harm(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    scores = planted_set.scores.copy()
    scores[:, 2] = np.nan
    report = evaluate(msgspec.structs.replace(planted_set, scores=scores), encoder)
    assert line(report, OURS).quality > line(report, "random").quality


def test_a_baseline_encoder_adds_a_line(planted_set: RoutingSet, encoder: StaticEncoder, tmp_path: Path) -> None:
    class Other(StaticEncoder):
        def __init__(self) -> None:
            super().__init__(encoder.card, encoder._table, encoder._tokenizer)
            self.name = "other"

    report = evaluate(planted_set, encoder, baseline_encoder=Other, cache=tmp_path / "cache")
    assert any("other" in each.method for each in report.methods)
    assert list((tmp_path / "cache").iterdir())


def test_a_baseline_without_its_extra_is_named_as_skipped(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    def missing() -> Encoder:
        raise MissingExtraError("sentence-transformers", "train", "the baseline")

    (reason,) = evaluate(planted_set, encoder, baseline_encoder=missing).skipped
    assert "pip install 'pulvinar[train]'" in reason


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
    assert question_of((one,)) == question_of((two,))


def test_questions_that_share_only_their_last_instruction_stay_apart() -> None:
    assert question_of(("Cats purr.\n\nSummarise this.",)) != question_of(("Dogs bark.\n\nSummarise this.",))


def test_an_earlier_turn_makes_another_question() -> None:
    assert question_of(("In Python?", "And now?")) != question_of(("In Rust?", "And now?"))
