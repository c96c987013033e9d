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
from router.cards.price import Price
from router.cards.servers import RateLimits
from router.dispatch import Dispatcher, DispatchSettings, Timeouts
from router.errors import CallerError, ConfigurationError, UpstreamError
from router.formats.quantities import Dollars, TokenCount
from router.learn.onboarding import (
    EvidenceLog,
    OnboardingResult,
    ProbeSet,
    Progress,
    Terms,
    load_probes,
    onboard,
    plan_probes,
    start_test,
)
from router.learn.onboarding.adaptive_test import AdaptiveTest
from router.learn.onboarding.evidence_log import PendingProbe
from router.perceive.ability.ability import Ability, profile_of
from router.perceive.ability.belief import Belief, LinearResponse
from router.perceive.ability.evidence import load_evidence
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


def uncertain_test(probe_set: ProbeSet = FEW, std: float = 0.2) -> AdaptiveTest:
    """A test that expects a quality of one half everywhere: one general skill, and one for each domain."""
    domains = [probe.domain for probe in probe_set.probes]
    skills = np.array([[domain == name for name in dict.fromkeys(domains)] for domain in domains], dtype=np.float64)
    profiles = profile_of(skills)
    mean = np.eye(profiles.shape[1])[0] / 2
    ability = Ability(mean, np.eye(profiles.shape[1]) * std**2)
    topics = np.eye(len(profiles))
    return AdaptiveTest(probe_set.probes, Belief.of(LinearResponse(profiles), topics, ability))


Ran = Callable[..., OnboardingResult]


