from __future__ import annotations

import numpy as np
import pytest

from router.cards.benchmarks import BENCHMARKS, FAMILIES
from router.learn.training.ratings import column_memberships, fit_ratings
from router.perceive.ability.ability import NUMBERS
from router.perceive.ability.ratings import LATENTS, RatingModel, memberships, rating_of
from router.types import Doubles

COLUMNS = list(BENCHMARKS)
ANCHOR = COLUMNS.index("lmarena_text")
MEASURED = [COLUMNS.index(name) for name in ("lmarena_text", "lmarena_coding", "mmlu_pro", "gpqa", "humaneval", "hle")]
RELEASED = len(COLUMNS) + NUMBERS.index("released")
MODELS = 40


def planted_table(seed: int = 0) -> tuple[Doubles, Doubles]:
    """Facts of models `(models, columns)`, a third of them unknown, and their true general ratings."""
    rng = np.random.default_rng(seed)
    truth = np.linspace(-3.0, 3.0, MODELS)
    table = np.full((MODELS, len(COLUMNS) + len(NUMBERS)), np.nan)
    for column in (*MEASURED, RELEASED):
        slope = 1.0 if COLUMNS[column : column + 1] and BENCHMARKS[COLUMNS[column]].rating else 0.6
        values = slope * truth + rng.normal(scale=0.3, size=MODELS)
        table[:, column] = np.where(rng.random(MODELS) < 0.33, np.nan, values)
    return table, truth


def fitted(table: Doubles, families: tuple[str | None, ...] = (None,) * MODELS) -> RatingModel:
    return fit_ratings(table, memberships(), families, ("acme",))


def test_the_order_of_models_is_recovered() -> None:
    table, truth = planted_table()
    model = fitted(table)
    general = [rating_of(model.posterior(row, memberships())).mean[0] for row in table]
    assert np.corrcoef(np.argsort(np.argsort(general)), np.argsort(np.argsort(truth)))[0, 1] > 0.95


def test_the_same_table_gives_the_same_bits() -> None:
    table, _ = planted_table()
    one, two = fitted(table), fitted(table.copy())
    for name in RatingModel.__struct_fields__:
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()


def test_a_better_fact_never_lowers_a_rating() -> None:
    table, _ = planted_table()
    model = fitted(table)
    assert (model.slope > 0).all()
    for column in (*MEASURED, RELEASED):
        ratings = []
        for value in (-1.0, 1.0):
            facts = np.full(table.shape[1], np.nan)
            facts[column] = value
            ratings.append(model.posterior(facts, memberships()).mean[0])
        assert ratings[0] < ratings[1]


def test_the_anchor_fixes_the_scale() -> None:
    model = fitted(planted_table()[0])
    assert (model.center[ANCHOR], model.slope[ANCHOR]) == (0.0, 1.0)


def test_facts_narrow_a_rating() -> None:
    table, _ = planted_table()
    model = fitted(table)
    unknown = model.posterior(np.full(table.shape[1], np.nan), memberships())
    known = model.posterior(np.where(np.isnan(table[0]), 0.0, table[0]), memberships())
    assert known.covariance[0, 0] < unknown.covariance[0, 0]
    assert unknown.mean[0] == pytest.approx(float(model.prior_mean))


def test_a_family_better_than_its_dates_gets_an_offset_and_one_of_few_models_none() -> None:
    table, _ = planted_table()
    early = np.arange(MODELS) % 4 == 0
    table[early, RELEASED] -= 1.5
    many = tuple("acme" if of_family else None for of_family in early)
    few = tuple("acme" if place < 2 else None for place in range(MODELS))
    assert fitted(table, many).family_offset[0] > 0.2
    assert fitted(table, few).family_offset[0] == 0.0


def test_outcomes_measure_the_families_of_their_prompts_and_their_data_set() -> None:
    shares = np.zeros((3, len(FAMILIES) - 1))
    shares[0, FAMILIES.index("coding") - 1] = 0.75
    table = column_memberships(shares, [0, 1, 1], memberships())
    assert table.shape == (len(COLUMNS) + len(NUMBERS) + 3, LATENTS + 2)
    assert (table[-3:, 0] == 1).all()
    assert table[-3, FAMILIES.index("coding")] == 0.75
    assert table[-3:, LATENTS:].tolist() == [[1, 0], [0, 1], [0, 1]]


def test_without_outcomes_the_columns_are_those_of_the_facts() -> None:
    assert np.array_equal(column_memberships(np.zeros((0, len(FAMILIES) - 1)), [], memberships()), memberships())
