from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cards import Card, Catalog
from router.cards.schema import Price, RateLimits
from router.dispatch import Dispatcher, DispatchSettings, Timeouts
from router.errors import CallerError, ConfigurationError, UpstreamError
from router.formats.quantities import Dollars, TokenCount
from router.learn.onboarding.adaptive_test import AbilityPlacement
from router.learn.onboarding.evidence_log import EvidenceLog, PendingProbe
from router.learn.onboarding.probes import ProbeSet, load_probes
from router.learn.onboarding.session import Onboarding, Progress, Terms, onboard, place, plan
from router.perceive.ability import Ability, profile_of
from router.perceive.evidence import load_evidence
from router.perceive.predictor import Predictor
from router.settings import shipped_probes_folder
from tests.dispatch.anthropic_upstream import anthropic_server
from tests.dispatch.calls import unused_address
from tests.learn.onboarding.examinee import Examinee, card_of, examinee, knowing

SHIPPED = load_probes(shipped_probes_folder())
FEW = ProbeSet("few", tuple(probe for probe in SHIPPED.probes if probe.domain in ("arithmetic", "formats"))[40:80])
KNOWS_ALL = knowing(SHIPPED.probes)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")


def undecided(probe_set: ProbeSet = FEW, doubt: float = 0.2) -> AbilityPlacement:
    """A placement that expects one half everywhere: one skill in general, and one for each domain."""
    domains = [probe.domain for probe in probe_set.probes]
    skills = np.array([[domain == name for name in dict.fromkeys(domains)] for domain in domains], dtype=np.float64)
    profiles = profile_of(skills)
    mean = np.eye(profiles.shape[1])[0] / 2
    ability = Ability(mean, np.eye(profiles.shape[1]) * doubt**2)
    return AbilityPlacement(probe_set.probes, ability, profiles, profiles.T @ profiles / len(profiles))


Ran = Callable[..., Onboarding]


@pytest.fixture
def run(tmp_path: Path) -> Ran:
    """Onboards a card, with waits that take no time; `waited` collects them."""

    def call(
        card: Card,
        terms: Terms | None = None,
        probe_set: ProbeSet = FEW,
        waited: list[float] | None = None,
        timeouts: Timeouts | None = None,
        tell: Callable[[Progress], None] = lambda _: None,
    ) -> Onboarding:
        async def wait(seconds: float) -> None:
            if waited is not None:
                waited.append(seconds)

        async def main() -> Onboarding:
            dispatcher = Dispatcher(DispatchSettings(timeouts or Timeouts(), retries=0))
            try:
                with EvidenceLog(tmp_path, card.id) as log:
                    placement = undecided(probe_set)
                    asked = terms or Terms(probes=8)
                    return await onboard(card, probe_set, placement, log, dispatcher, asked, tell, wait)
            finally:
                await dispatcher.aclose()

        return asyncio.run(main())

    return call


def test_a_card_that_answers_well_rises_and_one_that_does_not_falls(run: Ran, tmp_path: Path) -> None:
    with examinee(replies=KNOWS_ALL) as good:
        risen = run(card_of(good), Terms(probes=16))
    assert risen.overall.score == 1.0
    assert risen.overall.after > risen.overall.before + 0.2
    (tmp_path / "vendor%2Fexaminee.jsonl").unlink()
    with examinee() as bad:
        fallen = run(card_of(bad), Terms(probes=16))
    assert fallen.overall.score == 0.0
    assert fallen.overall.after < fallen.overall.before - 0.2
    for change in (*risen.domains, *fallen.domains):
        assert change.after_doubt < change.before_doubt


def test_every_outcome_is_kept_with_its_figures(run: Ran, tmp_path: Path) -> None:
    with examinee(replies=KNOWS_ALL, delay_s=0.02) as model:
        report = run(card_of(model, price=2.0))
    outcomes = load_evidence(tmp_path)["vendor/examinee"]
    assert len(outcomes) == report.answered == report.answered_now == 8
    for outcome in outcomes:
        assert outcome.input_tokens == 100
        assert outcome.output_tokens is not None
        assert outcome.cost_usd == pytest.approx((100 + outcome.output_tokens) * 2e-6)
        assert outcome.ttft_ms is not None
        assert 20 <= outcome.ttft_ms <= outcome.latency_ms
        assert outcome.model == "examinee-1"
        assert outcome.time.endswith("+00:00")
    assert report.spent_usd == pytest.approx(sum(outcome.cost_usd or 0 for outcome in outcomes))


