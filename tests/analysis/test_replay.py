from __future__ import annotations

import datetime
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from router import __version__
from router.analysis.replay import Replayer, read_flags
from router.cards import Catalog
from router.cards.schema import to_plain
from router.decide.exploration.rule import Draw, ExplorationRule
from router.decide.plans.catalog import Plans
from router.decide.plans.forecast.columns import Columns, PlanColumn
from router.decide.plans.spec import Best, Cascade, Committee, Samples, Segments
from router.decide.policy import Policies, Policy
from router.decide.trials.arms import with_card
from router.decide.trials.spec import ArmSpec, ExperimentSpec
from router.errors import ConfigurationError, NoCandidateError, UnknownModelError
from router.perceive.memory.card import CHOICES, ROWS, SLOW, CardView
from router.perceive.memory.corrections import MemoryView
from router.perceive.predictor import Evidence, Predictor
from router.pipeline import Routed, Router
from router.store.records.journal import Journal
from router.store.records.record import DecisionRecord, Snapshot
from router.store.records.snapshots import (
    REFRESH_S,
    CatalogSnapshot,
    Snapshots,
    catalogue_snapshot,
    policy_snapshot,
    read_catalogue,
    read_policy,
)
from router.store.records.sqlite import SqliteRecords
from router.wire.chat.request import ChatRequest
from tests.decide.cards import card, situations
from tests.store.records.examples import TODAY, record, router

POEM = "Write a poem about the moon in spring."
SUM = "What is 17 plus 25?"


class Store:
    """Records decisions through a journal, and replays them from the database."""

    def __init__(self, folder: Path, predictor: Predictor) -> None:
        self.journal = Journal.open(folder, interval_s=60)
        self.records = SqliteRecords.open(folder)
        self.replayer = Replayer(self.records, predictor)
        self._count = 0

    def record(self, router: Router, routed: Routed) -> DecisionRecord:
        self._count += 1
        snapshots = Snapshots(catalogue_snapshot(router.catalog, router.evidence), self.journal.keep)
        self.journal.append(record(f"r{self._count:06}", decision=snapshots.decision_record(routed)))
        self.journal.flush()
        stored = self.records.find(f"r{self._count:06}").decision
        assert stored is not None
        return stored

    def close(self) -> None:
        self.records.close()
        self.journal.close()


@pytest.fixture
def store(tmp_path: Path, predictor: Predictor) -> Iterator[Store]:
    opened = Store(tmp_path, predictor)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def shared(predictor: Predictor) -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        opened = Store(Path(folder), predictor)
        yield opened
        opened.close()


requests = st.builds(
    lambda text, tools, limit: ChatRequest.from_body(
        {
            "messages": [{"role": "user", "content": text}],
            **({"tools": [{"type": "function", "function": {"name": "clock"}}]} if tools else {}),
            **({"max_tokens": limit} if limit else {}),
        }
    ),
    st.sampled_from([POEM, SUM, "[Flag: cheapest*0.3, size<70B] hello", "q" * 3000])
    | st.text(min_size=1).map("x".__add__),
    st.booleans(),
    st.none() | st.integers(1, 4000),
)
flag_texts = st.lists(
    st.sampled_from(["cheapest*0.25", "fastest", "smallest=1e-5", "price<=6$", "cost..1$", "!beta", "quality>0.2"]),
    max_size=3,
).map(",".join)


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    request=requests,
    flags=flag_texts,
    policy=st.sampled_from(["default", "cheap"]),
    unavailable=st.dictionaries(st.sampled_from(["poet", "calculator"]), st.sampled_from(["no key", "cooling down"])),
    today=st.none() | st.just(TODAY),
    kept=st.none() | st.sampled_from(["poet", "calculator", "gone"]),
    facts=st.dictionaries(
        st.sampled_from(["poet", "calculator", "generalist"]),
        st.fixed_dictionaries(
            {},
            optional={
                "size": st.sampled_from(["7B", "70B", {"total": "47B", "active": "13B"}]),
                "released": st.just("2025-03"),
                "capabilities": st.just(["tools"]),
                "latency": st.just({"ttft": "250ms", "tpot": "12.5ms"}),
                "context": st.sampled_from(["512", "128k"]),
                "max_output": st.sampled_from(["100", "4k"]),
                "tags": st.just(["beta"]),
            },
        ),
    ),
    probed=st.booleans(),
)
def test_every_decision_replays_exactly_from_its_record(
    shared: Store,
    predictor: Predictor,
    request: ChatRequest,
    flags: str,
    policy: str,
    unavailable: dict[str, str],
    today: Any,
    kept: str | None,
    facts: dict[str, dict[str, Any]],
    probed: bool,
) -> None:
    tested = router(predictor, **facts)
    if probed:
        vectors = np.random.default_rng(1).normal(size=(3, len(predictor.head.skills.center))).astype(np.float32)
        evidence = {"poet": Evidence(vectors, np.array([0.0, 1.0, 1 / 3])), "gone": Evidence(vectors, np.ones(3))}
        tested = Router(tested.catalog, tested.policies, predictor, evidence)
    try:
        routed = tested.route(request, flags=flags, policy=policy, unavailable=unavailable, today=today, kept=kept)
    except NoCandidateError:
        assume(False)
    replayed = shared.replayer.replay(shared.record(tested, routed))
    assert (replayed.same, replayed.differences, replayed.reasons) == (True, (), ())
    assert replayed.decision is not None
    assert msgspec.json.encode(replayed.decision.document()) == msgspec.json.encode(routed.decision.document())


