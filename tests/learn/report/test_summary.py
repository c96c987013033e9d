"""The three sentences with which a report opens."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from router.learn.data import RoutingSet
from router.learn.evaluation.evaluate import EvaluationSettings, evaluate
from router.learn.evaluation.report import BottomLine, Domain, DomainComparison, Report
from router.learn.report.summary import method_of, sentences
from router.perceive.text.encoder import StaticEncoder

LINE = BottomLine("big", 1697, 0.71, 0.71, -0.01, 0.01, single_usd_per_1000=0.69, routed_usd_per_1000=0.4209)


@pytest.fixture(scope="module")
def report(planted_set: RoutingSet, encoder: StaticEncoder) -> Report:
    return evaluate(planted_set, encoder, EvaluationSettings(folds=2, baselines="none", draws=50))


def first(report: Report, **changes: Any) -> str:
    line = msgspec.structs.replace(LINE, **changes)
    return sentences(msgspec.structs.replace(report, bottom_line=line))[0]


def test_the_same_quality_for_less_is_said_in_dollars(report: Report) -> None:
    assert first(report) == (
        "On these 1,697 prompts, routing keeps the quality of always using big (0.71) for 61 % of its cost: "
        "$0.42 instead of $0.69 per 1,000 requests."
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"routed_quality": 0.75, "low": 0.02},
            "raises the quality of always using big (0.750 instead of 0.710)",
        ),
        ({"routed_quality": 0.70}, "at a quality that is not measurably different (0.700 instead of 0.710)"),
        ({"routed_quality": 0.6, "high": -0.05}, "measurably worse: its quality is 0.600 instead of 0.710"),
        ({"routed_usd_per_1000": 0.69}, "saves nothing: to keep the quality of always using big, it costs as much"),
        ({"routed_usd_per_1000": 2.0, "routed_quality": 0.7}, "does not pay: it costs $2.00 instead of $0.69"),
        ({"routed_usd_per_1000": 2.0, "low": 0.01}, "has a higher quality than always using big"),
    ],
)
def test_every_other_result_is_said_as_plainly(report: Report, changes: dict[str, Any], words: str) -> None:
    assert words in first(report, **changes)


def test_without_costs_nothing_is_said_about_dollars(report: Report) -> None:
    without = msgspec.structs.replace(report, costs="no costs: the set records none")
    shown = first(without, single_usd_per_1000=None, routed_usd_per_1000=None)
    assert "the costs cannot be compared (no costs: the set records none)" in shown
    assert "$" not in shown


def test_the_second_sentence_is_the_verdict_on_quality(report: Report) -> None:
    (verdict,) = (one for one in report.verdicts if one.figure == "quality" and "hindsight" in one.against)
    words = {
        "better": "is better than always using",
        "level": "is neither measurably better nor worse than",
        "worse": "does not pay: it is worse than",
    }
    for result, expected in words.items():
        changed = msgspec.structs.replace(report, verdicts=(msgspec.structs.replace(verdict, result=result),))
        assert expected in sentences(changed)[1]


def test_the_third_sentence_names_the_domains_where_routing_does_not_pay(report: Report) -> None:
    worse = tuple(DomainComparison(name, 40, 0.52, 0.57) for name in ("law", "poems", "sums", "taxes"))
    line = msgspec.structs.replace(LINE, worse_in=worse)
    assert sentences(msgspec.structs.replace(report, bottom_line=line))[2] == (
        "Routing does not pay on these kinds of prompts (domains), where always using big is measurably better: "
        "law (0.52 instead of 0.57, 40 prompts), poems (0.52 instead of 0.57, 40 prompts), "
        "sums (0.52 instead of 0.57, 40 prompts), 1 more."
    )
    fine = msgspec.structs.replace(report, bottom_line=LINE)
    assert "In none of the 2 kinds of prompts (domains) is routing measurably worse" in sentences(fine)[2]
    one = msgspec.structs.replace(fine, domains=(Domain("a", 1, (0.5,), (0.5,), (1.0,)),))
    assert sentences(one)[2].startswith("The prompts are of one kind")


def test_a_report_of_left_out_models_has_no_sentences(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    assert sentences(evaluate(planted_set, encoder, EvaluationSettings(by="model"))) == ()


def test_the_details_say_what_was_known_only_in_hindsight() -> None:
    assert "chosen on the other folds" in method_of(LINE, "recorded")
    assert "on these prompts, in hindsight" in method_of(msgspec.structs.replace(LINE, in_hindsight=True), "recorded")
    alone = msgspec.structs.replace(LINE, routed_usd_per_1000=None)
    assert "by forecast quality alone" in method_of(alone, "")