def test_a_second_run_asks_only_what_is_missing(run: Ran) -> None:
    with examinee(replies=KNOWS_ALL) as model:
        first = run(card_of(model), Terms(probes=6))
        second = run(card_of(model), Terms(probes=15))
        third = run(card_of(model), Terms(probes=15))
        assert (first.answered_now, second.answered_now, third.answered_now) == (6, 9, 0)
        assert len(model.asked) == len(set(model.asked)) == 15
    assert third.overall == second.overall
    assert third.spent_now_usd == 0


@pytest.mark.parametrize("fails_after", [0, 1, 7])
def test_an_endpoint_that_fails_ends_the_run_and_keeps_the_answers(run: Ran, tmp_path: Path, fails_after: int) -> None:
    with examinee(replies=KNOWS_ALL, fails_after=fails_after) as model:
        with pytest.raises(
            UpstreamError, match=rf"HTTP 503: not now; {fails_after} of 20 probes are answered and kept"
        ):
            run(card_of(model), Terms(probes=20))
        kept = load_evidence(tmp_path).get("vendor/examinee", ())
        assert len(kept) == fails_after
        answered = set(model.asked[:fails_after])
        model.fails_after = None
        before = len(model.asked)
        assert run(card_of(model), Terms(probes=20)).answered == 20
        assert not answered.intersection(model.asked[before:])


def test_a_card_whose_key_is_refused_is_called_once(run: Ran) -> None:
    with examinee(statuses=[401]) as model:
        with pytest.raises(UpstreamError, match="it refuses the key"):
            run(card_of(model))
        assert len(model.asked) == 1


def test_an_endpoint_that_nobody_listens_at_is_named(run: Ran) -> None:
    with pytest.raises(UpstreamError, match=r'card "vendor/examinee" cannot be reached.*0 of 8 probes'):
        run(card_of(Examinee(url=unused_address())))


def test_an_endpoint_that_takes_too_long_ends_the_run(run: Ran) -> None:
    with examinee(delay_s=30) as model, pytest.raises(UpstreamError, match="did not answer in time"):
        run(card_of(model), timeouts=Timeouts(first_token_s=0.05, total_s=0.05))


def test_a_busy_endpoint_is_asked_again_when_it_says(run: Ran) -> None:
    waited: list[float] = []
    with examinee(replies=KNOWS_ALL, statuses=[429, 503], headers={"retry-after": "7"}) as model:
        assert run(card_of(model), waited=waited).overall.score == 1.0
    assert waited == [7.0, 7.0]


def test_a_busy_endpoint_that_does_not_say_is_given_ever_more_time(run: Ran) -> None:
    waited: list[float] = []
    with examinee(replies=KNOWS_ALL, statuses=[429, 500, 502]) as model:
        run(card_of(model), waited=waited)
    assert waited == [1.0, 2.0, 4.0]


def test_a_wait_of_an_hour_ends_the_run(run: Ran) -> None:
    waited: list[float] = []
    with (
        examinee(statuses=[429], headers={"retry-after": "3600"}) as model,
        pytest.raises(UpstreamError, match="come back in 3600 s"),
    ):
        run(card_of(model), waited=waited)
    assert waited == []


@pytest.mark.parametrize(
    ("refused", "sent_instead"),
    [
        (("temperature",), {"max_tokens": 2048, "stream": True}),
        (("max_tokens", "temperature"), {"max_completion_tokens": 2048, "stream": True}),
        (("stream_options",), {"max_tokens": 2048, "stream": True}),
        (("stream",), {"max_tokens": 2048, "stream": False}),
    ],
)
def test_what_an_endpoint_refuses_is_left_out(refused: tuple[str, ...], sent_instead: dict[str, Any], run: Ran) -> None:
    with examinee(replies=KNOWS_ALL, refuses=refused) as model:
        report = run(card_of(model))
        assert report.overall.score == 1.0
        assert len(model.bodies) == 8 + len(refused)
        assert {**model.bodies[-1], **sent_instead} == model.bodies[-1]
        assert not set(refused) - {"stream"} & set(model.bodies[-1])


def test_an_endpoint_without_streams_is_asked_for_whole_answers(run: Ran) -> None:
    with examinee(replies=KNOWS_ALL, streams=False) as model:
        report = run(card_of(model))
        assert (report.overall.score, report.ttft_ms) == (1.0, None)
        assert len(model.asked) == 9


def test_an_answer_that_breaks_off_is_not_graded(run: Ran, tmp_path: Path) -> None:
    with examinee(replies=KNOWS_ALL, breaks_off=True) as model:
        report = run(card_of(model))
        # The first call breaks off, the others go without streams.
        assert report.overall.score == 1.0
    assert all(outcome.ttft_ms is None for outcome in load_evidence(tmp_path)["vendor/examinee"])


