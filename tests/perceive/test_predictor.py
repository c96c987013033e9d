from __future__ import annotations

import itertools
from collections.abc import Mapping

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.cards.catalog import Catalog
from router.cards.facts import ModelFacts
from router.cards.schema import Benchmark, Card, Latency, Price
from router.formats.quantities import Milliseconds, Size, TokenCount
from router.learn.data import RoutingSet
from router.learn.training.train import train
from router.perceive.encoder import StaticEncoder
from router.perceive.evidence import ProbeOutcome
from router.perceive.features import Perceiver, feature_vector, vector_width
from router.perceive.predictor import Evidence, Predictor, _squashed, evidence_of
from router.perceive.roofline import time_per_token_ms, time_to_first_token_ms
from router.types import Features, Forecast
from router.wire.chat.request import ChatRequest
from tests.conftest import planted

SUM, POEM = "What is 123 plus 456?", "Write a poem about the river in spring."
FIELDS = (
    "quality",
    "quality_std",
    "independent_std",
    "mean_quality",
    "output_tokens",
    "cost_usd",
    "ttft_ms",
    "latency_ms",
)


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
    card("asked", size=Size(7e9)),
    card("asked-too"),
    card("tuned", kind="adapter", base="calculator"),
)
ASKED = {"asked": (1.0, 0.0), "asked-too": (0.0, 0.0), "tuned": (0.0, 1.0)}
"""What a card scored in probes of sums and of poems."""
ALONE = tuple(each for each in CARDS if each.base is None)


@pytest.fixture(scope="module")
def features(encoder: StaticEncoder) -> Features:
    return Perceiver(encoder)(ChatRequest.from_prompt(SUM))


def evidence_from(encoder: StaticEncoder, sums: float, poems: float, probes: int = 16) -> Evidence:
    """As many probes of either kind as `probes`, with these scores."""
    texts = [f"What is {number} plus {number * 7}?" for number in range(probes)]
    texts += [f"Write a poem about the river, number {number}." for number in range(probes)]
    vectors = np.stack([feature_vector(encoder, (text,)) for text in texts])
    return Evidence(vectors, np.repeat([sums, poems], probes))


@pytest.fixture(scope="module")
def evidence(encoder: StaticEncoder) -> Mapping[str, Evidence]:
    return {name: evidence_from(encoder, *scores) for name, scores in ASKED.items()}


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
    predictor: Predictor, features: Features, evidence: Mapping[str, Evidence], chosen: set[str]
) -> None:
    everything, some = Catalog(CARDS), with_bases(chosen)
    full, partial = (predictor.bind(catalog, evidence)(features) for catalog in (everything, some))
    for name in some.ids:
        assert of_card(partial, some, name) == of_card(full, everything, name)


@given(st.dictionaries(st.sampled_from([each.id for each in CARDS]), st.sampled_from([0.0, 0.5, 1.0])))
@settings(deadline=None, max_examples=30)
def test_probes_of_a_card_never_change_a_card_that_does_not_rest_on_it(
    predictor: Predictor, encoder: StaticEncoder, features: Features, scores: dict[str, float]
) -> None:
    catalog = Catalog(CARDS)
    asked = {name: evidence_from(encoder, score, score, probes=2) for name, score in scores.items()}
    before, after = predictor.bind(catalog)(features), predictor.bind(catalog, asked)(features)
    for each in CARDS:
        if each.id not in scores and each.base not in scores:
            assert of_card(after, catalog, each.id) == of_card(before, catalog, each.id)


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
    predictor: Predictor, features: Features, evidence: Mapping[str, Evidence], edited: str, facts: dict[str, object]
) -> None:
    new = card(edited, **facts)
    before, after = Catalog(ALONE), Catalog(new if each.id == edited else each for each in ALONE)
    old, now = predictor.bind(before, evidence)(features), predictor.bind(after, evidence)(features)
    for name in before.ids:
        if name != edited:
            assert of_card(now, after, name) == of_card(old, before, name)


