"""Where cards stand, and where evidence acts, with the shipped predictor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from router.cards.catalog import Catalog
from router.cards.efforts import with_efforts
from router.cards.schema import Benchmark, Card, Effort, Efforts
from router.formats.quantities import Size
from router.loading import load_predictor
from router.perceive.ability.acceptance import TIERS
from router.perceive.predictor import Evidence, Predictor
from router.types import Doubles, Floats

HAIKUS = ("Write a haiku about autumn rain.", "A haiku on loneliness, please.", "Compose a haiku about a sleeping cat.")
TABLES = ("orders", "users", "invoices", "flights", "books", "patients", "products", "events", "songs", "loans") * 2
SQL = tuple(
    f"Write a SQL query that returns the {number} {table} with the highest total per month, with a window function."
    for number, table in enumerate(TABLES, 3)
)
COUNTRIES = (
    *("France", "Japan", "Kenya", "Peru", "Canada", "Norway", "Egypt", "India", "Chile", "Poland"),
    *("Nepal", "Ghana", "Cuba", "Spain", "Iran", "Mali", "Fiji", "Laos", "Greece", "Vietnam"),
)
CAPITALS = tuple(f"What is the capital of {country}?" for country in COUNTRIES)
NEW_SQL = ("Write a SQL query that returns the five sensors with the highest reading per day, with a window function.",)
MEASURED = "llama-3.1-8b-instruct"


def card(name: str, **facts: object) -> Card:
    return Card(id=name, provider="openai", model=name, **facts)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shipped() -> Predictor:
    return load_predictor()


def vectors(shipped: Predictor, prompts: Sequence[str]) -> Floats:
    return shipped.vectors([(prompt,) for prompt in prompts])


def qualities(
    shipped: Predictor, cards: Sequence[Card], prompts: Sequence[str], evidence: dict[str, Evidence] | None = None
) -> Doubles:
    """The forecast qualities `(prompts, cards)`, in the order of `cards`."""
    catalog = Catalog(cards)
    forecasts = shipped.bind(catalog, evidence).qualities(vectors(shipped, prompts))
    return forecasts[:, [catalog.ids.index(one.id) for one in cards]]


def test_a_stronger_tier_is_never_forecast_below_a_weaker_one(shipped: Predictor) -> None:
    forecasts = qualities(shipped, [card(tier, tier=tier) for tier in TIERS], (*HAIKUS, *SQL[:3], *CAPITALS[:3]))
    assert (np.diff(forecasts, axis=1) >= 0).all()
    assert (forecasts[:, -1] > forecasts[:, 0]).all()


def test_a_card_said_to_be_stronger_than_another_rises_above_it(shipped: Predictor) -> None:
    strong, weak = card("strong", size=Size(400e9)), card("weak", size=Size(1e9))
    said = card("weak", size=Size(1e9), stronger_than=("strong",))
    before, after = (qualities(shipped, [strong, one], (*HAIKUS, *SQL[:3])) for one in (weak, said))
    assert (before[:, 1] < before[:, 0]).all()
    assert after[:, 1].mean() > after[:, 0].mean()


def test_what_is_said_of_a_card_changes_no_other_forecast_to_the_bit(shipped: Predictor) -> None:
    others = [card("strong", size=Size(400e9)), card(MEASURED), card("unknown")]
    before = qualities(shipped, [*others, card("x")], HAIKUS)
    for belief in ({"tier": "frontier"}, {"stronger_than": ("strong", MEASURED)}):
        after = qualities(shipped, [*others, card("x", **belief)], HAIKUS)
        assert after[:, :-1].tobytes() == before[:, :-1].tobytes()
        assert (after[:, -1] > before[:, -1]).all()


def test_a_card_that_is_stronger_already_does_not_change(shipped: Predictor) -> None:
    weak = card("weak", size=Size(1e9))
    before, after = (
        qualities(shipped, [weak, card("strong", tier="frontier", stronger_than=names)], HAIKUS)
        for names in ((), ("weak",))
    )
    assert before.tobytes() == after.tobytes()


def test_an_adapter_follows_its_base(shipped: Predictor) -> None:
    adapter = card("adapter", kind="adapter", base="base")
    weak, strong = (qualities(shipped, [card("base", tier=tier), adapter], HAIKUS) for tier in ("small", "frontier"))
    assert (strong[:, 1] > weak[:, 1]).all()
    for forecasts in (weak, strong):
        np.testing.assert_array_equal(forecasts[:, 0], forecasts[:, 1])


def test_the_benchmarks_of_an_adapter_move_it_from_its_base(shipped: Predictor) -> None:
    known = {"lmarena_text": Benchmark(1450, "a test")}
    adapters = card("plain", kind="adapter", base="base"), card("tuned", kind="adapter", base="base", benchmarks=known)
    of_base, plain, tuned = qualities(shipped, [card("base", size=Size(7e9)), *adapters], HAIKUS).T
    np.testing.assert_array_equal(of_base, plain)
    assert (tuned > plain).all()


def test_an_effort_knows_the_outcomes_and_the_probes_of_its_card(shipped: Predictor) -> None:
    cards = with_efforts([card(MEASURED, efforts=Efforts(high=Effort())), card("new")])
    evidence = {MEASURED: Evidence(vectors(shipped, SQL), np.zeros(20))}
    before, after = (qualities(shipped, cards, (*HAIKUS, *NEW_SQL), known) for known in (None, evidence))
    of_card, of_effort = ([one.id for one in cards].index(name) for name in (MEASURED, f"{MEASURED}@high"))
    np.testing.assert_array_equal(before[:, of_effort], before[:, of_card])
    assert after[-1, of_effort] < before[-1, of_effort] - 0.3


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_forty_probes_of_sql_and_capitals_leave_a_measured_cards_haikus_alone(shipped: Predictor, score: float) -> None:
    evidence = {MEASURED: Evidence(vectors(shipped, SQL + CAPITALS), np.full(40, score))}
    measured, prompts = [card(MEASURED)], (*HAIKUS, *NEW_SQL)
    moved = (qualities(shipped, measured, prompts, evidence) - qualities(shipped, measured, prompts))[:, 0]
    haikus, sql = moved[: len(HAIKUS)], moved[len(HAIKUS) :]
    assert np.abs(haikus).max() < 0.05
    assert abs(haikus.mean()) < 0.04
    assert (np.sign(sql) == (1 if score else -1)).all()
    assert np.abs(sql).min() > 0.05


def test_eight_wrong_answers_lower_a_measured_card_near_them(shipped: Predictor) -> None:
    evidence = {MEASURED: Evidence(vectors(shipped, SQL[:8]), np.zeros(8))}
    before, after = (qualities(shipped, [card(MEASURED)], NEW_SQL, known) for known in (None, evidence))
    assert after[0, 0] < before[0, 0] - 0.3


def test_probes_of_a_card_change_no_other_forecast_to_the_bit(shipped: Predictor) -> None:
    cards = [card(MEASURED), card("other", size=Size(7e9)), card("tuned", kind="adapter", base="other")]
    evidence = {MEASURED: Evidence(vectors(shipped, SQL), np.zeros(20))}
    before, after = (qualities(shipped, cards, (*HAIKUS, *SQL[:2]), known) for known in (None, evidence))
    assert before[:, 1:].tobytes() == after[:, 1:].tobytes()
    assert (before[:, 0] != after[:, 0]).all()