def test_a_provider_with_a_protocol_of_its_own_is_asked_too(
    run: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    price = Price(Dollars(1), Dollars(1))
    with anthropic_server() as server:
        facts: dict[str, Any] = {"provider": "anthropic", "base_url": server.url, "api_key_env": "ANTHROPIC_API_KEY"}
        card = Card(id="vendor/examinee", model="ok", price=price, **facts)
        report = run(card, Terms(probes=3, max_usd=0.1))
        assert [seen.body["temperature"] for seen in server.seen] == [0, 0, 0]
    assert (report.answered, report.overall.score) == (3, 0.0)
    for outcome in load_evidence(tmp_path)["vendor/examinee"]:
        assert (outcome.answer, outcome.input_tokens, outcome.output_tokens) == ("Hello", 3, 2)
        assert outcome.cost_usd == pytest.approx(5e-6)


def test_answers_at_the_limit_of_tokens_are_counted(run: Ran) -> None:
    with examinee(replies=lambda _: "Let me think about", finish="length") as model:
        assert run(card_of(model)).cut_off == 8


@given(st.floats(0.0005, 0.02))
def test_the_budget_is_never_exceeded(max_usd: float) -> None:
    # One server for all examples would share what was asked; the plan sets aside exactly what a run does.
    card = card_of(Examinee(url="http://127.0.0.1:1"), price=1.0)
    planned = plan(card, FEW, undecided(), {}, Terms(probes=40, max_usd=max_usd, max_tokens=500))
    assert sum(each.worst_usd or 0 for each in planned) <= max_usd


@pytest.mark.parametrize("max_usd", [0.0008, 0.002, 0.004])
def test_a_run_stops_before_the_budget_is_exceeded(run: Ran, max_usd: float) -> None:
    terms = Terms(probes=40, max_usd=max_usd, max_tokens=500)
    # As many tokens as are allowed.
    with examinee(replies=lambda _: "x" * 500) as model:
        report = run(card_of(model), terms)
        again = run(card_of(model), terms)
    assert report.stopped == again.stopped == "budget"
    assert 0 < (report.spent_usd or 0) <= max_usd
    assert again.answered_now == 0
    assert (report.spent_usd or 0) + 0.0008 > max_usd


def test_an_answer_without_usage_counts_for_the_most_it_may_have_cost(run: Ran, tmp_path: Path) -> None:
    with examinee(replies=KNOWS_ALL, usage=False) as model:
        report = run(card_of(model), Terms(probes=40, max_usd=0.01, max_tokens=1000))
    assert report.stopped == "budget"
    assert report.answered < 10
    assert all(outcome.cost_usd is None for outcome in load_evidence(tmp_path)["vendor/examinee"])


def test_an_unknown_price_and_a_budget_do_not_go_together(run: Ran) -> None:
    # 0.0.0.0 reaches this machine without being one of its loopback addresses.
    with examinee(replies=KNOWS_ALL) as model:
        model.url = model.url.replace("127.0.0.1", "0.0.0.0")
        card = card_of(model, price=None)
        with pytest.raises(CallerError, match=r'"vendor/examinee" states no price, so --max-usd cannot be kept'):
            run(card, Terms(probes=8, max_usd=1.0))
        assert model.asked == []
        report = run(card)
    assert (report.answered, report.spent_usd) == (8, None)


def test_a_card_on_this_machine_costs_nothing(run: Ran) -> None:
    with examinee(replies=KNOWS_ALL, usage=False) as model:
        report = run(card_of(model, price=None), Terms(probes=8, max_usd=0.0))
    assert (report.answered, report.spent_usd) == (8, 0.0)


def test_no_more_calls_are_under_way_than_allowed(run: Ran) -> None:
    with examinee(replies=KNOWS_ALL, delay_s=0.03) as model:
        run(card_of(model), Terms(probes=13, concurrency=3))
        assert model.most_at_once == 3
    with examinee(replies=KNOWS_ALL, delay_s=0.03) as model:
        run(card_of(model, rate_limits=RateLimits(concurrency=2)), Terms(probes=25, concurrency=8))
        assert model.most_at_once == 2


def test_a_card_is_not_asked_for_more_tokens_than_it_can_make(run: Ran) -> None:
    with examinee(replies=KNOWS_ALL) as model:
        card = card_of(model, max_output_tokens=TokenCount(300))
        run(card)
        assert {body["max_tokens"] for body in model.bodies} == {300}
        few, many = (plan(card, FEW, undecided(), {}, Terms(max_tokens=limit)) for limit in (300, 5000))
        assert few == many


def test_a_small_set_is_asked_whole(run: Ran) -> None:
    small = ProbeSet("small", FEW.probes[:5])
    with examinee(replies=KNOWS_ALL) as model:
        report = run(card_of(model), Terms(probes=32), small)
    assert (report.stopped, report.answered) == ("all asked", 5)


def test_answers_of_another_model_are_not_mixed_in(run: Ran) -> None:
    with examinee(replies=KNOWS_ALL) as model:
        run(card_of(model))
        with pytest.raises(CallerError, match=r'answers of the model "examinee-1".*--reset'):
            run(card_of(model, model="examinee-2"))


def test_what_a_crash_lost_is_paid_for_and_asked_last(run: Ran, tmp_path: Path) -> None:
    small = ProbeSet("small", FEW.probes[:6])
    lost = small.probes[0]
    with EvidenceLog(tmp_path, "vendor/examinee") as log:
        log.begin([PendingProbe(lost.id, lost.prompt, 0.5)])
    with examinee(replies=KNOWS_ALL) as model:
        report = run(card_of(model), Terms(probes=5), small)
        assert (report.answered, report.lost) == (5, 1)
        assert (report.spent_usd or 0) > 0.5
        assert lost.asked()[-1]["content"] not in model.asked
        assert run(card_of(model), Terms(probes=6), small).lost == 0
        assert model.asked[-1] == lost.asked()[-1]["content"]


def test_progress_is_told_after_every_answer(run: Ran) -> None:
    told: list[Progress] = []
    with examinee(replies=KNOWS_ALL) as model:
        run(card_of(model), tell=told.append)
    assert [each.answered for each in told] == list(range(9))
    assert told[-1].score == 8
    assert all(each.wanted == 8 for each in told)


def test_a_card_without_its_key_is_not_called(run: Ran) -> None:
    with (
        examinee() as model,
        pytest.raises(ConfigurationError, match="cannot be called: MISSING_KEY is not set"),
    ):
        run(card_of(model, api_key_env="MISSING_KEY"))


def test_a_plan_is_what_a_run_then_asks(run: Ran) -> None:
    with examinee(replies=KNOWS_ALL) as model:
        card = card_of(model)
        planned = plan(card, FEW, undecided(), {}, Terms(probes=8))
        assert model.asked == []
        run(card)
        by_text = {probe.asked()[-1]["content"]: probe.id for probe in FEW.probes}
        assert {by_text[text] for text in model.asked} == {each.probe for each in planned}


def test_without_doubt_domains_and_difficulties_are_asked_evenly() -> None:
    placement, asked = undecided(SHIPPED, doubt=0.0), set[int]()
    for _ in range(35):
        asked.add(placement.choose_next(asked))
    assert set(Counter(SHIPPED.probes[row].domain for row in asked).values()) == {5}
    arithmetic = sorted(SHIPPED.probes[row].difficulty for row in asked if SHIPPED.probes[row].domain == "arithmetic")
    assert arithmetic == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="every probe is asked"):
        placement.choose_next(range(len(SHIPPED.probes)))