def test_the_order_of_the_cards_changes_nothing(
    predictor: Predictor, features: Features, evidence: Mapping[str, Evidence]
) -> None:
    one, other = (predictor.bind(Catalog(cards), evidence)(features) for cards in (CARDS, CARDS[::-1]))
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
    apart = predictor.along(predictor.look(features.vector[None]), predictor.population.covariance)
    assert added == pytest.approx(apart[0], rel=1e-3)


def test_an_adapter_of_a_stranger_is_in_as_much_doubt_as_the_stranger(predictor: Predictor, features: Features) -> None:
    catalog = Catalog(CARDS)
    forecast = predictor.bind(catalog)(features)
    base, adapter = catalog.position("stranger"), catalog.position("nobody")
    assert forecast.quality_std[adapter] == forecast.quality_std[base]


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


def shifted(predictor: Predictor, biases: list[float]) -> Predictor:
    """`predictor` with models that are as good as this at every prompt."""
    ability = np.zeros_like(predictor.head.ability)
    ability[:, 0] = biases
    return Predictor(msgspec.structs.replace(predictor.head, ability=ability), predictor.encoder, predictor.manifest)


@given(st.lists(st.floats(-3, 4, width=32), min_size=3, max_size=3))
@settings(deadline=None)
def test_what_is_better_stays_better_beyond_either_end(predictor: Predictor, biases: list[float]) -> None:
    vector = np.zeros(vector_width(predictor.encoder), dtype=np.float32)
    quality = shifted(predictor, biases).expect(vector).quality[:-1]
    assert ((quality > 0) & (quality < 1)).all()
    for one, other in itertools.combinations(range(3), 2):
        if abs(biases[one] - biases[other]) > 0.02:
            assert (quality[one] > quality[other]) == (biases[one] > biases[other])


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
    quality, quality_std, tokens, novelty = predictor.expect(vector)
    assert ((quality > 0) & (quality < 1)).all()
    assert ((quality_std > 0) & (quality_std <= 0.5)).all()
    assert ((tokens >= 1) & (tokens <= 8192)).all()
    assert 0 <= novelty <= 1


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


@given(st.lists(st.sampled_from([SUM, POEM, "", "你好", "def f(): pass"]), min_size=1, max_size=40))
@settings(deadline=None, max_examples=30)
def test_many_prompts_at_once_are_forecast_as_one_by_one_to_the_last_bit(
    predictor: Predictor, encoder: StaticEncoder, prompts: list[str]
) -> None:
    vectors = np.stack([feature_vector(encoder, (f"{text} {number}",)) for number, text in enumerate(prompts)])
    together = predictor.expect_all(vectors)
    for position, vector in enumerate(vectors):
        for one, all_of_them in zip(predictor.expect(vector), together, strict=True):
            assert one.tobytes() == all_of_them[position].tobytes()


def test_a_measured_card_is_forecast_as_its_model(predictor: Predictor, features: Features) -> None:
    catalog = Catalog(CARDS)
    forecast = predictor.bind(catalog)(features)
    expected = predictor.expect(features.vector)
    position, model = catalog.position("calculator"), predictor.models.index("calculator")
    assert forecast.quality[position] == expected.quality[model]
    assert forecast.quality_std[position] == expected.quality_std[model]
    assert forecast.output_tokens[position] == expected.output_tokens[model]
    assert forecast.novelty == expected.novelty


def test_the_usual_quality_is_what_a_model_does_on_average(
    predictor: Predictor, features: Features, planted_set: RoutingSet
) -> None:
    catalog = Catalog([card(name) for name in planted_set.models])
    usual = predictor.bind(catalog)(features).mean_quality
    means = dict(zip(planted_set.models, planted_set.scores.mean(axis=0).tolist(), strict=True))
    np.testing.assert_allclose(usual, [means[name] for name in catalog.ids], atol=0.05)


