from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.cards.catalog import Catalog
from router.cards.schema import Card, Latency, Milliseconds, Price, Size, TokenCount
from router.learn.dataset import RoutingSet
from router.learn.train import train
from router.perceive.encoder import StaticEncoder
from router.perceive.features import Perceiver, feature_vector, vector_width
from router.perceive.predictor import Predictor, _squashed
from router.perceive.roofline import time_per_token_ms, time_to_first_token_ms
from router.types import ChatRequest, Features, Forecast

SUM, POEM = "What is 123 plus 456?", "Write a poem about the river in spring."
FIELDS = ("quality", "quality_std", "output_tokens", "cost_usd", "ttft_ms", "latency_ms")


def card(name: str, **facts: object) -> Card:
    return Card(id=name, provider="openai", model=name, **facts)  # type: ignore[arg-type]


CARDS = (
    card("calculator", price=Price(1.0, 2.0)),
    card("big-poet", aliases=("poet",), size=Size(7e10), max_output_tokens=TokenCount(10)),
    card("generalist", latency=Latency(Milliseconds(100), Milliseconds(10))),
    card("stranger", size=Size(7e9)),
    card("sums", kind="adapter", base="calculator", price=Price(9.0, 9.0)),
    card("verses", kind="adapter", base="big-poet"),
    card("nobody", kind="adapter", base="stranger"),
)
ALONE = tuple(each for each in CARDS if each.base is None)


@pytest.fixture(scope="module")
def features(encoder: StaticEncoder) -> Features:
    return Perceiver(encoder)(ChatRequest.from_prompt(SUM))


def of_card(forecast: Forecast, catalog: Catalog, name: str) -> bytes:
    position = catalog.position(name)
    assert position is not None
    return b"".join(getattr(forecast, field)[position].tobytes() for field in FIELDS)


def with_bases(chosen: set[str]) -> Catalog:
    bases = {each.base for each in CARDS if each.id in chosen}
    return Catalog(each for each in CARDS if each.id in chosen | bases)


@given(st.sets(st.sampled_from([each.id for each in CARDS]), min_size=1))
@settings(deadline=None)
def test_the_other_cards_never_change_a_forecast_to_the_last_bit(
    predictor: Predictor, features: Features, chosen: set[str]
) -> None:
    everything, some = Catalog(CARDS), with_bases(chosen)
    full, partial = predictor.bind(everything)(features), predictor.bind(some)(features)
    for name in some.ids:
        assert of_card(partial, some, name) == of_card(full, everything, name)


@given(
    st.sampled_from([each.id for each in ALONE]),
    st.fixed_dictionaries(
        {
            "price": st.builds(Price, st.floats(0, 1e3), st.floats(0, 1e3)),
            "size": st.builds(Size, st.floats(1e6, 1e12)),
            "max_output_tokens": st.integers(1, 100_000).map(TokenCount),
        }
    ),
)
@settings(deadline=None)
def test_editing_a_card_never_changes_another_ones_forecast(
    predictor: Predictor, features: Features, edited: str, facts: dict[str, object]
) -> None:
    new = card(edited, **facts)
    before, after = Catalog(ALONE), Catalog(new if each.id == edited else each for each in ALONE)
    old, now = predictor.bind(before)(features), predictor.bind(after)(features)
    for name in before.ids:
        if name != edited:
            assert of_card(now, after, name) == of_card(old, before, name)


def test_the_order_of_the_cards_changes_nothing(predictor: Predictor, features: Features) -> None:
    one, other = predictor.bind(Catalog(CARDS))(features), predictor.bind(Catalog(CARDS[::-1]))(features)
    assert all(getattr(one, field).tobytes() == getattr(other, field).tobytes() for field in FIELDS)


def test_each_model_is_best_at_its_own_kind_of_prompt(predictor: Predictor, encoder: StaticEncoder) -> None:
    calculator, poet = predictor.models.index("calculator"), predictor.models.index("poet")
    sums, *_ = predictor.expect(feature_vector(encoder, (SUM,)))
    poems, *_ = predictor.expect(feature_vector(encoder, (POEM,)))
    assert sums[calculator] > sums[poet] + 0.3
    assert poems[poet] > poems[calculator] + 0.3


def test_a_card_is_known_by_its_alias(predictor: Predictor, features: Features) -> None:
    catalog = Catalog(CARDS)
    position = catalog.position("big-poet")
    assert position is not None
    assert predictor.column(catalog, position) == predictor.models.index("poet")


@pytest.mark.parametrize(("adapter", "model"), [("sums", "calculator"), ("verses", "poet")])
def test_an_adapter_rests_on_its_base(adapter: str, model: str, predictor: Predictor, features: Features) -> None:
    catalog = Catalog(CARDS)
    forecast = predictor.bind(catalog)(features)
    position = catalog.position(adapter)
    quality, quality_std, *_ = predictor.expect(features.vector)
    column = predictor.models.index(model)
    assert forecast.quality[position] == quality[column]
    assert forecast.quality_std[position] > quality_std[column]


