from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from router.analysis.route_flips import RouteFlips, of_records, of_requests, route_flips, with_candidate
from router.cards import Catalog
from router.cards.schema import Lineage
from router.decide.policy import Policies, Policy
from router.perceive.predictor import Predictor
from router.pipeline import Router
from router.store.records.snapshots import Snapshots, catalogue_snapshot
from router.wire.chat.request import ChatRequest
from tests.decide.cards import card

POLICY = Policy(id="best", description="b")
CATALOG = Catalog([card("old", efforts={"low": {}}), card("new", efforts={"low": {}}), card("third"), card("fourth")])


def flips(*choices: tuple[str, str], scores: Mapping[str, float] | None = None) -> RouteFlips:
    """The flips where prompts are sent to the first card of each pair before, and to the second after."""

    def decided(before: str, after: str):  # type: ignore[no-untyped-def]
        return lambda policy, unavailable: after if "old" in unavailable else before

    decisions = [decided(*pair) for pair in choices]
    return route_flips(decisions, [scores or {}] * len(choices), CATALOG, POLICY, "old", "new")


def test_what_the_new_card_takes_over_is_no_flip() -> None:
    result = flips(("old", "new"), ("old@low", "new@low"), ("third", "third"))
    assert (result.flips, result.taken_over, result.share) == (0, 2, 0.0)


def test_flips_are_counted_by_where_the_prompt_goes() -> None:
    result = flips(("old", "third"), ("third", "new"), ("third", "fourth"), ("third", "third"))
    assert (result.lost, result.won, result.other, result.share) == (1, 1, 1, 0.75)


def test_flips_are_judged_where_both_cards_have_scores() -> None:
    result = flips(("old", "third"), ("third", "new"), scores={"old": 1.0, "third": 0.0})
    assert (result.compared, result.worse) == (1, 1)


def catalogue(**facts: dict[str, object]) -> Catalog:
    return Catalog([card(name, **facts.get(name, {})) for name in ("calculator", "poet", "generalist")])


def routed_by(predictor: Predictor, cards: Catalog, *, default: str | None = None) -> Router:
    policy = Policy(id="best", description="b", default=default, guard="on" if default else "off")
    return Router(cards, Policies([policy]), predictor)


POEM, SUM = "Write a poem about the moon in spring.", "What is 17 plus 25?"


def real_flips(router: Router, old: str, new: str) -> RouteFlips:
    requests = [ChatRequest.from_prompt(prompt) for prompt in (POEM, SUM)]
    decisions = of_requests(router, requests, "", None)
    return route_flips(decisions, [{}, {}], router.catalog, router.policies["best"], old, new)


def test_a_prompt_of_the_old_card_that_a_third_one_answers_better_is_a_flip(predictor: Predictor) -> None:
    result = real_flips(routed_by(predictor, catalogue()), "poet", "calculator")
    assert (result.prompts, result.lost, result.taken_over) == (2, 1, 0)


def test_a_ported_card_competes_only_in_the_comparison(predictor: Predictor) -> None:
    router = routed_by(predictor, catalogue(poet={"lineage": {"state": "ported"}}))
    assert router.route(ChatRequest.from_prompt(POEM), policy="best").decision.card != "poet"
    compared = with_candidate(router, "poet")
    assert compared.route(ChatRequest.from_prompt(POEM), policy="best").decision.card == "poet"
    assert router.catalog.named("poet").lineage == Lineage(state="ported")


def test_the_successor_of_a_policys_default_card_is_the_default(predictor: Predictor) -> None:
    router = routed_by(predictor, catalogue(), default="generalist")
    seen: list[str | None] = []

    def decided(policy: Policy, unavailable: Mapping[str, str]) -> str:
        seen.append(policy.default)
        return "poet"

    route_flips([decided], [{}], router.catalog, router.policies["best"], "generalist", "poet")
    assert seen == ["generalist", "poet"]


def test_recorded_decisions_flip_as_their_requests_do(predictor: Predictor) -> None:
    router = routed_by(predictor, catalogue())
    snapshots = Snapshots(catalogue_snapshot(router.catalog, {}), lambda _: True)
    routed = [router.route(ChatRequest.from_prompt(prompt), policy="best") for prompt in (POEM, SUM)]
    records = [replace(snapshots.decision_record(each), policy="best") for each in routed]
    policy = router.policies["best"]
    result = route_flips(
        of_records(router, policy, records, "", None), [{}, {}], router.catalog, policy, "poet", "calculator"
    )
    assert result == real_flips(router, "poet", "calculator")


def test_two_efforts_of_one_model_may_be_compared() -> None:
    chosen: list[Mapping[str, str]] = []

    def decided(policy: Policy, unavailable: Mapping[str, str]) -> str:
        chosen.append(unavailable)
        return "old@low" if "old" in unavailable else "old"

    result = route_flips([decided], [{}], CATALOG, POLICY, "old", "old@low")
    assert [set(each) for each in chosen] == [{"old@low"}, {"old"}]
    assert (result.taken_over, result.flips) == (1, 0)
