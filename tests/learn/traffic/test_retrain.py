"""The predictor retrained from judged traffic."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from router.errors import ArtifactError, CallerError
from router.learn.data import RoutingSet
from router.learn.traffic.judged import Judgement, judged_traffic, judgements, trusted_weights
from router.learn.traffic.retrain import Retrained, retrain
from router.perceive.predictor import Predictor
from router.perceive.text.encoder import StaticEncoder
from router.pipeline import Router
from router.store.records.feedback import OPERATOR, Feedback
from tests.learn.traffic.judged_requests import START_S, judged
from tests.store.records.examples import record
from tests.store.records.examples import router as router_of


@pytest.fixture(scope="module")
def router(predictor: Predictor) -> Router:
    return router_of(predictor)


@pytest.fixture(scope="module")
def poet_fails(predictor: Predictor, planted_set: RoutingSet) -> list[Judgement]:
    """The poet is right in a fifth of the cases, whatever it is asked; the calculator in four of five."""
    return judged(predictor, planted_set, lambda card, _: 0.2 if card == "poet" else 0.8)


@pytest.fixture(scope="module")
def retrained(poet_fails: list[Judgement], router: Router) -> Retrained:
    return retrain(poet_fails, router)


def _forecasts(predictor: Predictor, router: Router, planted_set: RoutingSet) -> dict[str, float]:
    vectors = predictor.vectors([prompt.turns for prompt in planted_set.prompts])
    means = predictor.bind(router.catalog).qualities(vectors).mean(axis=0)
    return dict(zip(router.catalog.ids, means.tolist(), strict=True))


def test_forecasts_move_to_what_was_judged_and_the_newest_part_confirms_it(
    retrained: Retrained, router: Router, planted_set: RoutingSet
) -> None:
    assert retrained.predictor is not None
    before = _forecasts(router.predictor, router, planted_set)
    now = _forecasts(retrained.predictor, router, planted_set)
    assert now["poet"] < before["poet"] - 0.1
    assert now["calculator"] > before["calculator"] + 0.05
    held_out = retrained.report.held_out
    assert held_out.gain_ci95[0] > 0
    assert held_out.judged == 120
    assert held_out.drawn == "keys"


def test_a_saved_artifact_has_the_same_forecasts_and_names_its_parent(
    retrained: Retrained, router: Router, planted_set: RoutingSet, encoder: StaticEncoder, tmp_path: Path
) -> None:
    assert retrained.predictor is not None
    retrained.predictor.save(tmp_path)
    loaded = Predictor.load(tmp_path, encoder)
    assert loaded.id == retrained.predictor.id != router.predictor.id
    assert _forecasts(loaded, router, planted_set) == _forecasts(retrained.predictor, router, planted_set)
    assert loaded.manifest.traffic is not None
    assert loaded.manifest.traffic.parent == router.predictor.id
    assert _forecasts(loaded.without_traffic(), router, planted_set) == _forecasts(
        router.predictor, router, planted_set
    )


def test_an_artifact_whose_cards_do_not_fit_its_weights_is_refused(
    retrained: Retrained, encoder: StaticEncoder, tmp_path: Path
) -> None:
    assert retrained.predictor is not None
    manifest = retrained.predictor.manifest
    assert manifest.traffic is not None
    traffic = msgspec.structs.replace(manifest.traffic, cards=manifest.traffic.cards[:1])
    wrong = msgspec.structs.replace(manifest, traffic=traffic)
    Predictor(retrained.predictor.head, encoder, wrong).save(tmp_path)
    with pytest.raises(ArtifactError, match=r"traffic\.cards has the shape"):
        Predictor.load(tmp_path, encoder)


def test_a_card_that_calls_another_model_now_has_only_what_all_cards_share(
    retrained: Retrained, router: Router, planted_set: RoutingSet
) -> None:
    assert retrained.predictor is not None
    other = router_of(router.predictor, poet={"model": "another-poet", "aliases": ("poet-1",)})
    with_other = _forecasts(retrained.predictor, other, planted_set)
    assert with_other["poet"] > _forecasts(retrained.predictor, router, planted_set)["poet"] + 0.05
    assert with_other["calculator"] == _forecasts(retrained.predictor, router, planted_set)["calculator"]


def test_training_again_begins_with_what_was_learned_before(
    retrained: Retrained, predictor: Predictor, planted_set: RoutingSet, router: Router
) -> None:
    assert retrained.predictor is not None
    again = router_of(retrained.predictor)
    # The calculator alone gets worse; of the poet, the report states nothing else.
    found = judged(retrained.predictor, planted_set, lambda card, _: 0.2 if card == "poet" else 0.5)
    second = retrain(found, again)
    assert second.predictor is not None
    now = _forecasts(second.predictor, router, planted_set)
    before = _forecasts(retrained.predictor, router, planted_set)
    assert now["calculator"] < before["calculator"] - 0.05
    assert abs(now["poet"] - before["poet"]) < 0.06


def test_judgements_that_agree_with_the_forecasts_change_nothing(
    predictor: Predictor, planted_set: RoutingSet, router: Router
) -> None:
    expected = _forecasts(predictor, router, planted_set)
    found = judged(predictor, planted_set, lambda card, _: expected[card], count=300)
    flat = retrain([msgspec.structs.replace(each, value=0.5) for each in found], router)
    # Half right everywhere is what no card is forecast: this is learned, so the comparison below means something.
    assert flat.predictor is not None
    vectors = np.array([np.frombuffer(each.record.decision.vector, "<f4") for each in found])  # type: ignore[union-attr]
    qualities = predictor.bind(router.catalog).qualities(vectors)
    columns = [router.catalog.ids.index(each.record.outcome.card or "") for each in found]
    exact = [
        msgspec.structs.replace(each, value=float(qualities[row, column]))
        for row, (each, column) in enumerate(zip(found, columns, strict=True))
    ]
    result = retrain(exact, router)
    assert result.predictor is None
    assert result.report.artifact == predictor.id


def test_too_few_judged_answers_are_refused_with_the_reasons_of_those_left_out(
    predictor: Predictor, planted_set: RoutingSet, router: Router
) -> None:
    found = judged(predictor, planted_set, lambda _card, _domain: 1.0, count=20)
    gone = [msgspec.structs.replace(found[0], record=record("other"))]
    with pytest.raises(CallerError, match=r"20 judged answers \(left out: 1 not routed\), of which 14 would train"):
        retrain([*gone, *found], router)


def test_one_hostile_key_moves_no_forecast_far(predictor: Predictor, planted_set: RoutingSet, router: Router) -> None:
    honest = judged(predictor, planted_set, lambda card, _: 0.2 if card == "poet" else 0.8)
    of_one = judged(predictor, planted_set, lambda card, _: 1.0 if card == "poet" else 0.0, keys=("eve",), count=1_200)
    moved = [
        msgspec.structs.replace(each, record=msgspec.structs.replace(each.record, at=START_S + 20 * n, id=f"eve-{n}"))
        for n, each in enumerate(of_one)
    ]
    both = sorted([*honest, *moved], key=lambda each: each.record.at)
    traffic = judged_traffic(both, router)
    weights = trusted_weights(traffic, np.full(len(traffic), 0.5))
    eve = traffic.keys == traffic.key_names.index("eve")
    assert weights[eve].sum() < 0.15 * weights.sum()
    assert traffic.weights[eve].sum() > 0.7 * traffic.weights.sum()
    alone, with_eve = retrain(honest, router).predictor, retrain(both, router).predictor
    assert alone is not None
    assert with_eve is not None
    one, two = (_forecasts(each, router, planted_set) for each in (alone, with_eve))
    assert all(abs(one[card] - two[card]) < 0.08 for card in one)


def test_votes_of_a_key_that_the_operator_trusts_count_fully(
    predictor: Predictor, planted_set: RoutingSet, router: Router
) -> None:
    found = judged(predictor, planted_set, lambda *_: 0.0, keys=("app",))
    for trusted, share in (((), 0.1), (("app",), 1.0)):
        traffic = judged_traffic(found, router, trusted)
        weights = trusted_weights(traffic, np.full(len(traffic), 0.5))
        assert weights.sum() == pytest.approx(share * traffic.weights.sum(), rel=0.01)
    of_no_key = judged_traffic(judged(predictor, planted_set, lambda *_: 0.0, keys=(None,)), router)
    assert (trusted_weights(of_no_key, np.full(len(of_no_key), 0.5)) == of_no_key.weights).all()


def test_the_operators_judgement_stands_in_the_place_of_all_others() -> None:
    asked = record("one")
    given = [
        Feedback("one", 1.0, 3.0, "client", key="a"),
        Feedback("one", 0.0, 2.0, OPERATOR),
        Feedback("two", 1.0, 1.0, "client", key="a"),
        Feedback("two", 0.5, 1.0, "other", key="a"),
    ]
    found = judgements([(each, asked if each.record == "one" else record("two", at=2e6)) for each in given])
    assert [(each.record.id, each.value, each.weight, each.is_trusted) for each in found] == [
        ("one", 0.0, 1.0, True),
        ("two", 0.75, 0.5, False),
    ]