def test_an_adapter_adds_to_the_doubt_as_much_as_models_differ(predictor: Predictor, features: Features) -> None:
    catalog = Catalog(CARDS)
    forecast = predictor.bind(catalog)(features)
    base, adapter = catalog.position("calculator"), catalog.position("sums")
    added = np.square(forecast.quality_std[adapter]) - np.square(forecast.quality_std[base])
    assert added == pytest.approx(predictor.spread**2)


def test_an_adapter_with_outcomes_of_its_own_is_as_sure_as_a_model(predictor: Predictor, features: Features) -> None:
    catalog = Catalog([card("calculator"), card("poet", kind="adapter", base="calculator")])
    _, quality_std, *_ = predictor.expect(features.vector)
    found = predictor.bind(catalog)(features).quality_std[catalog.position("poet")]
    assert found == quality_std[predictor.models.index("poet")]


def test_an_adapter_with_outcomes_of_its_own_does_not_rest_on_its_base(predictor: Predictor) -> None:
    catalog = Catalog([card("calculator"), card("poet", kind="adapter", base="calculator")])
    assert predictor.column(catalog, 1) == predictor.models.index("poet")


@pytest.mark.parametrize("name", ["stranger", "nobody"])
def test_a_card_without_outcomes_gets_the_population(name: str, predictor: Predictor, features: Features) -> None:
    catalog = Catalog(CARDS)
    forecast = predictor.bind(catalog)(features)
    position = catalog.position(name)
    quality, *_ = predictor.expect(features.vector)
    assert forecast.quality[position] == quality[-1]


def test_a_card_without_outcomes_is_less_sure_than_any_with(predictor: Predictor, features: Features) -> None:
    _, quality_std, *_ = predictor.expect(features.vector)
    assert (quality_std[-1] > quality_std[:-1]).all()


def shifted(predictor: Predictor, bias: np.ndarray) -> Predictor:
    """`predictor` with the models (and the population) at these average qualities."""
    head = msgspec.structs.replace(predictor.head, bias=bias.astype(np.float32))
    return Predictor(head, predictor.encoder, predictor.manifest)


@given(st.lists(st.floats(-3, 4, width=32), min_size=4, max_size=4))
@settings(deadline=None)
def test_what_is_better_stays_better_beyond_either_end(predictor: Predictor, biases: list[float]) -> None:
    # A forecast of no surprise: the linear parts are nil, so that the biases alone decide.
    calm = msgspec.structs.replace(
        predictor.head, least=np.zeros_like(predictor.head.least), greatest=np.zeros_like(predictor.head.greatest)
    )
    vector = np.zeros(vector_width(predictor.encoder), dtype=np.float32)
    bias = np.array(biases, dtype=np.float32)
    quality = shifted(Predictor(calm, predictor.encoder, predictor.manifest), bias).expect(vector).quality
    assert ((quality > 0) & (quality < 1)).all()
    for one, other in itertools.combinations(range(4), 2):
        if abs(bias[one] - bias[other]) > 0.02:
            assert (quality[one] > quality[other]) == (bias[one] > bias[other])


def test_a_forecast_away_from_the_ends_is_not_bent() -> None:
    middle = np.linspace(0.05, 0.95, 91, dtype=np.float32)
    np.testing.assert_array_equal(_squashed(middle), middle)


def test_the_bend_has_no_step_and_no_kink() -> None:
    line = np.linspace(-2, 3, 50_001)
    slope = np.diff(_squashed(line)) / np.diff(line)
    assert ((slope > 0) & (slope < 1 + 1e-9)).all()
    assert np.abs(np.diff(slope)).max() < 0.01


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=8, max_size=8), st.integers(0, 2**31))
@settings(deadline=None)
def test_forecasts_of_any_vector_are_probabilities_with_a_spread(
    predictor: Predictor, scales: list[float], seed: int
) -> None:
    width = vector_width(predictor.encoder)
    noise = np.random.default_rng(seed).standard_normal(width)
    vector = (noise * np.resize(scales, width)).astype(np.float32)
    quality, quality_std, *_ = predictor.expect(vector)
    assert ((quality > 0) & (quality < 1)).all()
    assert ((quality_std > 0) & (quality_std <= 0.5)).all()
    tokens = predictor.expect(vector).output_tokens
    assert ((tokens >= 1) & (tokens <= 8192)).all()