def test_a_decision_that_weighs_how_busy_servers_are_replays_exactly(store: Store, predictor: Predictor) -> None:
    tested, load = router(predictor), {"poet": 0.9, "calculator": 1 / 3}
    idle, busy = (tested.route(ChatRequest.from_prompt(POEM), flags="load*5", load=each) for each in ({}, load))
    assert (idle.decision.card, busy.decision.card) == ("poet", "generalist")
    recorded = store.record(tested, busy)
    assert dict(recorded.load) == load
    assert store.replayer.replay(recorded).same


def test_how_busy_servers_are_is_not_recorded_where_nothing_weighs_it(store: Store, predictor: Predictor) -> None:
    tested = router(predictor)
    assert store.record(tested, tested.route(ChatRequest.from_prompt(POEM), load={"poet": 0.9})).load == ()


@given(situations())
def test_cards_survive_a_snapshot_unchanged(situation: Any) -> None:
    cards = Catalog(situation[0])
    read = read_catalogue(catalogue_snapshot(cards, {}).content)
    assert tuple(read.catalog) == tuple(cards)


def test_a_card_with_all_nested_fields_survives_a_snapshot_unchanged() -> None:
    whole = card(
        "a",
        deployments=[{"base_url": "http://127.0.0.1:1/v1", "limits": {"rpm": 3}}, {"base_url": "https://host/v1"}],
        price={"input": "0.1234567$", "output": 0.3},
        latency={"tpot": "12.345ms"},
        benchmarks={"mmlu": {"score": 68.4, "source": "paper", "date": "2024-03"}},
        lineage={"parents": ["b"], "note": "n"},
        knowledge_cutoff="2023",
        efforts={
            "low": {
                "thinking_tokens": 5,
                "price": {"input": 1, "output": 2, "above": {"1k": {"input": 2, "output": 3}}},
            }
        },
    )
    catalog = Catalog([whole])
    assert tuple(read_catalogue(catalogue_snapshot(catalog, {}).content).catalog) == tuple(catalog)


def test_the_shipped_cards_and_policies_survive_a_snapshot_unchanged() -> None:
    from router import settings
    from router.cards import load_catalog
    from router.decide.policy import load_policies

    cards = load_catalog(settings.shipped_cards_folder())
    assert tuple(read_catalogue(catalogue_snapshot(cards, {}).content).catalog) == tuple(cards)
    for policy in load_policies(settings.shipped_policies_folder()).values():
        assert read_policy(policy_snapshot(policy).content) == policy


def test_equal_cards_have_the_same_fingerprint_and_edited_ones_another() -> None:
    one, two = [card("a", size="7B"), card("b")], [card("b"), card("a", size="7B")]
    assert catalogue_snapshot(Catalog(one), {}) == catalogue_snapshot(Catalog(two), {})
    edited = Catalog([card("a", size="8B"), card("b")])
    assert catalogue_snapshot(Catalog(one), {}).fingerprint != catalogue_snapshot(edited, {}).fingerprint