@pytest.fixture
def run(tmp_path: Path) -> Ran:
    """Onboards a card without waiting; `waited` collects the requested waits."""

    def call(
        card: Card,
        terms: Terms | None = None,
        probe_set: ProbeSet = FEW,
        waited: list[float] | None = None,
        timeouts: Timeouts | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> OnboardingResult:
        async def wait(seconds: float) -> None:
            if waited is not None:
                waited.append(seconds)

        async def main() -> OnboardingResult:
            dispatcher = Dispatcher(DispatchSettings(timeouts or Timeouts(), retries=0))
            try:
                with EvidenceLog(tmp_path, card.id) as log:
                    test, chosen = uncertain_test(probe_set), terms or Terms(probes=8)
                    return await onboard(card, probe_set, test, log, dispatcher, chosen, on_progress, wait)
            finally:
                await dispatcher.aclose()

        return asyncio.run(main())

    return call


def test_right_answers_raise_the_expected_quality_and_wrong_ones_lower_it(run: Ran, tmp_path: Path) -> None:
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
        assert change.after_std < change.before_std


def test_every_outcome_is_stored_with_latency_tokens_and_cost(run: Ran, tmp_path: Path) -> None:
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


def test_a_second_run_asks_only_the_missing_probes(run: Ran) -> None:
    with examinee(replies=KNOWS_ALL) as model:
        first = run(card_of(model), Terms(probes=6))
        second = run(card_of(model), Terms(probes=15))
        third = run(card_of(model), Terms(probes=15))
        assert (first.answered_now, second.answered_now, third.answered_now) == (6, 9, 0)
        assert len(model.asked) == len(set(model.asked)) == 15
    assert third.overall == second.overall
    assert third.spent_now_usd == 0


@pytest.mark.parametrize("fails_after", [0, 1, 7])
def test_an_endpoint_that_fails_ends_the_run_and_the_answers_are_stored(
    run: Ran, tmp_path: Path, fails_after: int
) -> None:
    with examinee(replies=KNOWS_ALL, fails_after=fails_after) as model:
        with pytest.raises(
            UpstreamError, match=rf"HTTP 503: not now; {fails_after} of 20 probes are answered and stored"
        ):
            run(card_of(model), Terms(probes=20))
        stored = load_evidence(tmp_path).get("vendor/examinee", ())
        assert len(stored) == fails_after
        answered = set(model.asked[:fails_after])
        model.fails_after = None
        before = len(model.asked)
        assert run(card_of(model), Terms(probes=20)).answered == 20
        assert not answered.intersection(model.asked[before:])


def test_a_card_with_an_invalid_api_key_is_called_once(run: Ran) -> None:
    with examinee(statuses=[401]) as model:
        with pytest.raises(UpstreamError, match="it rejects the API key"):
            run(card_of(model))
        assert len(model.asked) == 1


def test_the_error_names_a_card_whose_endpoint_is_unreachable(run: Ran) -> None:
    with pytest.raises(UpstreamError, match=r'no connection to .* card "vendor/examinee".*0 of 8 probes'):
        run(card_of(Examinee(url=unused_address())))


def test_an_endpoint_that_takes_too_long_ends_the_run(run: Ran) -> None:
    with (
        examinee(delay_s=30) as model,
        pytest.raises(UpstreamError, match=r'the upstream of the card "vendor/examinee" did not respond in time'),
    ):
        run(card_of(model), timeouts=Timeouts(first_token_s=0.05, total_s=0.05))


def test_a_busy_endpoint_is_retried_after_the_requested_wait(run: Ran) -> None:
    waited: list[float] = []
    with examinee(replies=KNOWS_ALL, statuses=[429, 503], headers={"retry-after": "7"}) as model:
        assert run(card_of(model), waited=waited).overall.score == 1.0
    assert waited == [7.0, 7.0]


def test_a_busy_endpoint_without_a_requested_wait_is_retried_with_growing_waits(run: Ran) -> None:
    waited: list[float] = []
    with examinee(replies=KNOWS_ALL, statuses=[429, 500, 502]) as model:
        run(card_of(model), waited=waited)
    assert waited == [1.0, 2.0, 4.0]


def test_a_requested_wait_of_an_hour_ends_the_run(run: Ran) -> None:
    waited: list[float] = []
    with (
        examinee(statuses=[429], headers={"retry-after": "3600"}) as model,
        pytest.raises(UpstreamError, match="retry in 3600 s"),
    ):
        run(card_of(model), waited=waited)
    assert waited == []


@pytest.mark.parametrize(
    ("rejected", "sent_instead"),
    [
        (("temperature",), {"max_tokens": 2048, "stream": True}),
        (("max_tokens", "temperature"), {"max_completion_tokens": 2048, "stream": True}),
        (("stream_options",), {"max_tokens": 2048, "stream": True}),
        (("stream",), {"max_tokens": 2048, "stream": False}),
    ],
)
def test_a_field_that_an_endpoint_rejects_is_omitted(
    rejected: tuple[str, ...], sent_instead: dict[str, Any], run: Ran
) -> None:
    with examinee(replies=KNOWS_ALL, rejects=rejected) as model:
        report = run(card_of(model))
        assert report.overall.score == 1.0
        # The gateway asks for the usage of a stream itself, once more, where the request does not.
        asked_again = len(rejected) + ("stream_options" in rejected)
        assert len(model.bodies) == 8 + asked_again
        assert {**model.bodies[-1], **sent_instead} == model.bodies[-1]
        assert not set(rejected) - {"stream"} & set(model.bodies[-1])


def test_the_whole_answers_of_an_endpoint_without_streams_have_no_time_to_the_first_token(run: Ran) -> None:
    with examinee(replies=KNOWS_ALL, streams=False) as model:
        report = run(card_of(model))
        assert (report.overall.score, report.ttft_ms) == (1.0, None)
        assert len(model.asked) == 8


def test_an_interrupted_answer_is_not_graded(run: Ran, tmp_path: Path) -> None:
    with examinee(replies=KNOWS_ALL, interrupts=True) as model:
        report = run(card_of(model))
        # The first call is interrupted, the others are sent without streaming.
        assert report.overall.score == 1.0
    assert all(outcome.ttft_ms is None for outcome in load_evidence(tmp_path)["vendor/examinee"])


def test_a_provider_with_another_protocol_is_asked_too(
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


def test_answers_at_the_token_limit_are_counted(run: Ran) -> None:
    with examinee(replies=lambda _: "Let me think about", finish="length") as model:
        assert run(card_of(model)).cut_off == 8


@given(st.floats(0.0005, 0.02))
def test_the_budget_is_never_exceeded(max_usd: float) -> None:
    # A shared server would mix the examples; the plan reserves exactly the same amounts as a run.
    card = card_of(Examinee(url="http://127.0.0.1:1"), price=1.0)
    planned = plan_probes(card, FEW, uncertain_test(), {}, Terms(probes=40, max_usd=max_usd, max_tokens=500))
    assert sum(probe.max_cost_usd or 0 for probe in planned) <= max_usd


@pytest.mark.parametrize("max_usd", [0.0008, 0.002, 0.004])
def test_a_run_stops_before_the_budget_is_exceeded(run: Ran, max_usd: float) -> None:
    terms = Terms(probes=40, max_usd=max_usd, max_tokens=500)
    # As many tokens as the limit allows.
    with examinee(replies=lambda _: "x" * 500) as model:
        report = run(card_of(model), terms)
        again = run(card_of(model), terms)
    assert report.stopped == again.stopped == "budget"
    assert 0 < (report.spent_usd or 0) <= max_usd
    assert again.answered_now == 0
    assert (report.spent_usd or 0) + 0.0008 > max_usd


def test_an_answer_without_usage_is_counted_at_its_maximum_cost(run: Ran, tmp_path: Path) -> None:
    with examinee(replies=KNOWS_ALL, usage=False) as model:
        report = run(card_of(model), Terms(probes=40, max_usd=0.01, max_tokens=1000))
    assert report.stopped == "budget"
    assert report.answered < 10
    assert all(outcome.cost_usd is None for outcome in load_evidence(tmp_path)["vendor/examinee"])


def test_a_budget_needs_a_known_price(run: Ran) -> None:
    # 0.0.0.0 reaches this machine without being one of its loopback addresses.
    with examinee(replies=KNOWS_ALL) as model:
        model.url = model.url.replace("127.0.0.1", "0.0.0.0")
        card = card_of(model, price=None)
        with pytest.raises(CallerError, match=r'"vendor/examinee" states no price, so --max-usd cannot be enforced'):
            run(card, Terms(probes=8, max_usd=1.0))
        assert model.asked == []
        report = run(card)
    assert (report.answered, report.spent_usd) == (8, None)


def test_a_card_on_this_machine_costs_nothing(run: Ran) -> None:
    with examinee(replies=KNOWS_ALL, usage=False) as model:
        report = run(card_of(model, price=None), Terms(probes=8, max_usd=0.0))
    assert (report.answered, report.spent_usd) == (8, 0.0)


def test_no_more_calls_are_concurrent_than_allowed(run: Ran) -> None:
    with examinee(replies=KNOWS_ALL, delay_s=0.03) as model:
        run(card_of(model), Terms(probes=13, concurrency=3))
        assert model.max_concurrent == 3
    with examinee(replies=KNOWS_ALL, delay_s=0.03) as model:
        run(card_of(model, rate_limits=RateLimits(concurrency=2)), Terms(probes=25, concurrency=8))
        assert model.max_concurrent == 2


def test_a_card_is_not_asked_for_more_tokens_than_its_maximum_output(run: Ran) -> None:
    with examinee(replies=KNOWS_ALL) as model:
        card = card_of(model, max_output_tokens=TokenCount(300))
        run(card)
        assert {body["max_tokens"] for body in model.bodies} == {300}
        few, many = (plan_probes(card, FEW, uncertain_test(), {}, Terms(max_tokens=limit)) for limit in (300, 5000))
        assert few == many


def test_all_probes_of_a_small_set_are_asked(run: Ran) -> None:
    small = ProbeSet("small", FEW.probes[:5])
    with examinee(replies=KNOWS_ALL) as model:
        report = run(card_of(model), Terms(probes=32), small)
    assert (report.stopped, report.answered) == ("all asked", 5)


def test_answers_of_another_model_are_an_error(run: Ran) -> None:
    with examinee(replies=KNOWS_ALL) as model:
        run(card_of(model))
        with pytest.raises(CallerError, match=r'answers of the model "examinee-1".*--reset'):
            run(card_of(model, model="examinee-2"))


def test_probes_unconfirmed_after_a_crash_are_charged_and_asked_last(run: Ran, tmp_path: Path) -> None:
    small = ProbeSet("small", FEW.probes[:6])
    unconfirmed = small.probes[0]
    with EvidenceLog(tmp_path, "vendor/examinee") as log:
        log.begin([PendingProbe(unconfirmed.id, unconfirmed.prompt, 0.5)])
    with examinee(replies=KNOWS_ALL) as model:
        report = run(card_of(model), Terms(probes=5), small)
        assert (report.answered, report.unconfirmed) == (5, 1)
        assert (report.spent_usd or 0) > 0.5
        assert unconfirmed.request_messages()[-1]["content"] not in model.asked
        assert run(card_of(model), Terms(probes=6), small).unconfirmed == 0
        assert model.asked[-1] == unconfirmed.request_messages()[-1]["content"]


def test_progress_is_reported_after_every_answer(run: Ran) -> None:
    reports: list[Progress] = []
    with examinee(replies=KNOWS_ALL) as model:
        run(card_of(model), on_progress=reports.append)
    assert [report.answered for report in reports] == list(range(9))
    assert reports[-1].score == 8
    assert all(report.wanted == 8 for report in reports)


def test_a_card_without_its_key_is_not_called(run: Ran) -> None:
    with (
        examinee() as model,
        pytest.raises(ConfigurationError, match="cannot be called: MISSING_KEY is not set"),
    ):
        run(card_of(model, api_key_env="MISSING_KEY"))


def test_a_run_asks_the_planned_probes(run: Ran) -> None:
    with examinee(replies=KNOWS_ALL) as model:
        card = card_of(model)
        planned = plan_probes(card, FEW, uncertain_test(), {}, Terms(probes=8))
        assert model.asked == []
        run(card)
        by_text = {probe.request_messages()[-1]["content"]: probe.id for probe in FEW.probes}
        assert {by_text[text] for text in model.asked} == {probe.probe for probe in planned}


def test_without_uncertainty_domains_and_difficulties_are_asked_evenly() -> None:
    test, asked = uncertain_test(SHIPPED, std=0.0), set[int]()
    for _ in range(35):
        asked.add(test.choose_next(asked))
    assert set(Counter(SHIPPED.probes[row].domain for row in asked).values()) == {5}
    arithmetic = sorted(SHIPPED.probes[row].difficulty for row in asked if SHIPPED.probes[row].domain == "arithmetic")
    assert arithmetic == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="every probe is asked"):
        test.choose_next(range(len(SHIPPED.probes)))


def test_a_batch_covers_all_domains_before_the_first_answer() -> None:
    test, asked = uncertain_test(SHIPPED), set[int]()
    for _ in range(7):
        asked.add(test.choose_next(asked))
    assert len({SHIPPED.probes[row].domain for row in asked}) == 7
    with pytest.raises(ValueError, match="every probe is asked"):
        test.choose_next(range(len(SHIPPED.probes)))


@given(st.sets(st.integers(0, 349), max_size=349))
def test_no_probe_is_chosen_twice(asked: set[int]) -> None:
    assert uncertain_test(SHIPPED).choose_next(asked) not in asked


@given(st.dictionaries(st.integers(0, 39), st.floats(0, 1), max_size=40))
def test_outcomes_reduce_the_uncertainty_and_return_a_new_test(outcomes: dict[int, float]) -> None:
    before, every = uncertain_test(), np.arange(40)
    after = before.observe(outcomes).average(every)
    assert after.std <= before.average(every).std + 1e-12
    assert 0 <= after.quality <= 1
    assert before.average(every) == uncertain_test().average(every)


def test_answers_change_the_forecast_most_in_their_own_domain() -> None:
    mixed = ProbeSet("mixed", (*SHIPPED.probes[:20], *[p for p in SHIPPED.probes if p.domain == "code"][:20]))
    after = uncertain_test(mixed).observe(dict.fromkeys(range(20), 1.0))
    same, other = after.average(np.arange(20)).quality, after.average(np.arange(20, 40)).quality
    assert same > other > 0.5


def test_the_prior_of_a_known_card_is_better_than_that_of_an_unknown_one(predictor: Predictor) -> None:
    catalog = Catalog([Card(id="calculator", provider="openai", model="c"), Card(id="x", provider="openai", model="x")])
    sums = SHIPPED.probes[:25]
    known = start_test(predictor, catalog, catalog.named("calculator"), sums).average(np.arange(25))
    unknown = start_test(predictor, catalog, catalog.named("x"), sums).average(np.arange(25))
    assert known.quality > unknown.quality
    assert known.std < unknown.std
