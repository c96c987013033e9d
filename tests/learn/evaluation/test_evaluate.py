from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from router.errors import CallerError, MissingExtraError
from router.learn.data import RoutingSet
from router.learn.data.list_prices import Price
from router.learn.evaluation.baselines import QUICK, SLOW
from router.learn.evaluation.evaluate import EvaluationSettings, evaluate
from router.learn.evaluation.methods import HINDSIGHT, OURS, SHUFFLED
from router.learn.evaluation.metrics import Quality
from router.learn.evaluation.ood import UnknownPrompts
from router.learn.evaluation.report import Report
from router.perceive.text.encoder import Encoder, StaticEncoder
from tests.conftest import ENCODER_FOLDER

# Most read one report, which takes seconds.
pytestmark = pytest.mark.xdist_group("evaluate")
# Training takes most of the time, in every fold again.
OURS_ALONE = EvaluationSettings(folds=2, baselines="none", draws=0)
WITHOUT_INTERVALS = EvaluationSettings(folds=2, draws=0)
QUICKLY = EvaluationSettings(folds=2, draws=100, pair=("poet", "calculator"), prompt_map=True)


@pytest.fixture(scope="module")
def report(planted_set: RoutingSet, encoder: StaticEncoder) -> Report:
    return evaluate(planted_set, encoder, msgspec.structs.replace(QUICKLY, folds=3, baselines="all"))


@pytest.fixture(scope="module")
def quick_report(planted_set: RoutingSet, encoder: StaticEncoder) -> Report:
    return evaluate(planted_set, encoder, QUICKLY)


def line(report: Report, method: str) -> Quality:
    return next(quality for quality in report.methods if quality.method == method)


def test_ours_beats_random_and_the_best_single_model_on_planted_data(report: Report) -> None:
    ours = line(report, OURS)
    assert ours.quality > line(report, "random").quality + 0.2
    assert ours.quality > line(report, "best single").quality + 0.1
    assert ours.auc is not None
    assert ours.auc > 0.7


def test_no_method_beats_the_oracle(report: Report) -> None:
    oracle = line(report, "oracle")
    assert all(method.quality <= oracle.quality for method in report.methods)
    assert oracle.quality == pytest.approx(report.oracle_quality)
    assert oracle.regret == 0.0


def test_the_best_model_per_domain_is_much_better_on_planted_data(report: Report) -> None:
    assert line(report, "best per domain").quality > line(report, "best single").quality + 0.1


def test_the_report_names_what_was_evaluated(report: Report, planted_set: RoutingSet) -> None:
    assert (report.data_set, report.prompts, report.models, report.encoder) == ("planted", 120, 3, "static")
    assert report.best_single in planted_set.models
    assert report.best_single_quality == pytest.approx(planted_set.scores.mean(axis=0).max())