def test_the_doubt_about_a_difference_is_no_more_than_all_doubt(
    predictor: Predictor, encoder: StaticEncoder, evidence: Mapping[str, Evidence]
) -> None:
    for text in (SUM, POEM, "Привет, как дела?"):
        forecast = predictor.bind(Catalog(CARDS), evidence)(Perceiver(encoder)(ChatRequest.from_prompt(text)))
        assert (forecast.independent_std > 0).all()
        assert (forecast.independent_std <= forecast.quality_std).all()


def test_a_card_is_placed_by_its_probes(
    predictor: Predictor, encoder: StaticEncoder, evidence: Mapping[str, Evidence]
) -> None:
    catalog = Catalog(CARDS)
    asked, stranger = catalog.position("asked"), catalog.position("stranger")
    sums, poems = (
        predictor.bind(catalog, evidence)(Perceiver(encoder)(ChatRequest.from_prompt(text))).quality
        for text in (SUM, POEM)
    )
    assert sums[asked] > sums[stranger] + 0.1
    assert poems[asked] < poems[stranger] - 0.1


def test_probes_make_surer_of_the_card_and_of_no_other(
    predictor: Predictor, features: Features, evidence: Mapping[str, Evidence]
) -> None:
    catalog = Catalog(CARDS)
    before, after = (predictor.bind(catalog, asked)(features).quality_std for asked in (None, evidence))
    for position, name in enumerate(catalog.ids):
        if name in ASKED:
            assert after[position] < before[position]
        else:
            assert after[position] == before[position]


def test_more_probes_make_surer(predictor: Predictor, encoder: StaticEncoder, features: Features) -> None:
    catalog = Catalog([card("asked")])
    std = [
        predictor.bind(catalog, {"asked": evidence_from(encoder, 1.0, 0.0, probes)})(features).quality_std[0]
        for probes in (1, 4, 16, 64)
    ]
    assert std == sorted(std, reverse=True)
    assert std[-1] < std[0]


def test_an_adapter_moves_off_its_base_by_its_probes(
    predictor: Predictor, encoder: StaticEncoder, evidence: Mapping[str, Evidence]
) -> None:
    # It fails at the sums at which its base is good, and writes the poems that its base cannot.
    catalog = Catalog(CARDS)
    base, tuned = catalog.position("calculator"), catalog.position("tuned")
    sums, poems = (
        predictor.bind(catalog, evidence)(Perceiver(encoder)(ChatRequest.from_prompt(text))).quality
        for text in (SUM, POEM)
    )
    assert sums[tuned] < sums[base] - 0.3
    assert poems[tuned] > poems[base] + 0.3


def test_an_adapter_rests_on_what_probes_say_of_its_base(
    predictor: Predictor, encoder: StaticEncoder, features: Features
) -> None:
    catalog = Catalog(CARDS)
    asked = {"stranger": evidence_from(encoder, 1.0, 1.0)}
    before, after = predictor.bind(catalog)(features), predictor.bind(catalog, asked)(features)
    base, adapter = catalog.position("stranger"), catalog.position("nobody")
    assert after.quality[adapter] == after.quality[base] > before.quality[adapter]
    assert after.quality_std[adapter] > after.quality_std[base]


def test_probes_say_nothing_new_of_a_card_with_outcomes(
    predictor: Predictor, encoder: StaticEncoder, features: Features
) -> None:
    catalog = Catalog([card("calculator")])
    asked = {"calculator": evidence_from(encoder, 0.0, 0.0)}
    before, after = predictor.bind(catalog)(features), predictor.bind(catalog, asked)(features)
    assert of_card(after, catalog, "calculator") == of_card(before, catalog, "calculator")


