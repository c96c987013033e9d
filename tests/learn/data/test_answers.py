"""Sets with answers are read whatever they lack; answers are the same where their values are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from router.errors import ConfigurationError, FileError
from router.learn.data.answers import NO_ANSWER, has_answers, load_answers
from tests.answer_sets import MODELS, write_answer_set


def test_a_set_needs_no_tables_of_signals(tmp_path: Path) -> None:
    data = load_answers(write_answer_set(tmp_path))
    assert data.signal_names == ("extractable",)
    assert data.signals.shape == (300, 4, 1)


def test_answers_of_any_kind_are_compared_by_value(tmp_path: Path) -> None:
    folder = write_answer_set(tmp_path, 4)
    rows = ["p0,Canberra.,canberra,CANBERRA,Sydney", 'p1,"1,200",1200,1200.0,12', "p2,B,(B),b,C", "p3,yes,Yes.,no,"]
    (folder / "answers.csv").write_text("prompt_id,tiny,small,middle,large\n" + "\n".join(rows) + "\n", "utf-8")
    answers = load_answers(folder).answers
    assert answers[0].tolist() == [0, 0, 0, 1]
    assert answers[1].tolist() == [0, 0, 0, 1]
    assert answers[2, 0] == answers[2, 1] != answers[2, 3]
    assert answers[3].tolist() == [0, 0, 1, NO_ANSWER]


def test_the_kind_of_a_prompt_is_that_of_most_answers(tmp_path: Path) -> None:
    kinds = set(load_answers(write_answer_set(tmp_path)).kinds)
    assert {"text", "number"} <= kinds


def test_prompts_without_a_score_of_every_model_of_a_pool_are_left_out(tmp_path: Path) -> None:
    assert len(load_answers(write_answer_set(tmp_path, unknown_scores=40)).prompts) == 260


def test_only_the_listed_prompts_are_read(tmp_path: Path) -> None:
    folder = write_answer_set(tmp_path)
    assert [prompt.id for prompt in load_answers(folder, ids={"p7", "p3", "elsewhere"}).prompts] == ["p3", "p7"]
    with pytest.raises(FileError, match="none of the listed prompts"):
        load_answers(folder, ids={"elsewhere"})


def test_models_have_the_names_that_the_aliases_give_them(tmp_path: Path) -> None:
    folder = write_answer_set(tmp_path)
    assert load_answers(folder, aliases={"tiny": "mini"}).models == ("mini", *MODELS[1:])
    # Two runs of one model: the first is taken.
    assert load_answers(folder, aliases={"tiny": "mini", "small": "mini"}).models == ("mini", *MODELS[2:])


def test_models_outside_all_pools_do_not_cost_prompts(tmp_path: Path) -> None:
    data = load_answers(write_answer_set(tmp_path, unknown_scores=40, pools={"A": ["tiny", "large"]}))
    assert data.models == ("tiny", "large")
    assert len(data.prompts) == 280


def test_an_empty_cell_of_a_signal_shows_nothing(tmp_path: Path) -> None:
    folder = write_answer_set(tmp_path, 5)
    header = "prompt_id,tiny,small,middle\n"
    rows = [f"p{row},{'' if row == 2 else 10 * row},5,5" for row in range(5)]
    (folder / "out_chars.csv").write_text(header + "\n".join(rows) + "\n", "utf-8")
    data = load_answers(folder)
    lengths = data.signals[:, :, data.signal_names.index("out_chars")]
    assert np.isfinite(lengths).all()
    assert lengths[2, 0] == pytest.approx(20.0)


def test_log_probabilities_are_negative_numbers(tmp_path: Path) -> None:
    folder = write_answer_set(tmp_path, 3)
    (folder / "logprob_min.csv").write_text(
        "prompt_id,tiny,small,middle,large\n" + "\n".join(f"p{row},-1,-2,-3,-4" for row in range(3)) + "\n", "utf-8"
    )
    data = load_answers(folder)
    assert data.signals[0, 3, data.signal_names.index("logprob_min")] == -4


def test_a_gate_can_be_fitted_without_prices(tmp_path: Path) -> None:
    folder = write_answer_set(tmp_path)
    (folder / "prices.json").unlink()
    data = load_answers(folder, priced=False)
    assert data.models == MODELS
    assert data.pools == {}
    with pytest.raises(ConfigurationError, match=r"prices\.json"):
        load_answers(folder)


def test_a_set_without_a_complete_prompt_names_the_model_that_is_missing_most(tmp_path: Path) -> None:
    folder = write_answer_set(tmp_path, 4)
    header, *rows = (folder / "scores.csv").read_text("utf-8").splitlines()
    emptied = [",".join([*row.split(",")[:-1], ""]) for row in rows]
    (folder / "scores.csv").write_text("\n".join([header, *emptied]) + "\n", "utf-8")
    with pytest.raises(FileError, match='"large" has the fewest'):
        load_answers(folder)


def test_a_pool_without_models_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"pools\.B"):
        load_answers(write_answer_set(tmp_path, 4, pools={"A": ["tiny", "small"], "B": []}))


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (["tiny", "smal"], 'pools.A: "smal" is not a column of scores.csv; did you mean "small"'),
        (["tiny"] * 2, "twice"),
    ],
)
def test_a_mistake_in_a_pool_is_named(tmp_path: Path, pool: list[str], message: str) -> None:
    with pytest.raises(FileError, match=message):
        load_answers(write_answer_set(tmp_path, 4, pools={"A": pool}))


def test_a_negative_price_is_an_error_with_its_key(tmp_path: Path) -> None:
    folder = write_answer_set(tmp_path, 4)
    prices = (folder / "prices.json").read_text("utf-8").replace('"input": 0.4', '"input": -0.4')
    (folder / "prices.json").write_text(prices, "utf-8")
    with pytest.raises(FileError, match=r'prices\.json: prices\."middle": .*input'):
        load_answers(folder)


def test_whether_a_set_has_answers(tmp_path: Path) -> None:
    assert not has_answers(tmp_path)
    assert has_answers(write_answer_set(tmp_path))