def test_the_same_seed_gives_the_same_report(
    quick_report: Report, planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    # `test_baselines.py` trains each of the slow baselines twice.
    assert msgspec.json.encode(evaluate(planted_set, encoder, QUICKLY)) == msgspec.json.encode(quick_report)


def test_the_cost_to_keep_more_quality_is_not_lower(report: Report) -> None:
    ours = line(report, OURS)
    assert ours.cost_95 is not None
    assert ours.cost_99 is not None
    assert 0 < ours.cost_95 <= ours.cost_99


def test_nothing_is_learned_from_shuffled_outcomes(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    scores = planted_set.scores[np.random.default_rng(4).permutation(120)]
    shuffled = msgspec.structs.replace(planted_set, scores=scores)
    ours = line(evaluate(shuffled, encoder, EvaluationSettings(baselines="none", draws=0)), OURS)
    assert ours.auc == pytest.approx(0.5, abs=0.12)
    assert ours.captured is not None
    assert ours.captured < 0.2


def twice(data: RoutingSet, domain: str) -> RoutingSet:
    """The set and a copy of every prompt in another domain."""
    copies = tuple(msgspec.structs.replace(prompt, id=f"{prompt.id}-copy", domain=domain) for prompt in data.prompts)
    doubled = data.rows(np.tile(np.arange(len(data.prompts)), 2))
    return msgspec.structs.replace(doubled, prompts=(*data.prompts, *copies))


def test_a_domain_that_contains_all_questions_leaves_nothing_to_train_on(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    with pytest.raises(CallerError, match="no prompt is left to train on: all, or near-duplicates, are in copies"):
        evaluate(twice(planted_set, domain="copies"), encoder, EvaluationSettings(by="domain"))


def test_the_report_states_the_protocol_by_domain(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    report = evaluate(planted_set, encoder, EvaluationSettings(by="domain", baselines="none", draws=0))
    assert "leave one domain out (2 folds)" in report.protocol


@pytest.mark.parametrize("folds", [1, 121])
def test_an_impossible_number_of_folds_is_an_error(folds: int, planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    with pytest.raises(CallerError, match=r"--folds must be between 2 and .*\(120\)"):
        evaluate(planted_set, encoder, EvaluationSettings(folds=folds))


def test_more_folds_than_different_prompts_are_an_error(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    same = tuple(msgspec.structs.replace(prompt, turns=("hi",)) for prompt in planted_set.prompts)
    with pytest.raises(CallerError, match=r"different prompts \(1\), got 5"):
        evaluate(msgspec.structs.replace(planted_set, prompts=same), encoder)


def test_by_domain_needs_two_domains(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    with pytest.raises(CallerError, match="needs at least two domains; planted has 1"):
        evaluate(planted_set.rows(np.arange(0, 120, 2)), encoder, EvaluationSettings(by="domain"))


def test_an_unknown_protocol_is_an_error(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    with pytest.raises(CallerError, match='--by takes "domain" or "model", got "moon"'):
        evaluate(planted_set, encoder, EvaluationSettings(by="moon"))


def test_a_table_with_missing_outcomes_can_be_evaluated(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    scores = planted_set.scores.copy()
    scores[np.random.default_rng(5).random(scores.shape) < 0.3] = np.nan
    scores[:, 2] = np.nan
    scores[::10, 2] = 1.0
    report = evaluate(msgspec.structs.replace(planted_set, scores=scores), encoder, WITHOUT_INTERVALS)
    assert all(np.isfinite(method.quality) for method in report.methods)


def test_prompts_that_no_model_was_run_on_are_left_out(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    scores = planted_set.scores.copy()
    scores[:7] = np.nan
    report = evaluate(msgspec.structs.replace(planted_set, scores=scores), encoder, WITHOUT_INTERVALS)
    assert report.prompts == 113
    assert all(np.isfinite(method.quality) for method in report.methods)


def test_a_table_without_outcomes_cannot_be_evaluated(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    empty = msgspec.structs.replace(planted_set, scores=np.full_like(planted_set.scores, np.nan))
    with pytest.raises(CallerError, match="planted has no outcomes"):
        evaluate(empty, encoder)


def test_a_model_that_was_never_run_is_ignored(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    scores = planted_set.scores.copy()
    scores[:, 2] = np.nan
    report = evaluate(msgspec.structs.replace(planted_set, scores=scores), encoder, OURS_ALONE)
    assert line(report, OURS).quality > line(report, "random").quality


def test_a_baseline_encoder_adds_a_line(planted_set: RoutingSet, encoder: StaticEncoder, tmp_path: Path) -> None:
    other = StaticEncoder.load(ENCODER_FOLDER)
    other.name = "other"
    report = evaluate(planted_set, encoder, WITHOUT_INTERVALS, baseline_encoder=lambda: other, cache=tmp_path / "cache")
    assert any("other" in method.method for method in report.methods)
    assert list((tmp_path / "cache").iterdir())


def test_a_baseline_without_its_extra_is_named_as_skipped(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    def missing() -> Encoder:
        raise MissingExtraError("sentence-transformers", "train", "the baseline")

    skipped = evaluate(planted_set, encoder, WITHOUT_INTERVALS, baseline_encoder=missing).skipped
    assert any("pip install 'pulvinar[train]'" in reason for reason in skipped)


def test_every_baseline_and_control_is_in_the_full_report_or_named_as_skipped(report: Report) -> None:
    methods = {method.method for method in report.methods}
    assert {f"{name}, static" for name in (*QUICK, *SLOW)} <= methods
    constants = {"random", "cheapest", "best single", HINDSIGHT, "best per domain", "oracle"}
    assert constants | {SHUFFLED, "control: prompt length"} <= methods
    assert report.skipped == ("kNN and ridge on sentence embeddings (--baselines all)",)


@pytest.mark.parametrize("level", ["none", "quick"])
def test_the_report_lists_the_methods_that_a_short_run_skips(
    level: str, planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    short = evaluate(planted_set, encoder, EvaluationSettings(folds=2, baselines=level, draws=0))
    run = {method.method.split(",")[0] for method in short.methods}
    for name in (*QUICK, *SLOW, SHUFFLED):
        assert (name in run) != any(reason.startswith(f"{name} (") for reason in short.skipped), name
    assert bool(run & set(QUICK)) == (level == "quick")


def test_an_unknown_level_of_baselines_is_an_error(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    with pytest.raises(CallerError, match='--baselines takes none, quick or all, got "some"'):
        evaluate(planted_set, encoder, EvaluationSettings(baselines="some"))


def test_the_report_states_that_the_shuffled_control_gains_nothing(report: Report) -> None:
    assert line(report, SHUFFLED).quality < line(report, OURS).quality - 0.1
    (verdict,) = (made for made in report.verdicts if made.against == SHUFFLED)
    assert verdict.result == "gains nothing"
    assert verdict.sentence.startswith("shuffled-label control: no gain (captured ")


def test_the_verdict_compares_ours_with_the_best_single_model_in_hindsight(report: Report) -> None:
    (verdict,) = (made for made in report.verdicts if made.against == HINDSIGHT)
    assert verdict.result == "better"
    assert verdict.difference == pytest.approx(line(report, OURS).quality - report.best_single_quality, abs=2e-6)
    assert verdict.low <= verdict.difference <= verdict.high


def test_the_verdict_names_the_best_trained_baseline_of_each_figure(report: Report) -> None:
    trained = [method for method in report.methods if method.trained]
    for figure in ("auc", "quality", "aiq"):
        (verdict,) = (
            made for made in report.verdicts if made.figure == figure and made.against not in (HINDSIGHT, SHUFFLED)
        )
        assert verdict.theirs == max(getattr(method, figure) for method in trained)


def test_a_verdict_follows_from_its_interval(quick_report: Report) -> None:
    assert {verdict.result for verdict in quick_report.verdicts} <= {"better", "level", "worse"}
    for verdict in quick_report.verdicts:
        expected = "better" if verdict.low > 0 else "worse" if verdict.high < 0 else "level"
        assert verdict.result == expected


def test_the_cheapest_method_chooses_the_model_of_least_mean_cost(report: Report, planted_set: RoutingSet) -> None:
    assert line(report, "cheapest").quality == pytest.approx(planted_set.scores[:, 0].mean(), abs=1e-6)


def test_without_costs_the_report_states_it_and_has_no_cost_figures(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    bare = msgspec.structs.replace(planted_set, cost_usd=None)
    report = evaluate(bare, encoder, WITHOUT_INTERVALS)
    assert all((line.aiq, line.cost_99, line.curve) == (None, None, ()) for line in report.methods)
    assert any("AIQ" in reason and "no --prices" in reason for reason in report.skipped)
    assert "cheapest" not in {method.method for method in report.methods}


def test_list_prices_replace_missing_costs(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    bare = msgspec.structs.replace(planted_set, cost_usd=None)
    prices = {"calculator": Price(0.1, 0.2), "poet": Price(1.0, 2.0)}
    report = evaluate(bare, encoder, OURS_ALONE, prices=prices)
    assert report.costs == "list prices of 2 of 3 models × recorded lengths"
    assert line(report, OURS).aiq is not None


def test_a_pair_has_its_figures_in_every_line(report: Report) -> None:
    assert report.pair == ("poet", "calculator")
    ours = line(report, OURS).apgr
    assert ours is None or ours > 0.6
    assert all((method.apgr is None) == (ours is None) for method in report.methods)


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        (("poet", "calculater"), 'no model "calculater"; did you mean "calculator"'),
        (("poet", "poet"), "two different models"),
    ],
)
def test_a_pair_of_unknown_or_equal_models_is_an_error(
    pair: tuple[str, str], problem: str, planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    with pytest.raises(CallerError, match=problem):
        evaluate(planted_set, encoder, EvaluationSettings(pair=pair))


def test_ablations_add_a_line_without_each_block_of_features(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    report = evaluate(planted_set, encoder, msgspec.structs.replace(OURS_ALONE, ablations=True))
    whole, blind = line(report, OURS), line(report, f"{OURS} without embedding")
    assert f"{OURS} without surface features" in {method.method for method in report.methods}
    assert whole.brier != blind.brier


def test_one_set_can_be_trained_on_and_another_tested(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    other = msgspec.structs.replace(planted_set.rows(np.arange(80, 120)), name="other")
    report = evaluate(planted_set.rows(np.arange(80)), encoder, EvaluationSettings(draws=0), test=other)
    assert report.protocol == "trained on planted, tested on other (3 shared models)"
    assert report.prompts == 40
    assert line(report, OURS).quality > line(report, "random").quality


def test_the_cheapest_model_is_known_where_only_the_other_set_has_costs(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    # The first column is the cheapest; reversed, so that its position does not identify it.
    reversed_set = msgspec.structs.replace(
        planted_set,
        models=planted_set.models[::-1],
        scores=planted_set.scores[:, ::-1],
        cost_usd=planted_set.cost_usd[:, ::-1] if planted_set.cost_usd is not None else None,
    )
    train_set = msgspec.structs.replace(reversed_set.rows(np.arange(80)), cost_usd=None)
    report = evaluate(
        train_set, encoder, EvaluationSettings(baselines="none", draws=0), test=reversed_set.rows(np.arange(80, 120))
    )
    assert line(report, "cheapest").quality == pytest.approx(planted_set.scores[80:, 0].mean())


def test_two_protocols_at_once_are_an_error(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    with pytest.raises(CallerError, match="two protocols"):
        evaluate(planted_set, encoder, EvaluationSettings(by="domain"), test=planted_set)


def test_by_model_the_report_has_numbers_of_probes_and_no_methods(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    report = evaluate(planted_set, encoder, EvaluationSettings(by="model"))
    assert report.methods == ()
    assert {line.probes for line in report.left_out} == {0, 8, 16, 32, 64, None}
    assert "leave one model out" in report.protocol


def test_unknown_prompts_are_scored_beside_the_methods(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    unknown = UnknownPrompts("poems", planted_set.rows(np.arange(1, 120, 2)).prompts)
    sums = planted_set.rows(np.arange(0, 120, 2))
    report = evaluate(sums, encoder, OURS_ALONE, unknown=unknown)
    assert {(line.known, line.unknown) for line in report.novelty} == {("planted", "poems")}


def test_the_report_survives_json(report: Report) -> None:
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def test_every_number_of_a_report_has_at_most_six_decimals(report: Report) -> None:
    def numbers(value: object) -> list[float]:
        if isinstance(value, dict):
            return [number for item in value.values() for number in numbers(item)]
        if isinstance(value, list | tuple):
            return [number for item in value for number in numbers(item)]
        return [value] if isinstance(value, float) else []

    every_number = numbers(msgspec.to_builtins(report))
    assert len(every_number) > 500
    assert all(round(number, 6) == number for number in every_number)


def test_domains_have_measured_scores_forecasts_and_choices(report: Report, planted_set: RoutingSet) -> None:
    poetry = next(domain for domain in report.domains if domain.name == "poetry")
    poems = planted_set.scores[np.array(planted_set.domains) == "poetry"]
    assert poetry.prompts == 60
    assert poetry.scores == pytest.approx(poems.mean(axis=0), abs=1e-6)
    assert sum(poetry.chosen) == pytest.approx(1.0)
    assert poetry.forecasts[1] > poetry.forecasts[0] + 0.3


def test_few_prompts_and_holes_are_noted(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    scores = planted_set.scores.copy()
    scores[0, 0] = np.nan
    notes = evaluate(msgspec.structs.replace(planted_set, scores=scores), encoder, OURS_ALONE).notes
    assert any("only 120 prompts" in note for note in notes)
    assert any("0.3% of the outcomes are missing" in note for note in notes)