def test_probes_of_a_card_that_is_not_there_do_no_harm(
    predictor: Predictor, encoder: StaticEncoder, features: Features
) -> None:
    catalog = Catalog([card("stranger")])
    asked = {"gone": evidence_from(encoder, 1.0, 1.0)}
    before, after = predictor.bind(catalog)(features), predictor.bind(catalog, asked)(features)
    assert of_card(after, catalog, "stranger") == of_card(before, catalog, "stranger")


def outcome(prompt: str, score: float) -> ProbeOutcome:
    return ProbeOutcome("p", "", prompt, "text", score, "", "m", "2026-01-01T00:00:00Z", 1.0)


def test_evidence_holds_each_outcomes_features_and_score(encoder: StaticEncoder) -> None:
    found = evidence_of({"a": (outcome(SUM, 1.0), outcome(POEM, 0.25)), "b": ()}, encoder)
    assert set(found) == {"a"}
    assert np.array_equal(found["a"].vectors, np.stack([feature_vector(encoder, (text,)) for text in (SUM, POEM)]))
    assert found["a"].scores.tolist() == [1.0, 0.25]


@pytest.fixture(scope="module")
def informed(encoder: StaticEncoder) -> Predictor:
    """A predictor that knows of twelve models what they scored in a benchmark, and that it is what they can do."""
    models = [f"model-{number}" for number in range(12)]
    strength = np.linspace(0.2, 0.9, 12)
    data = planted(160)
    scores = (np.random.default_rng(8).random((160, 12)) < strength).astype(np.float32)
    facts = {name: ModelFacts(name, benchmarks={"mmlu": share}) for name, share in zip(models, strength, strict=True)}
    wide = msgspec.structs.replace(data, models=tuple(models), scores=scores, cost_usd=None, output_tokens=None)
    return train([wide], encoder, facts=facts)


def stated(name: str, score: float) -> Card:
    return card(name, benchmarks={"mmlu": Benchmark(score, "https://example.com")})


def test_a_card_with_facts_differs_from_the_population(informed: Predictor, features: Features) -> None:
    catalog = Catalog([card("unknown"), stated("known", 85.0)])
    known, unknown = catalog.position("known"), catalog.position("unknown")
    forecast = informed.bind(catalog)(features)
    assert forecast.quality[unknown] == informed.expect(features.vector).quality[-1]
    assert forecast.quality[known] > forecast.quality[unknown] + 0.05
    assert forecast.quality_std[known] < forecast.quality_std[unknown]


def test_a_card_with_better_benchmarks_is_forecast_better(informed: Predictor, features: Features) -> None:
    catalog = Catalog([stated(f"c{score}", score) for score in (25.0, 50.0, 75.0, 90.0)])
    forecast = informed.bind(catalog)(features)
    assert (np.diff(forecast.quality) > 0.05).all()
    assert (np.diff(forecast.mean_quality) > 0.05).all()
    assert len(set(forecast.quality_std.tolist())) == 1


def test_facts_say_nothing_new_of_a_card_with_outcomes(informed: Predictor, features: Features) -> None:
    bare, praised = Catalog([card("model-0")]), Catalog([stated("model-0", 99.0)])
    one, other = informed.bind(bare)(features), informed.bind(praised)(features)
    assert of_card(one, bare, "model-0") == of_card(other, praised, "model-0")


def test_probes_count_beside_facts(informed: Predictor, encoder: StaticEncoder, features: Features) -> None:
    catalog = Catalog([stated("praised", 90.0)])
    disappointing = {"praised": evidence_from(encoder, 0.0, 0.0)}
    before, after = informed.bind(catalog)(features), informed.bind(catalog, disappointing)(features)
    assert after.quality[0] < before.quality[0] - 0.1
    assert after.quality_std[0] < before.quality_std[0]


def test_an_empty_catalogue_has_an_empty_forecast(predictor: Predictor, features: Features) -> None:
    assert predictor.bind(Catalog([]))(features).quality.shape == (0,)
