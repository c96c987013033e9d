from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from router.errors import FileError
from router.learn.data import RoutingSet
from router.learn.data.list_prices import NO_COSTS, Price, costs_of, read_prices
from router.perceive.text.encoder import StaticEncoder

ENTRY = {"usd_per_m_input": 1.0, "usd_per_m_output": 2.0, "aliases": ["poet-v1"], "price_source": "a list"}


def write(folder: Path, document: object) -> Path:
    file = folder / "prices.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return file


def test_prices_are_read_by_name_and_alias(tmp_path: Path) -> None:
    prices = read_prices(write(tmp_path, {"poet": ENTRY}))
    assert prices == {"poet": Price(1.0, 2.0), "poet-v1": Price(1.0, 2.0)}


def test_a_model_without_a_price_is_left_out(tmp_path: Path) -> None:
    assert read_prices(write(tmp_path, {"poet": {"aliases": []}})) == {}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ("{", "expected"),
        ({"poet": {"usd_per_m_input": "dear"}}, "usd_per_m_input"),
        ({"poet": {**ENTRY, "usd_per_m_output": -1}}, "poet: a price is below 0"),
    ],
)
def test_the_error_names_a_file_that_is_not_a_price_list(tmp_path: Path, document: object, problem: str) -> None:
    with pytest.raises(FileError, match=problem):
        read_prices(write(tmp_path, document))


def test_the_error_names_a_missing_price_list(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none\.json: cannot be read"):
        read_prices(tmp_path / "none.json")


def test_recorded_costs_take_precedence_over_list_prices(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    costs, source = costs_of(planted_set, encoder, {"poet": Price(9.0, 9.0)})
    assert source == "recorded with the set"
    assert planted_set.cost_usd is not None
    assert (costs == planted_set.cost_usd.astype(np.float64)).all()


def test_list_prices_count_the_prompts_tokens_and_the_recorded_length(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    bare = msgspec.structs.replace(planted_set, cost_usd=None)
    costs, source = costs_of(bare, encoder, {"poet": Price(10.0, 20.0)})
    assert source == "list prices of 1 of 3 models × recorded lengths"
    assert costs is not None
    assert np.isnan(costs[:, [0, 2]]).all()
    assert bare.output_tokens is not None
    input_tokens = encoder.count_tokens(bare.prompts[5].turns[-1])
    assert costs[5, 1] == pytest.approx((10 * input_tokens + 20 * bare.output_tokens[5, 1]) / 1e6)


def test_without_lengths_all_answers_are_assumed_equally_long_and_the_source_states_it(
    planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    bare = msgspec.structs.replace(planted_set, cost_usd=None, output_tokens=None)
    costs, source = costs_of(bare, encoder, {"poet": Price(0.0, 1.0)})
    assert costs is not None
    assert costs[:, 1] == pytest.approx(256 / 1e6)
    assert "256 tokens an answer, as the set has no lengths" in source


def test_without_costs_and_prices_there_are_no_costs(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    bare = msgspec.structs.replace(planted_set, cost_usd=None)
    assert costs_of(bare, encoder, None) == (None, NO_COSTS)
    assert costs_of(bare, encoder, {"unlisted": Price(1.0, 1.0)}) == (None, "no costs: --prices has none of the models")
