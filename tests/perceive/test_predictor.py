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
from router.cards.machine.facts import Arch, Hardware
from router.cards.machine.speeds import Speed
from router.cards.price import Price
from router.cards.schema import Benchmark, Card, Latency
from router.formats.quantities import Milliseconds, Size, TokenCount
from router.learn.data import RoutingSet
from router.learn.training.train import train
from router.perceive.ability.evidence import ProbeOutcome
from router.perceive.features import Perceiver, feature_vector, vector_width
from router.perceive.linear import _squashed
from router.perceive.predictor import Evidence, Predictor
from router.perceive.roofline import time_per_token_ms, time_to_first_token_ms
from router.perceive.text.encoder import StaticEncoder
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
    card("unmeasured", size=Size(7e9)),
    card("sums", kind="adapter", base="calculator", price=Price(9.0, 9.0)),
    card("verses", kind="adapter", base="big-poet"),
    card("unmeasured-adapter", kind="adapter", base="unmeasured"),
    card("probed", size=Size(7e9)),
    card("also-probed"),
    card("tuned", kind="adapter", base="calculator"),
)
PROBE_SCORES = {"probed": (1.0, 0.0), "also-probed": (0.0, 0.0), "tuned": (0.0, 1.0)}
"""The scores of a card in probes of sums and of poems."""
MODELS = tuple(card for card in CARDS if card.base is None)


@pytest.fixture(scope="module")
def features(encoder: StaticEncoder) -> Features:
    return Perceiver(encoder)(ChatRequest.from_prompt(SUM))


def evidence_from(encoder: StaticEncoder, sums: float, poems: float, probes: int = 16) -> Evidence:
    """`probes` probes of sums and as many of poems, with these scores."""
    texts = [f"What is {number} plus {number * 7}?" for number in range(probes)]
    texts += [f"Write a poem about the river, number {number}." for number in range(probes)]
    vectors = np.stack([feature_vector(encoder, (text,)) for text in texts])
    return Evidence(vectors, np.repeat([sums, poems], probes))


@pytest.fixture(scope="module")
def evidence(encoder: StaticEncoder) -> Mapping[str, Evidence]:
    return {name: evidence_from(encoder, *scores) for name, scores in PROBE_SCORES.items()}


def of_card(forecast: Forecast, catalog: Catalog, name: str) -> bytes:
    position = catalog.position(name)
    assert position is not None
    return b"".join(getattr(forecast, field)[position].tobytes() for field in FIELDS)


def with_bases(chosen: set[str]) -> Catalog:
    bases = {card.base for card in CARDS if card.id in chosen}
    return Catalog(card for card in CARDS if card.id in chosen | bases)


@given(st.sets(st.sampled_from([card.id for card in CARDS]), min_size=1))
@settings(deadline=None)
def test_other_cards_do_not_change_any_bit_of_a_forecast(
    predictor: Predictor, features: Features, evidence: Mapping[str, Evidence], chosen: set[str]
) -> None:
    whole, part = Catalog(CARDS), with_bases(chosen)
    of_whole, of_part = (predictor.bind(catalog, evidence)(features) for catalog in (whole, part))
    for name in part.ids:
        assert of_card(of_part, part, name) == of_card(of_whole, whole, name)


@given(st.dictionaries(st.sampled_from([card.id for card in CARDS]), st.sampled_from([0.0, 0.5, 1.0])))
@settings(deadline=None, max_examples=30)
def test_probes_of_a_card_change_only_that_card_and_its_adapters(
    predictor: Predictor, encoder: StaticEncoder, features: Features, scores: dict[str, float]
) -> None:
    catalog = Catalog(CARDS)
    evidence = {name: evidence_from(encoder, score, score, probes=2) for name, score in scores.items()}
    before, after = predictor.bind(catalog)(features), predictor.bind(catalog, evidence)(features)
    for other in CARDS:
        if other.id not in scores and other.base not in scores:
            assert of_card(after, catalog, other.id) == of_card(before, catalog, other.id)