def snapshots_and_stored(router: Router) -> tuple[Snapshots, list[Snapshot]]:
    stored: list[Snapshot] = []
    return Snapshots(catalogue_snapshot(router.catalog, {}), lambda snapshot: not stored.append(snapshot)), stored


def test_a_snapshot_is_stored_once_for_many_decisions(predictor: Predictor) -> None:
    tested = router(predictor)
    snapshots, stored = snapshots_and_stored(tested)
    for _ in range(3):
        # Equal reasons in a new mapping every time, as from a gateway.
        snapshots.decision_record(tested.route(ChatRequest.from_prompt(SUM), unavailable={"poet": "cooling down"}))
    assert len(stored) == 3
    assert len({snapshot.fingerprint for snapshot in stored}) == 3
    snapshots.decision_record(tested.route(ChatRequest.from_prompt(SUM), unavailable={"poet": "no key"}))
    assert len(stored) == 4


def test_a_snapshot_in_use_is_stored_again_after_an_hour(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    tested = router(predictor)
    snapshots, stored = snapshots_and_stored(tested)
    routed = tested.route(ChatRequest.from_prompt(SUM))
    now = 1000.0
    monkeypatch.setattr("router.store.records.snapshots.time.monotonic", lambda: now)
    snapshots.decision_record(routed)
    now += REFRESH_S - 1
    snapshots.decision_record(routed)
    assert len(stored) == 2
    now += 2
    snapshots.decision_record(routed)
    assert len(stored) == 4


def test_storing_a_dropped_snapshot_is_retried(predictor: Predictor) -> None:
    tested = router(predictor)
    tried: list[str] = []
    snapshots = Snapshots(
        catalogue_snapshot(tested.catalog, {}), lambda snapshot: bool(tried.append(snapshot.fingerprint))
    )
    routed = tested.route(ChatRequest.from_prompt(SUM))
    snapshots.decision_record(routed)
    snapshots.decision_record(routed)
    assert len(tried) == 4


def re_decide(store: Store, recorded: DecisionRecord, **changes: Mapping[str, Any]) -> Any:
    current = router(store.replayer._predictor, **changes)
    cards = CatalogSnapshot(current.catalog, current.evidence)
    return store.replayer.re_decide(recorded, cards, current.policies, TODAY)


def test_re_deciding_with_an_edited_card_names_it_as_the_reason(store: Store, predictor: Predictor) -> None:
    tested = router(predictor)
    flags = "size<=70B,cheapest*0.3"
    recorded = store.record(tested, tested.route(ChatRequest.from_prompt(POEM), flags=flags, policy="cheap"))
    unchanged = re_decide(store, recorded)
    assert (unchanged.same, unchanged.reasons) == (True, ())
    edited = re_decide(store, recorded, poet={"price": {"input": 90, "output": 90}})
    assert not edited.same
    assert edited.reasons == ("card edited: poet",)
    assert (recorded.card, edited.decision.card) == ("poet", "generalist")
    assert {"card", "cost_usd", "quality"} <= {difference.field for difference in edited.differences}


def test_re_deciding_on_a_later_day_names_the_day_where_the_age_of_cards_counts(
    store: Store, predictor: Predictor
) -> None:
    released = {"released": "2025-01-01"}
    tested = router(predictor, calculator=released, poet=released, generalist=released)
    later = TODAY + datetime.timedelta(days=1)
    cards = CatalogSnapshot(tested.catalog, tested.evidence)
    for flags, reasons in (("", ()), ("age<9000d", (f"date changed: {TODAY}, now {later}",))):
        routed = tested.route(ChatRequest.from_prompt(SUM), flags=flags, today=TODAY)
        replayed = store.replayer.re_decide(store.record(tested, routed), cards, tested.policies, later)
        assert replayed.reasons == reasons


def test_added_and_deleted_cards_and_an_edited_policy_are_named(store: Store, predictor: Predictor) -> None:
    tested = router(predictor)
    recorded = store.record(tested, tested.route(ChatRequest.from_prompt(SUM)))
    cards = Catalog([*(original for original in tested.catalog if original.id != "poet"), card("new")])
    policies = Policies([Policy(id="default", description="edited")])
    replayed = store.replayer.re_decide(recorded, CatalogSnapshot(cards, {}), policies, None)
    assert replayed.reasons == ("card deleted: poet", "card added: new", "policy edited: default")


def test_a_policy_that_no_longer_applies_what_was_learned_decides_without_corrections(
    store: Store, predictor: Predictor
) -> None:
    def router_with(learning: Literal["apply", "observe"]) -> Router:
        policy = Policy(id="default", description="d", learning=learning)
        return Router(router(predictor).catalog, Policies([policy]), predictor)

    tested, now = router_with("apply"), router_with("observe")
    before = now.route(ChatRequest.from_prompt(SUM), today=TODAY)
    wrong = CardView(np.full((ROWS, 1), -0.6), np.zeros(ROWS), CHOICES.index((SLOW, 1.0)), 0.1)
    memory = MemoryView("v", {before.decision.card: wrong})
    recorded = store.record(tested, tested.route(ChatRequest.from_prompt(SUM), today=TODAY, memory=memory))
    assert recorded.card != before.decision.card
    assert store.replayer.replay(recorded).same
    cards = CatalogSnapshot(now.catalog, now.evidence)
    replayed = store.replayer.re_decide(recorded, cards, now.policies, TODAY).decision
    assert replayed is not None
    assert (replayed.card, replayed.memory) == (before.decision.card, "")


def test_changed_probe_outcomes_are_named(store: Store, predictor: Predictor) -> None:
    tested = router(predictor)
    recorded = store.record(tested, tested.route(ChatRequest.from_prompt(SUM)))
    vectors = np.zeros((1, len(predictor.head.skills.center)), dtype=np.float32)
    evidence = {"poet": Evidence(vectors, np.array([1.0]))}
    replayed = store.replayer.re_decide(recorded, CatalogSnapshot(tested.catalog, evidence), tested.policies, None)
    assert replayed.reasons == ("probe outcomes or profile changed: poet",)


def test_limits_that_no_card_meets_any_more_are_reported(store: Store, predictor: Predictor) -> None:
    tested = router(predictor, poet={"size": "7B"})
    recorded = store.record(tested, tested.route(ChatRequest.from_prompt(POEM), flags="size<9B"))
    replayed = re_decide(store, recorded)
    assert (replayed.decision, replayed.same) == (None, False)
    assert "no card meets every limit" in replayed.problem


def test_a_deleted_policy_is_a_clear_error(store: Store, predictor: Predictor) -> None:
    tested = router(predictor)
    recorded = store.record(tested, tested.route(ChatRequest.from_prompt(POEM)))
    with pytest.raises(UnknownModelError, match='there is no policy "default"'):
        store.replayer.re_decide(
            recorded, CatalogSnapshot(tested.catalog, {}), Policies([tested.policies["cheap"]]), None
        )


def test_a_changed_artifact_and_release_are_named(store: Store, predictor: Predictor) -> None:
    tested = router(predictor)
    recorded = store.record(tested, tested.route(ChatRequest.from_prompt(POEM)))
    older = msgspec.structs.replace(recorded, artifact="skills-old", release="0.0.1")
    first, second = store.replayer.replay(older).reasons
    assert first == f"artifact changed: skills-old, now {predictor.id}"
    assert second == f"release changed: 0.0.1, now {__version__}"


def test_a_vector_of_another_encoder_is_a_clear_error(store: Store, predictor: Predictor) -> None:
    tested = router(predictor)
    recorded = store.record(tested, tested.route(ChatRequest.from_prompt(POEM)))
    with pytest.raises(
        ConfigurationError, match=r"from 4 features, but .* expects .*; pass the recorded artifact with --artifact"
    ):
        store.replayer.replay(msgspec.structs.replace(recorded, vector=bytes(16)))


def test_a_difficulty_by_another_reader_is_a_clear_error(store: Store, predictor: Predictor) -> None:
    tested = router(predictor)
    recorded = store.record(tested, tested.route(ChatRequest.from_prompt(POEM)))
    with pytest.raises(ConfigurationError, match=r"on another scale than .*; pass the recorded artifact"):
        store.replayer.replay(msgspec.structs.replace(recorded, reader="0" * 12))


def test_a_missing_snapshot_is_a_clear_error(store: Store, predictor: Predictor) -> None:
    tested = router(predictor)
    recorded = store.record(tested, tested.route(ChatRequest.from_prompt(POEM)))
    with pytest.raises(
        ConfigurationError, match=f"cannot replay: the cards snapshot {'f' * 32} is not stored any more"
    ):
        store.replayer.replay(msgspec.structs.replace(recorded, catalogue="f" * 32))


def test_cards_with_fields_of_another_release_are_a_clear_error() -> None:
    plain = {"cards": [{**to_plain(card("a")), "charm": 3}]}
    with pytest.raises(ConfigurationError, match="this release cannot read the recorded cards"):
        read_catalogue(zlib.compress(msgspec.json.encode(plain)))


def test_recorded_flags_may_contradict_each_other() -> None:
    # A prompt and a header may set both limits; a policy that relaxes limits can still decide.
    assert str(read_flags("size<7B,size>70B,cheapest*0.5")) == "size<7B,size>70B,cheapest*0.5"
    assert str(read_flags("")) == ""


def test_a_decision_with_contradicting_flags_replays(store: Store, predictor: Predictor) -> None:
    tested = router(predictor, poet={"size": "7B"})
    free = msgspec.structs.replace(tested.policies["cheap"], prompt_flags=True)
    request = ChatRequest.from_prompt("[Flag: size<1B]\nhello")
    recorded = store.record(tested, tested.route(request, flags="size>2B", policy=free))
    assert recorded.flags == "size<1B,size>2B"
    assert store.replayer.replay(recorded).same


COLUMN = PlanColumn(
    kind="cascade",
    members=("poet", "generalist"),
    agree=0,
    threshold=None,
    prices=(0.0, 0.1),
    quality=((0.5, 0.4, 0.6), (0.3, 0.8, 0.2)),
    calls=((-0.7, 0.3),),
    asked=((0.4, -0.9),),
    error=0.01,
    prompts=300,
    source="exams",
)
PLANS = Plans(
    [
        Cascade(id="ladder", description="d", members=("poet", "generalist")),
        Committee(id="two", description="d", members=(Best(2),)),
        Samples(id="again", description="d", member="calculator"),
        Segments(id="split", description="d", min_gain=0.0),
    ],
    Columns([COLUMN]),
)
TASKS = ChatRequest.from_prompt(f"Answer the questions below:\n1. {SUM}\n2. Which poem has the moon in it?\n3. {SUM}")


@given(
    request=requests | st.just(TASKS),
    flags=flag_texts,
    plan=st.none() | st.sampled_from(PLANS.ids),
    seed=st.booleans(),
    unavailable=st.dictionaries(st.sampled_from(["poet", "calculator"]), st.just("no key")),
)
def test_a_decision_with_plans_replays_to_the_same_tree(
    shared: Store,
    predictor: Predictor,
    request: ChatRequest,
    flags: str,
    plan: str | None,
    seed: bool,
    unavailable: dict[str, str],
) -> None:
    plain = router(predictor)
    planned = msgspec.structs.replace(plain.policies["default"], plans=PLANS.ids, mistake_usd=1.0)
    tested = Router(plain.catalog, Policies([planned]), predictor, plans=PLANS)
    if seed:
        request = ChatRequest.from_body({**request.body, "seed": 7})
    try:
        routed = tested.route(request, flags=flags, unavailable=unavailable, plan=plan)
    except NoCandidateError:
        assume(False)
    stored = shared.record(tested, routed)
    replayed = shared.replayer.replay(stored)
    assert (replayed.same, replayed.differences, replayed.reasons) == (True, (), ())
    assert replayed.decision is not None
    assert stored.plan == replayed.decision.outlook == routed.decision.outlook
    assert msgspec.json.encode(replayed.decision.document()) == msgspec.json.encode(routed.decision.document())


def test_the_parts_of_a_split_prompt_are_recorded(store: Store, predictor: Predictor) -> None:
    plain = router(predictor)
    tested = Router(plain.catalog, plain.policies, predictor, plans=PLANS)
    routed = tested.route(TASKS, plan="split")
    stored = store.record(tested, routed)
    assert len(stored.parts) == len(routed.features.parts) == 3
    assert store.replayer.replay(stored).same


def test_a_decision_by_a_column_is_repeated_by_it_after_it_was_fitted_again(store: Store, predictor: Predictor) -> None:
    plain = router(predictor)
    tested = Router(plain.catalog, plain.policies, predictor, plans=PLANS)
    stored = store.record(tested, tested.route(ChatRequest.from_prompt(SUM), plan="ladder"))
    assert stored.plan is not None
    assert stored.plan.forecast_by == "column of 300 answered prompts of exams"
    assert store.replayer.replay(stored).same
    fitted_again = PLANS.with_columns(Columns([msgspec.structs.replace(COLUMN, error=0.02)]))
    current = CatalogSnapshot(tested.catalog, {})
    again = store.replayer.re_decide(stored, current, tested.policies, None, fitted_again)
    assert again.reasons == ("columns of plans fitted again",)
    assert "quality_std" in [difference.field for difference in again.differences]


def test_with_an_edited_plan_the_replay_names_it(store: Store, predictor: Predictor) -> None:
    plain = router(predictor)
    tested = Router(plain.catalog, plain.policies, predictor, plans=PLANS)
    stored = store.record(tested, tested.route(ChatRequest.from_prompt(SUM), plan="ladder"))
    edited = Plans([Cascade(id="ladder", description="d", members=("calculator", "generalist"))], PLANS.columns)
    current = CatalogSnapshot(tested.catalog, {})
    again = store.replayer.re_decide(stored, current, tested.policies, None, edited)
    assert again.reasons == ("plan edited: ladder",)
    assert "plan" in [difference.field for difference in again.differences]


def test_a_request_that_a_canary_took_is_replayed_to_the_canary(store: Store, predictor: Predictor) -> None:
    cards = [card("old", size="8B"), card("new", size="8B", lineage={"state": "canary", "of": "old", "share": 0.05})]
    policies = Policies([Policy(id="default", description="x")])
    on_trial = Router(Catalog(cards), policies, predictor)
    asked = ChatRequest.from_body({"messages": [{"role": "user", "content": SUM}]})
    for canaries, answers in ((("new",), "new"), ((), "old")):
        recorded = store.record(on_trial, on_trial.route(asked, canaries=canaries))
        assert (recorded.card, recorded.canaries) == (answers, canaries)
        replay = store.replayer.replay(recorded)
        assert replay.same
        assert replay.decision is not None
        assert replay.decision.canary == recorded.canary


def test_a_plan_that_names_a_card_of_another_key_is_not_compared_in_the_replay_either(
    store: Store, predictor: Predictor
) -> None:
    plain = router(predictor)
    plans = Plans([Segments(id="split", description="d", members=("poet", "calculator", "generalist"), min_gain=0.0)])
    planned = msgspec.structs.replace(plain.policies["default"], plans=plans.ids, mistake_usd=1.0)
    tested = Router(plain.catalog, Policies([planned]), predictor, plans=plans)
    away = {"unavailable": {"generalist": "not allowed"}}
    assert tested.route(TASKS, **away).decision.outlook is not None
    recorded = store.record(tested, tested.route(TASKS, **away, hidden=frozenset({"generalist", "elsewhere"})))
    assert recorded.hidden == ("generalist",)
    assert store.replayer.replay(recorded).same


def test_an_arm_of_an_experiment_is_no_edit_of_its_policy(store: Store, predictor: Predictor) -> None:
    experiment = ExperimentSpec("poets", (ArmSpec(policy="default"), ArmSpec(card="poet")))
    policy = Policy(id="default", description="d", goals={"cheapest": 1.0}, explore=ExplorationRule(share=0.5))
    policy = msgspec.structs.replace(policy, experiment=experiment)
    tested = Router(router(predictor).catalog, Policies([policy]), predictor)
    routed = tested.route(ChatRequest.from_prompt(SUM), policy=with_card(policy, "poet"), draw=Draw(0.0))
    assert (routed.decision.card, routed.decision.exploration) == ("poet", None)
    recorded = store.record(tested, routed)
    again = store.replayer.re_decide(recorded, CatalogSnapshot(tested.catalog, {}), tested.policies, None)
    assert (again.same, again.reasons) == (True, ())
