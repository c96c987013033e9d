"""What optional stages cost and brought, and turning them off where they do not pay."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import pytest

from router.analysis.replay import Replayer
from router.analysis.stages import Run, StageReport, line_of, stage_report
from router.cards.catalog import Catalog
from router.commands import main
from router.decide.exploration.rule import Draw, ExplorationRule
from router.decide.plans.catalog import Plans
from router.decide.plans.spec import Cascade
from router.decide.policy import JudgeGrader, Policies, Policy, RegexGrader
from router.loading import load_predictor
from router.perceive.predictor import Predictor
from router.pipeline import Routed, Router
from router.store.backend import FolderBackend
from router.store.records.journal import Journal, open_records
from router.store.records.record import Record, ShadowRecord, Side
from router.store.records.snapshots import CatalogSnapshot, Snapshots, catalogue_snapshot
from router.trials import Exploration
from router.types import CallOutcome, Outcome
from router.wire.chat.request import ChatRequest
from tests.decide.cards import card
from tests.store.records.examples import record

_CODE = "Write a Python function that merges two sorted lists, with type hints and tests. Variant {}."
_MATHS = "Prove by induction that the sum of the first n odd numbers is n squared. Variant {}."
_PLANS = Plans([Cascade(id="ladder", description="d", members=("gpt-4o-mini", "gpt-4o"))])


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor()


@pytest.fixture(scope="module")
def router(predictor: Predictor) -> Router:
    cards = [
        card("gpt-4o-mini", price={"input": 0.15, "output": 0.6}),
        card("gpt-4o", price={"input": 2.5, "output": 10}),
    ]
    policy = Policy(id="default", description="d", mistake_usd=0.05, plans=("ladder",), graders=(RegexGrader("x"),))
    return Router(Catalog(cards), Policies([policy]), predictor, plans=_PLANS)


def _routed(router: Router, text: str, plan: str | None = None) -> Routed:
    return router.route(ChatRequest.from_body({"messages": [{"role": "user", "content": text}]}), plan=plan)


@pytest.fixture(scope="module")
def store(router: Router, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """The ladder is right about code where one card is not, and costs twice as much and more for maths in vain."""
    folder = tmp_path_factory.mktemp("stages")
    journal = Journal.open(folder, interval_s=0.01)
    snapshots = Snapshots(catalogue_snapshot(router.catalog, {}), journal.keep)
    judged = {}
    for number in range(160):
        text, with_plan = (_CODE if number % 2 else _MATHS), number % 4 < 2
        routed = _routed(router, text.format(number), "ladder" if with_plan else None)
        decision = snapshots.decision_record(routed)
        if not with_plan:
            # The same prompts, answered by one card.
            decision = msgspec.structs.replace(decision, plan=None, card="gpt-4o-mini", quality=0.5)
        calls = tuple(
            CallOutcome(name, "draft", verdict, cost_usd=usd, elapsed_ms=400.0)
            for name, verdict, usd in (("gpt-4o-mini", "rejected", 0.001), ("gpt-4o", "shown", 0.009))
        )
        plan = Outcome(200, 900.0, "gpt-4o", cost_usd=0.010, plan="plan/ladder", calls=calls)
        outcome = plan if with_plan else Outcome(200, 400.0, "gpt-4o-mini", cost_usd=0.001)
        made = record(f"r{number}", at=time.time() - 60, outcome=outcome, decision=decision)
        journal.append(made)
        judged[made.id] = float(with_plan) if number % 2 else 0.5
    journal.close()
    return folder, judged


@pytest.fixture(scope="module")
def report(store: tuple[Path, dict[str, float]], predictor: Predictor) -> StageReport:
    records = open_records(store[0])
    assert records is not None
    with records:
        return stage_report(records, records.scan(), store[1], predictor)


def test_a_plan_is_compared_with_the_card_that_would_have_answered_alone(report: StageReport) -> None:
    lines = {line.kind: line for line in report.stages}
    assert (report.requests, report.lost) == (160, 0)
    assert set(lines) == {"all", "coding", "maths"}
    coding = lines["coding"]
    assert (coding.stage, coding.method, coding.requests, coding.calls) == ("plan/ladder", "cascade", 40, 1.0)
    assert coding.judged is not None
    assert coding.judged.answers == 40
    assert coding.judged.mean > 0.3
    assert coding.extra_usd is not None
    # The plan made the single card's call, too, so only the other one counts.
    assert coding.extra_usd == pytest.approx(0.009, abs=0.0081)
    assert coding.forecast.mean == pytest.approx(coding.forecast.ci95[0], abs=0.2)
    assert coding.by == "judged"
    assert [(grader.grader, grader.requests) for grader in report.graders] == [("grader.regex", 160)]


def test_a_plan_that_brings_nothing_for_its_price_does_not_pay_there_and_pays_elsewhere(report: StageReport) -> None:
    verdicts = {line.kind: line.verdict for line in report.stages}
    assert verdicts["coding"] == "pays"
    assert verdicts["maths"] == "does not pay"
    assert report.not_paying() == {"ladder": ["maths"]}


def _run(quality_per_usd: float, extra_usd: float | None, gain: float = 0.05) -> Run:
    return Run(1.0, extra_usd, 100.0, gain, gain, quality_per_usd)


def test_each_request_is_priced_by_what_a_dollar_was_worth_for_it() -> None:
    dear, cheap = [_run(10.0, 0.001)] * 20, [_run(0.1, 0.1)] * 20
    found = line_of("plan/ladder", "cascade", "all", dear + cheap, [0.0] * 30)
    assert found.net is not None
    assert found.net.mean == pytest.approx(0.04)
    assert (found.by, found.verdict) == ("judged", "pays")


def test_the_interval_of_the_net_has_what_is_uncertain_of_the_costs() -> None:
    # Nearly always cheap, and rarely so dear that nobody knows yet whether it pays.
    runs = [_run(1.0, 0.01)] * 38 + [_run(1.0, 1.0)] * 2
    found = line_of("plan/ladder", "cascade", "all", runs, [0.0] * 30)
    assert found.net is not None
    assert found.net.ci95[0] < -0.05
    assert found.net.ci95[1] > 0
    assert found.verdict == "unclear"


def test_requests_of_unknown_cost_are_counted_and_are_not_free() -> None:
    runs = [_run(1.0, 0.2)] * 30 + [_run(1.0, None)] * 50
    found = line_of("plan/ladder", "cascade", "all", runs, [0.0] * 30)
    assert found.net is not None
    assert (found.net.answers, found.unpriced, found.verdict) == (30, 50, "does not pay")
    assert found.net.mean == pytest.approx(-0.15)
    unknown = line_of("plan/ladder", "cascade", "all", runs[30:], [0.0] * 30)
    assert (unknown.net, unknown.unpriced, unknown.verdict) == (None, 50, "too few")
    # Where no policy says what a dollar is worth, a cost is no reason against a stage.
    free = line_of("plan/ladder", "cascade", "all", [_run(0.0, None)] * 40, [0.0] * 30)
    assert (free.unpriced, free.verdict) == (0, "pays")


def test_forecasts_alone_never_say_that_a_stage_pays(
    store: tuple[Path, dict[str, float]], predictor: Predictor
) -> None:
    records = open_records(store[0])
    assert records is not None
    with records:
        found = stage_report(records, records.scan(), {}, predictor)
    assert {line.by for line in found.stages} == {"forecast"}
    assert "pays" not in {line.verdict for line in found.stages}


def test_a_plan_that_is_off_for_a_kind_of_prompt_is_no_candidate_there_and_the_decision_says_so_and_replays(
    router: Router, predictor: Predictor, tmp_path: Path
) -> None:
    policy = msgspec.structs.replace(router.policies["default"], stages_off={"ladder": ("maths",)})
    off = Router(router.catalog, Policies([policy]), predictor, plans=_PLANS)
    maths, code = _routed(off, _MATHS.format(0)), _routed(off, _CODE.format(0))
    assert (maths.decision.stages_off, maths.decision.plans) == (("ladder",), {})
    assert maths.decision.document()["stages_off"] == ("ladder",)
    assert code.decision.stages_off == ()
    assert "plan/ladder" in code.decision.plans
    assert "stages_off" not in code.decision.document()
    assert _routed(off, _MATHS.format(0), "ladder").decision.plans
    journal = Journal.open(tmp_path, interval_s=0.01)
    recorded = [Snapshots(catalogue_snapshot(off.catalog, {}), journal.keep).decision_record(x) for x in (maths, code)]
    journal.append(record(decision=recorded[0]))
    journal.close()
    records = open_records(tmp_path)
    assert records is not None
    with records:
        replayer = Replayer(records, predictor)
        assert all(replayer.replay(each).same for each in recorded)
        again = replayer.re_decide(recorded[0], CatalogSnapshot(off.catalog, {}), off.policies, None, _PLANS)
        assert (again.same, again.reasons) == (True, ())


def test_exploration_and_judges_are_off_for_a_kind_of_prompt(router: Router, predictor: Predictor) -> None:
    policy = msgspec.structs.replace(
        router.policies["default"],
        explore=ExplorationRule(share=0.1, dollars_per_day=1.0),
        graders=(JudgeGrader(card=router.catalog.ids[0], dollars_per_day=1.0),),
        stages_off={"explore": ("maths",), "judge": ("maths",)},
    )
    off = Router(router.catalog, Policies([policy]), predictor, plans=_PLANS)
    maths, code = (off.route(ChatRequest.from_prompt(each.format(0)), draw=Draw(0.0)) for each in (_MATHS, _CODE))
    assert (maths.decision.stages_off, maths.decision.exploration) == (("explore", "judge"), None)
    assert maths.policy.judges == ()
    assert code.decision.exploration is not None
    assert code.policy.judges == policy.judges


@pytest.mark.parametrize("stage", ["explore", "judge"])
def test_exploration_and_judges_that_the_policy_does_not_have_cannot_be_turned_off(stage: str) -> None:
    with pytest.raises(ValueError, match=f'"{stage}" is no optional stage of the policy'):
        Policy(id="p", description="d", plans=("ladder",), stages_off={stage: ("maths",)})


def test_flags_in_a_prompt_narrow_what_a_policy_with_stages_that_are_off_decides(
    router: Router, predictor: Predictor
) -> None:
    policy = msgspec.structs.replace(router.policies["default"], stages_off={"ladder": ("maths",)}, prompt_flags=True)
    off = Router(router.catalog, Policies([policy]), predictor, plans=_PLANS)
    for kind in (_MATHS, _CODE):
        narrowed = off.route(ChatRequest.from_prompt(f"[Flag: price<20$]\n{kind.format(0)}"))
        assert "price" in narrowed.decision.flags


def test_a_policy_without_its_plans_has_no_stages_that_are_off() -> None:
    policy = Policy(id="p", description="d", plans=("ladder", "vote"), stages_off={"ladder": ("maths",)})
    assert policy.with_plans().stages_off == {}
    assert policy.with_plans(("ladder",)).stages_off == {"ladder": ("maths",)}


def test_the_command_prints_the_table_and_turns_plans_off(
    store: tuple[Path, dict[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from router.store.records.feedback import Feedback

    with FolderBackend(store[0]).feedback() as feedback:
        for name, value in store[1].items():
            feedback.add(Feedback(name, value, time.time(), source="operator"), of_any_key=True)
    file = tmp_path / "default.yaml"
    file.write_text("id: default\ndescription: d\nmistake_usd: 0.05\nplans: [ladder]  # by hand\n")
    arguments = ["stages", "--store", str(store[0]), "--write", str(file)]
    with pytest.raises(SystemExit, match="0"):
        main(arguments)
    out = capsys.readouterr().out
    assert "plan/ladder (cascade)" in out
    assert "does not pay" in out
    assert "turned off: ladder: maths" in out
    assert file.read_text().endswith("plans: [ladder]  # by hand\nstages_off: {ladder: [maths]}\n")
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "--json"])
    assert json.loads(capsys.readouterr().out)["written"] == {}


def test_a_stage_that_the_policy_does_not_have_is_named() -> None:
    with pytest.raises(ValueError, match='"ladders" is no optional stage of the policy; did you mean "ladder"'):
        Policy(id="p", description="d", plans=("ladder",), stages_off={"ladders": ("maths",)})


def test_a_request_that_was_explored_is_compared_with_the_choice_and_never_turned_off(
    router: Router, predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal.open(tmp_path, interval_s=0.01)
    snapshots = Snapshots(catalogue_snapshot(router.catalog, {}), journal.keep)
    judged = {}
    for number in range(80):
        decision = snapshots.decision_record(_routed(router, _CODE.format(number)))
        choice = decision.card
        drawn = "gpt-4o" if choice == "gpt-4o-mini" else "gpt-4o-mini"
        explored = number % 2 == 0
        exploration = Exploration(choice, {choice: 0.5, drawn: 0.5}, 0.1, drawn if explored else None)
        decision = msgspec.structs.replace(
            decision,
            plan=None,
            card=drawn if explored else choice,
            quality=0.6 if explored else decision.quality,
            exploration=exploration,
        )
        made = record(
            f"e{number}",
            at=time.time() - 60,
            outcome=Outcome(200, 400.0, decision.card, cost_usd=0.002),
            decision=decision,
        )
        journal.append(made)
        judged[made.id] = 0.9 if explored else 0.5
    side = Side("gpt-4o", 10, 400.0)
    shadow = ShadowRecord("e1", "default", side, side, same=True)
    outcome = Outcome(200, 1.0, "gpt-4o", cost_usd=0.25)
    journal.append(Record("s1", time.time() - 60, "shadow", "gpt-4o", False, outcome, shadow=shadow))
    journal.close()
    records = open_records(tmp_path)
    assert records is not None
    with records:
        found = stage_report(records, records.scan(), judged, predictor)
    of_all = next(line for line in found.stages if line.kind == "all")
    assert (of_all.stage, of_all.requests, of_all.calls, found.not_paying()) == ("explore", 40, 0.0, {})
    assert of_all.judged is not None
    assert of_all.judged.mean > 0.2
    with pytest.raises(SystemExit) as ended:
        main(["stages", "--store", str(tmp_path)])
    assert not ended.value.code
    shown = capsys.readouterr().out
    assert "explore" in shown
    assert "shadow gpt-4o of policy default: 1 calls cost 0.25$" in shown