@given(
    st.sampled_from([card.id for card in MODELS]),
    st.fixed_dictionaries(
        {
            "price": st.builds(Price, st.floats(0, 1e3), st.floats(0, 1e3)),
            "size": st.builds(Size, st.floats(1e6, 1e12)),
            "max_output_tokens": st.integers(1, 100_000).map(TokenCount),
        }
    ),
)
@settings(deadline=None)
def test_editing_a_card_does_not_change_the_forecast_of_another(
    predictor: Predictor, features: Features, evidence: Mapping[str, Evidence], edited: str, facts: dict[str, object]
) -> None:
    new = card(edited, **facts)
    before, after = Catalog(MODELS), Catalog(new if model.id == edited else model for model in MODELS)
    old, updated = predictor.bind(before, evidence)(features), predictor.bind(after, evidence)(features)
    for name in before.ids:
        if name != edited:
            assert of_card(updated, after, name) == of_card(old, before, name)


def test_the_order_of_the_cards_does_not_matter(
    predictor: Predictor, features: Features, evidence: Mapping[str, Evidence]
) -> None:
    one, other = (predictor.bind(Catalog(cards), evidence)(features) for cards in (CARDS, CARDS[::-1]))
    assert all(getattr(one, field).tobytes() == getattr(other, field).tobytes() for field in FIELDS)


def test_every_model_is_best_at_its_kind_of_prompt(predictor: Predictor, encoder: StaticEncoder) -> None:
    calculator, poet = predictor.models.index("calculator"), predictor.models.index("poet")
    sums, *_ = predictor.expect(feature_vector(encoder, (SUM,)))
    poems, *_ = predictor.expect(feature_vector(encoder, (POEM,)))
    assert sums[calculator] > sums[poet] + 0.3
    assert poems[poet] > poems[calculator] + 0.3


def test_a_card_has_the_outcomes_of_its_alias(predictor: Predictor, features: Features) -> None:
    catalog = Catalog(CARDS)
    position = catalog.position("big-poet")
    assert position is not None
    assert predictor.column(catalog, position) == predictor.models.index("poet")


@pytest.mark.parametrize(("adapter", "model"), [("sums", "calculator"), ("verses", "poet")])
def test_an_adapter_has_the_quality_of_its_base_with_more_uncertainty(
    adapter: str, model: str, predictor: Predictor, features: Features
) -> None:
    catalog = Catalog(CARDS)
    forecast = predictor.bind(catalog)(features)
    position = catalog.position(adapter)
    quality, quality_std, *_ = predictor.expect(features.vector)
    column = predictor.models.index(model)
    assert forecast.quality[position] == quality[column]
    assert forecast.quality_std[position] > quality_std[column]


def test_an_adapter_adds_the_variance_between_models_to_that_of_its_base(
    predictor: Predictor, features: Features
) -> None:
    catalog = Catalog(CARDS)
    forecast = predictor.bind(catalog)(features)
    base, adapter = catalog.position("calculator"), catalog.position("sums")
    added = np.square(forecast.quality_std[adapter]) - np.square(forecast.quality_std[base])
    profile = predictor.profile(features.vector[None])
    between_models = predictor.expectation_variance(profile, predictor.population.covariance)
    assert added == pytest.approx(between_models[0], rel=1e-3)


def test_an_adapter_of_an_unmeasured_card_is_as_uncertain_as_that_card(
    predictor: Predictor, features: Features
) -> None:
    catalog = Catalog(CARDS)
    forecast = predictor.bind(catalog)(features)
    base, adapter = catalog.position("unmeasured"), catalog.position("unmeasured-adapter")
    assert forecast.quality_std[adapter] == forecast.quality_std[base]


def test_an_adapter_with_outcomes_is_as_certain_as_a_model(predictor: Predictor, features: Features) -> None:
    catalog = Catalog([card("calculator"), card("poet", kind="adapter", base="calculator")])
    _, quality_std, *_ = predictor.expect(features.vector)
    of_adapter = predictor.bind(catalog)(features).quality_std[catalog.position("poet")]
    assert of_adapter == quality_std[predictor.models.index("poet")]


def test_the_outcomes_of_an_adapter_replace_those_of_its_base(predictor: Predictor) -> None:
    catalog = Catalog([card("calculator"), card("poet", kind="adapter", base="calculator")])
    assert predictor.column(catalog, 1) == predictor.models.index("poet")


