"""The benchmark of credible forecasts, on small tables made for these tests."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pytest

from bench.credible.agents import Trial, money, verdict
from bench.credible.everyday import FIGURES, Figure, write_without_ladders
from bench.credible.known_facts import KnownFacts
from bench.credible.placement import ceiling, place
from bench.credible.statistics import bootstrap, ranks, spearman
from bench.pages import markers, write_between_markers
from router import settings
from router.cards.catalog import Catalog, load_catalog
from router.cards.schema import Card
from router.errors import ConfigurationError
from router.perceive.predictor import Predictor

TASKS = 400


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A data folder with two leaderboards, names and prices of models, and a set of three models."""
    (tmp_path / "facts").mkdir()
    (tmp_path / "facts" / "arena_text.csv").write_text(
        "model,full\nlarge-9-high,1500\nlarge-9-low,1300\nsmall-9-7b,1000\n"
    )
    (tmp_path / "facts" / "openhands_index.csv").write_text("model,benchmark,score\nLarge-9,swt-bench,50\n")
    released = {"model": "large-9", "benchmark": "released", "value": "2026-03"}
    (tmp_path / "facts" / "facts.json").write_text(json.dumps({"facts": [released]}))
    names = {"large-9": {"aliases": ["The_Large_One"], "usd_per_m_input": 2.0, "usd_per_m_output": 9.0}}
    (tmp_path / "models_more.json").write_text(json.dumps(names))
    (tmp_path / "tasks").mkdir()
    prompts = [{"prompt_id": f"p{n}", "prompt": f"What is {n} plus {n}?"} for n in range(40)]
    (tmp_path / "tasks" / "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    rows = [f"p{n},1,{n % 2},0," + ("1" if n < 2 else "") for n in range(40)]
    (tmp_path / "tasks" / "scores.csv").write_text(
        "\n".join(["prompt_id,The_Large_One,large-9-low,small-9-7b,rare", *rows])
    )
    (tmp_path / "tasks" / "meta.json").write_text(json.dumps({"run_date": {"small-9-7b": "2026-05-06"}}))
    return tmp_path


@pytest.fixture
def facts(shared: Path) -> KnownFacts:
    return KnownFacts(
        shared, Catalog([Card(id="other", provider="openai", model="other")]), settings.shipped_facts_file()
    )


def test_a_card_states_what_was_published_of_a_model(facts: KnownFacts) -> None:
    card = facts.card("The_Large_One")
    assert card.released == datetime.date(2026, 3, 1)
    assert card.price is not None
    assert (card.price.input_usd, card.price.output_usd) == (2.0, 9.0)
    assert {name: stated.score for name, stated in card.benchmarks.items()} == {
        "lmarena_text": 1500.0,
        "openhands_swt_bench": 50.0,
    }
    small = facts.card("small-9-7b")
    assert small.size is not None
    assert (small.size.total, small.released) == (7e9, datetime.date(2026, 5, 6))


def test_of_several_efforts_the_nearest_one_counts(facts: KnownFacts) -> None:
    scores = {
        effort: facts.card(f"large-9-{effort}").benchmarks["lmarena_text"].score for effort in ("none", "low", "max")
    }
    assert scores == {"none": 1300.0, "low": 1300.0, "max": 1500.0}


def test_benchmarks_that_are_the_test_itself_are_no_facts(facts: KnownFacts) -> None:
    assert set(facts.card("large-9", ("openhands_swt",)).benchmarks) == {"lmarena_text"}


def test_models_of_a_set_are_placed_without_those_with_few_outcomes(
    shared: Path, facts: KnownFacts, predictor: Predictor
) -> None:
    placed = place(shared / "tasks", predictor, facts)
    assert [one.model for one in placed] == ["The_Large_One", "large-9-low", "small-9-7b"]
    assert [one.facts for one in placed] == [2, 2, 1]
    assert [one.real_rank for one in placed] == [0.833, 0.5, 0.167]


def test_the_ceiling_is_one_for_levels_that_every_half_shows_and_low_for_noise() -> None:
    rng = np.random.default_rng(0)
    levels = np.linspace(0.05, 0.95, 12)
    assert ceiling(np.tile(levels, (40, 1)).astype(np.float32)) == pytest.approx(1.0)
    assert ceiling(rng.integers(2, size=(40, 12)).astype(np.float32)) < 0.7


def test_ranks_share_their_mean_where_values_are_equal() -> None:
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]
    assert spearman(np.array([1.0, 2.0, 9.0]), np.array([0.1, 0.2, 0.3])) == pytest.approx(1.0)
    assert spearman(np.array([1.0, 2.0, 9.0]), np.array([0.5, 0.5, 0.5])) == 0.0