def test_a_batch_is_spread_although_nothing_is_answered_yet() -> None:
    placement, asked = undecided(SHIPPED), set[int]()
    for _ in range(7):
        asked.add(placement.choose_next(asked))
    assert len({SHIPPED.probes[row].domain for row in asked}) == 7
    with pytest.raises(ValueError, match="every probe is asked"):
        placement.choose_next(range(len(SHIPPED.probes)))


@given(st.sets(st.integers(0, 349), max_size=349))
def test_no_probe_is_chosen_twice(asked: set[int]) -> None:
    assert undecided(SHIPPED).choose_next(asked) not in asked


@given(st.dictionaries(st.integers(0, 39), st.floats(0, 1), max_size=40))
def test_outcomes_only_narrow_the_doubt_and_make_another_belief(outcomes: dict[int, float]) -> None:
    before, every = undecided(), np.arange(40)
    after = before.observe(outcomes).average(every)
    assert after.doubt <= before.average(every).doubt + 1e-12
    assert 0 <= after.quality <= 1
    assert before.average(every) == undecided().average(every)


def test_a_domain_learns_most_from_its_own_probes() -> None:
    mixed = ProbeSet("mixed", (*SHIPPED.probes[:20], *[p for p in SHIPPED.probes if p.domain == "code"][:20]))
    after = undecided(mixed).observe(dict.fromkeys(range(20), 1.0))
    own, other = after.average(np.arange(20)).quality, after.average(np.arange(20, 40)).quality
    assert own > other > 0.5


def test_the_predictor_places_a_card_it_knows(predictor: Predictor) -> None:
    catalog = Catalog([Card(id="calculator", provider="openai", model="c"), Card(id="x", provider="openai", model="x")])
    sums = SHIPPED.probes[:25]
    known = place(predictor, catalog, catalog.named("calculator"), sums).average(np.arange(25))
    unknown = place(predictor, catalog, catalog.named("x"), sums).average(np.arange(25))
    assert known.quality > unknown.quality
    assert known.doubt < unknown.doubt