@pytest.mark.parametrize("name", ["unmeasured", "unmeasured-adapter"])
def test_a_card_without_outcomes_gets_the_forecast_of_the_population(
    name: str, predictor: Predictor, features: Features
) -> None:
    catalog = Catalog(CARDS)
    forecast = predictor.bind(catalog)(features)
    position = catalog.position(name)
    quality, *_ = predictor.expect(features.vector)
    assert forecast.quality[position] == quality[-1]


def test_a_card_without_outcomes_is_less_certain_than_any_with_outcomes(
    predictor: Predictor, features: Features
) -> None:
    _, quality_std, *_ = predictor.expect(features.vector)
    assert (quality_std[-1] >= quality_std[:-1]).all()
    assert (quality_std[-1] > quality_std[:-1]).any()


def shifted(predictor: Predictor, biases: list[float]) -> Predictor:
    """`predictor` with models of these qualities on every prompt."""
    ability = np.zeros_like(predictor.head.ability)
    ability[:, 0] = biases
    return Predictor(msgspec.structs.replace(predictor.head, ability=ability), predictor.encoder, predictor.manifest)


@given(st.lists(st.floats(-3, 4, width=32), min_size=3, max_size=3))
@settings(deadline=None)
def test_the_order_of_qualities_is_preserved_beyond_both_ends(predictor: Predictor, biases: list[float]) -> None:
    vector = np.zeros(vector_width(predictor.encoder), dtype=np.float32)
    quality = shifted(predictor, biases).expect(vector).quality[:-1]
    assert ((quality > 0) & (quality < 1)).all()
    for first, second in itertools.combinations(range(3), 2):
        if abs(biases[first] - biases[second]) > 0.02:
            assert (quality[first] > quality[second]) == (biases[first] > biases[second])


def test_a_quality_away_from_the_ends_is_not_bent() -> None:
    middle = np.linspace(0.05, 0.95, 91, dtype=np.float32)
    np.testing.assert_array_equal(_squashed(middle), middle)


def test_the_bend_is_continuous_with_a_continuous_slope() -> None:
    line = np.linspace(-2, 3, 50_001)
    slope = np.diff(_squashed(line)) / np.diff(line)
    assert ((slope > 0) & (slope < 1 + 1e-9)).all()
    assert np.abs(np.diff(slope)).max() < 0.01


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=8, max_size=8), st.integers(0, 2**31))
@settings(deadline=None)
def test_forecasts_of_any_vector_are_in_their_ranges(predictor: Predictor, scales: list[float], seed: int) -> None:
    width = vector_width(predictor.encoder)
    noise = np.random.default_rng(seed).standard_normal(width)
    vector = (noise * np.resize(scales, width)).astype(np.float32)
    quality, quality_std, tokens, novelty, *_ = predictor.expect(vector)
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
def test_the_uncertainty_is_greater_out_of_domain(odd: str, predictor: Predictor, encoder: StaticEncoder) -> None:
    _, in_domain, *_ = predictor.expect(feature_vector(encoder, (SUM,)))
    _, out_of_domain, *_ = predictor.expect(feature_vector(encoder, (odd,)))
    assert (out_of_domain[:-1] >= in_domain[:-1]).all()
    assert (out_of_domain[:-1] > in_domain[:-1]).any()


def test_longer_answers_are_forecast_for_prompts_and_models_that_had_them(
    predictor: Predictor, encoder: StaticEncoder
) -> None:
    sums = predictor.expect(feature_vector(encoder, (SUM,))).output_tokens
    poems = predictor.expect(feature_vector(encoder, (POEM,))).output_tokens
    assert (poems > 3 * sums).all()
    assert sums[predictor.models.index("poet")] > sums[predictor.models.index("calculator")]