def test_an_interval_is_the_same_each_time_and_contains_its_value() -> None:
    values = np.random.default_rng(1).normal(size=50)
    one, other = (bootstrap(50, lambda rows: float(values[rows].mean())) for _ in range(2))
    assert one == other
    assert one.low < one.value < one.high


def trial(quality: np.ndarray, easy: np.ndarray) -> Trial:
    """A small model that solves the easy tasks for a tenth of what a large one costs, which solves all."""
    scores = np.column_stack([easy.astype(float), np.ones(TASKS)])
    cost_usd = np.tile([0.1, 1.0], (TASKS, 1))
    return Trial(("small", "large"), scores, cost_usd, quality, np.array([0.1, 1.0]))


def test_routing_pays_where_forecasts_tell_the_easy_tasks() -> None:
    easy = np.random.default_rng(0).random(TASKS) < 0.6
    found = money(trial(np.column_stack([easy * 0.9 + 0.05, np.full(TASKS, 0.95)]), easy))
    routed = next(way for way in found.ways if way.name.startswith("routed"))
    assert routed.quality_gain.value == 0.0
    assert routed.cost_fraction.value == pytest.approx(0.46, abs=0.08)
    assert verdict(found).startswith("Routing pays: ")


def test_routing_does_not_pay_where_forecasts_know_nothing() -> None:
    easy = np.random.default_rng(0).random(TASKS) < 0.6
    found = money(trial(np.tile([0.6, 0.95], (TASKS, 1)), easy))
    assert verdict(found).startswith("Routing does not pay")


def test_figures_are_judged_by_their_targets() -> None:
    assert Figure("", (), 0.0, at_least=0.9).holds(0.9)
    assert not Figure("", (), 0.0, at_most=0.1).holds(0.2)
    assert Figure("", (), 0.0).holds(0.2) is None
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)


def test_cards_without_ladders_keep_their_other_facts(tmp_path: Path) -> None:
    write_without_ladders(settings.shipped_cards_folder(), tmp_path)
    shipped, written = load_catalog(settings.shipped_cards_folder()), load_catalog(tmp_path)
    assert written.ids == shipped.ids
    for before, after in zip(shipped, written, strict=True):
        kept = {name: stated for name, stated in before.benchmarks.items() if not name.startswith("lmarena_")}
        kept.pop("aa_index_4_3", None)
        assert after.benchmarks == kept
        assert (after.released, after.price, after.languages) == (before.released, before.price, before.languages)


def test_tables_are_written_between_the_markers_of_a_page(tmp_path: Path) -> None:
    page, (start, end) = tmp_path / "page.md", markers("bench.credible")
    page.write_text(f"# Title\n\n{start}\nold\n{end}\n\nEnd\n")
    write_between_markers(page, "bench.credible", "| new |")
    write_between_markers(page, "bench.credible", "| new |")
    assert page.read_text() == f"# Title\n\n{start}\n\n| new |\n\n{end}\n\nEnd\n"
    page.write_text("# Title\n")
    with pytest.raises(ConfigurationError, match=r"page\.md has no lines"):
        write_between_markers(page, "bench.credible", "| new |")