@pytest.mark.parametrize(
    "odd",
    [
        "".join(map(chr, range(0x4E00, 0x4E80))),
        "SELECT * FROM t;\n" * 40,
        "Привет, как дела? " * 20,
        "{}[]<>!=&|" * 100,
    ],
)
def test_the_deviation_grows_far_from_the_training_data(odd: str, predictor: Predictor, encoder: StaticEncoder) -> None:
    _, near, *_ = predictor.expect(feature_vector(encoder, (SUM,)))
    _, far, *_ = predictor.expect(feature_vector(encoder, (odd,)))
    assert (far[:-1] > near[:-1]).all()


def test_longer_answers_are_expected_where_they_were_seen(predictor: Predictor, encoder: StaticEncoder) -> None:
    sums = predictor.expect(feature_vector(encoder, (SUM,))).output_tokens
    poems = predictor.expect(feature_vector(encoder, (POEM,))).output_tokens
    assert (poems > 3 * sums).all()
    assert sums[predictor.models.index("poet")] > sums[predictor.models.index("calculator")]


def test_the_expected_length_is_the_mean_and_not_the_median(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    scatter = np.random.default_rng(0).lognormal(5.0, 1.0, planted_set.scores.shape).astype(np.float32)
    trained = train([msgspec.structs.replace(planted_set, output_tokens=scatter)], encoder)
    vectors = [feature_vector(encoder, prompt.turns) for prompt in planted_set.prompts]
    expected = np.mean([trained.expect(vector).output_tokens[:-1] for vector in vectors], axis=0)
    means, medians = scatter.mean(axis=0), np.median(scatter, axis=0)
    np.testing.assert_allclose(expected, means, rtol=0.1)
    assert (expected > 1.2 * medians).all()


@pytest.mark.parametrize("width", [20, 100])
def test_the_mean_leverage_of_the_prompts_is_exact_however_few_directions_are_kept(width: int) -> None:
    scales = np.geomspace(5, 0.1, width)
    table = (np.random.default_rng(0).standard_normal((400, width)) * scales).astype(np.float32)
    directions, gain, rest = leverage_of(table, penalty=50.0)
    found = np.square(table).sum(axis=1) * rest + np.square(table @ directions.T) @ gain
    gram = table.T.astype(np.float64) @ table
    exact = np.einsum("ij,jk,ik->i", table, np.linalg.inv(gram + 50.0 * np.eye(width)), table)
    assert found.mean() == pytest.approx(exact.mean(), rel=1e-4)


def test_cost_is_tokens_times_price(predictor: Predictor, features: Features) -> None:
    forecast = predictor.bind(Catalog([card("calculator", price=Price(3.0, 15.0))]))(features)
    expected = (features.input_tokens * 3.0 + forecast.output_tokens[0] * 15.0) / 1e6
    assert forecast.cost_usd[0] == pytest.approx(expected, rel=1e-12)


def test_a_free_card_costs_nothing(predictor: Predictor, features: Features) -> None:
    assert predictor.bind(Catalog([card("poet", price=Price(0.0, 0.0))]))(features).cost_usd[0] == 0.0


def test_a_card_without_a_price_has_no_cost(predictor: Predictor, features: Features) -> None:
    assert np.isnan(predictor.bind(Catalog([card("poet")]))(features).cost_usd[0])


@pytest.mark.parametrize(("of_card", "of_request", "tokens"), [(5, None, 5), (None, 4, 4), (5, 3, 3), (3, 5, 3)])
def test_an_answer_is_no_longer_than_card_and_request_allow(
    of_card: int | None,
    of_request: int | None,
    tokens: int,
    predictor: Predictor,
    encoder: StaticEncoder,
) -> None:
    body = {"messages": [{"role": "user", "content": POEM}], "max_tokens": of_request}
    features = Perceiver(encoder)(ChatRequest.from_body(body))
    longest = None if of_card is None else TokenCount(of_card)
    forecast = predictor.bind(Catalog([card("poet", max_output_tokens=longest)]))(features)
    assert forecast.output_tokens[0] == tokens


def test_measured_latency_comes_from_the_card(predictor: Predictor, features: Features) -> None:
    fast = card("poet", latency=Latency(Milliseconds(100), Milliseconds(10)), size=Size(7e9))
    forecast = predictor.bind(Catalog([fast]))(features)
    assert forecast.ttft_ms[0] == 100
    assert forecast.latency_ms[0] == 100 + 10 * forecast.output_tokens[0]


def test_latency_that_nobody_measured_comes_from_the_active_size(predictor: Predictor, features: Features) -> None:
    forecast = predictor.bind(Catalog([card("poet", size=Size(47e9, 13e9))]))(features)
    active = np.array([13e9])
    first = time_to_first_token_ms(active, features.input_tokens)
    assert forecast.ttft_ms == first
    assert forecast.latency_ms == first + forecast.output_tokens * time_per_token_ms(active)


def test_latency_without_size_or_measurement_is_unknown(predictor: Predictor, features: Features) -> None:
    forecast = predictor.bind(Catalog([card("poet")]))(features)
    assert np.isnan(forecast.latency_ms[0])