def test_the_forecast_length_is_the_mean_and_not_the_median(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
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
def test_the_forecast_length_is_at_most_the_limits_of_card_and_request(
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


def test_the_latency_is_that_stated_on_the_card(predictor: Predictor, features: Features) -> None:
    fast = card("poet", latency=Latency(Milliseconds(100), Milliseconds(10)), size=Size(7e9))
    forecast = predictor.bind(Catalog([fast]))(features)
    assert forecast.ttft_ms[0] == 100
    assert forecast.latency_ms[0] == 100 + 10 * forecast.output_tokens[0]


def test_latency_without_measurement_is_estimated_from_the_active_size(
    predictor: Predictor, features: Features
) -> None:
    catalog = Catalog([card("poet", size=Size(47e9, 13e9))])
    forecast, machines = predictor.bind(catalog)(features), catalog.machines
    first = time_to_first_token_ms(machines, features.input_tokens)
    assert forecast.ttft_ms == first
    assert forecast.latency_ms == first + forecast.output_tokens * time_per_token_ms(machines, 0)


def test_estimated_latency_depends_on_the_machine_and_grows_with_the_context(
    predictor: Predictor, features: Features
) -> None:
    arch = Arch(layers=32, hidden=4096, vocab=32000, heads=32, intermediate=11008)
    cards = [card(name, arch=arch, hardware=Hardware(name=name)) for name in ("a100-80", "h100")]
    forecaster = predictor.bind(Catalog(cards))
    short, long = forecaster(features), forecaster(msgspec.structs.replace(features, input_tokens=16_000))
    assert short.latency_ms[0] > short.latency_ms[1]
    decoding = [each.latency_ms - each.ttft_ms for each in (short, long)]
    # 16,000 tokens have 8.4 GB of cache beside 13 GB of weights.
    assert (decoding[1] > 1.6 * decoding[0]).all()


def test_a_fit_multiplies_the_estimates_and_leaves_stated_latency_as_it_is(
    predictor: Predictor, features: Features
) -> None:
    stated = card("stated", size=Size(7e9), latency=Latency(Milliseconds(100), Milliseconds(10)))
    plain = Catalog([card("a", size=Size(7e9)), card("b", size=Size(7e9)), stated])
    fitted = plain.with_speeds({"a": Speed(3.0, 2.0, 50), "stated": Speed(3.0, 2.0, 50)})
    before, after = predictor.bind(plain)(features), predictor.bind(fitted)(features)
    assert after.ttft_ms[0] == 3 * before.ttft_ms[0]
    decoding = [each.latency_ms - each.ttft_ms for each in (before, after)]
    assert decoding[1][0] == pytest.approx(2 * decoding[0][0])
    assert (after.latency_ms[1:] == before.latency_ms[1:]).all()


def test_latency_without_size_or_measurement_is_unknown(predictor: Predictor, features: Features) -> None:
    forecast = predictor.bind(Catalog([card("poet")]))(features)
    assert np.isnan(forecast.latency_ms[0])


@given(st.lists(st.sampled_from([SUM, POEM, "", "你好", "def f(): pass"]), min_size=1, max_size=40))
@settings(deadline=None, max_examples=30)
def test_a_batch_of_prompts_gives_the_same_bits_as_single_prompts(
    predictor: Predictor, encoder: StaticEncoder, prompts: list[str]
) -> None:
    vectors = np.stack([feature_vector(encoder, (f"{text} {number}",)) for number, text in enumerate(prompts)])
    batch = predictor.expect_all(vectors)
    for position, vector in enumerate(vectors):
        for single, of_batch in zip(predictor.expect(vector), batch, strict=True):
            assert single.tobytes() == of_batch[position].tobytes()


def test_a_card_with_outcomes_has_the_forecast_of_its_model(predictor: Predictor, features: Features) -> None:
    catalog = Catalog(CARDS)
    forecast = predictor.bind(catalog)(features)
    expected = predictor.expect(features.vector)
    position, model = catalog.position("calculator"), predictor.models.index("calculator")
    assert forecast.quality[position] == expected.quality[model]
    assert forecast.quality_std[position] == expected.quality_std[model]
    assert forecast.output_tokens[position] == expected.output_tokens[model]
    assert forecast.novelty == expected.novelty


def test_the_mean_quality_is_that_of_the_model_over_the_training_prompts(
    predictor: Predictor, features: Features, planted_set: RoutingSet
) -> None:
    catalog = Catalog([card(name) for name in planted_set.models])
    mean_quality = predictor.bind(catalog)(features).mean_quality
    means = dict(zip(planted_set.models, planted_set.scores.mean(axis=0).tolist(), strict=True))
    np.testing.assert_allclose(mean_quality, [means[name] for name in catalog.ids], atol=0.05)


def test_the_independent_uncertainty_is_at_most_the_total_uncertainty(
    predictor: Predictor, encoder: StaticEncoder, evidence: Mapping[str, Evidence]
) -> None:
    for text in (SUM, POEM, "Привет, как дела?"):
        forecast = predictor.bind(Catalog(CARDS), evidence)(Perceiver(encoder)(ChatRequest.from_prompt(text)))
        assert (forecast.independent_std > 0).all()
        assert (forecast.independent_std <= forecast.quality_std).all()


def test_probes_move_the_forecasts_of_a_card_towards_their_scores(
    predictor: Predictor, encoder: StaticEncoder, evidence: Mapping[str, Evidence]
) -> None:
    catalog = Catalog(CARDS)
    probed, unmeasured = catalog.position("probed"), catalog.position("unmeasured")
    sums, poems = (
        predictor.bind(catalog, evidence)(Perceiver(encoder)(ChatRequest.from_prompt(text))).quality
        for text in (SUM, POEM)
    )
    assert sums[probed] > sums[unmeasured] + 0.1
    assert poems[probed] < poems[unmeasured] - 0.1


def test_probes_reduce_the_uncertainty_of_their_card_only(
    predictor: Predictor, features: Features, evidence: Mapping[str, Evidence]
) -> None:
    catalog = Catalog(CARDS)
    before, after = (predictor.bind(catalog, probes)(features).quality_std for probes in (None, evidence))
    for position, name in enumerate(catalog.ids):
        if name in PROBE_SCORES:
            assert after[position] < before[position]
        else:
            assert after[position] == before[position]


def test_more_probes_reduce_the_uncertainty_further(
    predictor: Predictor, encoder: StaticEncoder, features: Features
) -> None:
    catalog = Catalog([card("probed")])
    std = [
        predictor.bind(catalog, {"probed": evidence_from(encoder, 1.0, 0.0, probes)})(features).quality_std[0]
        for probes in (1, 4, 16, 64)
    ]
    assert std == sorted(std, reverse=True)
    assert std[-1] < std[0]


def test_probes_of_an_adapter_move_its_forecasts_away_from_its_base(
    predictor: Predictor, encoder: StaticEncoder, evidence: Mapping[str, Evidence]
) -> None:
    # It fails at the sums, which its base can solve, and writes the poems, which its base cannot.
    catalog = Catalog(CARDS)
    base, tuned = catalog.position("calculator"), catalog.position("tuned")
    sums, poems = (
        predictor.bind(catalog, evidence)(Perceiver(encoder)(ChatRequest.from_prompt(text))).quality
        for text in (SUM, POEM)
    )
    assert sums[tuned] < sums[base] - 0.3
    assert poems[tuned] > poems[base] + 0.3


def test_probes_of_a_base_move_the_forecasts_of_its_adapter(
    predictor: Predictor, encoder: StaticEncoder, features: Features
) -> None:
    catalog = Catalog(CARDS)
    evidence = {"unmeasured": evidence_from(encoder, 1.0, 1.0)}
    before, after = predictor.bind(catalog)(features), predictor.bind(catalog, evidence)(features)
    base, adapter = catalog.position("unmeasured"), catalog.position("unmeasured-adapter")
    assert after.quality[adapter] == after.quality[base] > before.quality[adapter]
    assert after.quality_std[adapter] > after.quality_std[base]


def test_probes_of_a_card_with_outcomes_change_its_forecasts_near_them_only(
    predictor: Predictor, encoder: StaticEncoder
) -> None:
    catalog = Catalog([card("calculator")])
    wrong = np.stack([feature_vector(encoder, (f"What is {number} plus {number * 7}?",)) for number in range(8)])
    evidence = {"calculator": Evidence(wrong, np.zeros(8))}
    sums_before, poems_before, sums, poems = (
        predictor.bind(catalog, of_card)(Perceiver(encoder)(ChatRequest.from_prompt(text))).quality[0]
        for of_card in ({}, evidence)
        for text in (SUM, POEM)
    )
    assert sums < sums_before - 0.2
    assert poems == pytest.approx(poems_before, abs=0.01)


def test_probes_of_a_card_that_is_not_in_the_catalogue_are_ignored(
    predictor: Predictor, encoder: StaticEncoder, features: Features
) -> None:
    catalog = Catalog([card("unmeasured")])
    evidence = {"removed": evidence_from(encoder, 1.0, 1.0)}
    before, after = predictor.bind(catalog)(features), predictor.bind(catalog, evidence)(features)
    assert of_card(after, catalog, "unmeasured") == of_card(before, catalog, "unmeasured")


def outcome(prompt: str, score: float) -> ProbeOutcome:
    return ProbeOutcome("p", "", prompt, "text", score, "", "m", "2026-01-01T00:00:00Z", 1.0)


def test_evidence_has_the_features_and_the_score_of_every_outcome(predictor: Predictor, encoder: StaticEncoder) -> None:
    evidence = predictor.evidence_of({"a": (outcome(SUM, 1.0), outcome(POEM, 0.25)), "b": ()})
    assert set(evidence) == {"a"}
    assert np.array_equal(evidence["a"].vectors, np.stack([feature_vector(encoder, (text,)) for text in (SUM, POEM)]))
    assert evidence["a"].scores.tolist() == [1.0, 0.25]


@pytest.fixture(scope="module")
def informed(encoder: StaticEncoder) -> Predictor:
    """A predictor trained with twelve models whose qualities are equal to their benchmark scores."""
    models = [f"model-{number}" for number in range(12)]
    strength = np.linspace(0.2, 0.9, 12)
    data = planted(160)
    scores = (np.random.default_rng(8).random((160, 12)) < strength).astype(np.float32)
    facts = {name: ModelFacts(name, benchmarks={"mmlu": share}) for name, share in zip(models, strength, strict=True)}
    wide = msgspec.structs.replace(data, models=tuple(models), scores=scores, cost_usd=None, output_tokens=None)
    return train([wide], encoder, facts=facts)


def with_benchmark(name: str, score: float) -> Card:
    return card(name, benchmarks={"mmlu": Benchmark(score, "https://example.com")})


def test_a_card_with_facts_has_another_forecast_than_the_population_with_less_uncertainty(
    informed: Predictor, features: Features
) -> None:
    catalog = Catalog([card("unknown"), with_benchmark("known", 85.0)])
    known, unknown = catalog.position("known"), catalog.position("unknown")
    forecast = informed.bind(catalog)(features)
    assert forecast.quality[unknown] == informed.expect(features.vector).quality[-1]
    assert forecast.quality[known] > forecast.quality[unknown] + 0.05
    assert forecast.quality_std[known] < forecast.quality_std[unknown]


def test_a_card_with_better_benchmarks_has_a_better_forecast(informed: Predictor, features: Features) -> None:
    catalog = Catalog([with_benchmark(f"c{score}", score) for score in (25.0, 50.0, 75.0, 90.0)])
    forecast = informed.bind(catalog)(features)
    assert (np.diff(forecast.quality) > 0.05).all()
    assert (np.diff(forecast.mean_quality) > 0.05).all()
    assert len(set(forecast.quality_std.tolist())) == 1


def test_facts_do_not_change_a_card_with_outcomes(informed: Predictor, features: Features) -> None:
    without, with_facts = Catalog([card("model-0")]), Catalog([with_benchmark("model-0", 99.0)])
    before, after = informed.bind(without)(features), informed.bind(with_facts)(features)
    assert of_card(before, without, "model-0") == of_card(after, with_facts, "model-0")


def test_probes_update_the_prior_from_facts(informed: Predictor, encoder: StaticEncoder, features: Features) -> None:
    catalog = Catalog([with_benchmark("praised", 90.0)])
    low_scores = {"praised": evidence_from(encoder, 0.0, 0.0)}
    before, after = informed.bind(catalog)(features), informed.bind(catalog, low_scores)(features)
    assert after.quality[0] < before.quality[0] - 0.1
    assert after.quality_std[0] < before.quality_std[0]


def test_an_empty_catalogue_has_an_empty_forecast(predictor: Predictor, features: Features) -> None:
    assert predictor.bind(Catalog([]))(features).quality.shape == (0,)
