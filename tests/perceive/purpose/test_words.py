"""Words on cards break ties between cards, and nothing else."""

from __future__ import annotations

import msgspec

from router.loading import load_predictor
from router.perceive.purpose.purposes import TIE_LOGITS
from router.settings import shipped_artifact_folder
from tests.perceive.purpose.tasks import BASE, TASKS, adapter, adapters, prompts
from tests.perceive.purpose.test_forecasts import ALL, forecasts

PREDICTOR = load_predictor(shipped_artifact_folder())


def test_of_two_cards_with_the_same_examples_the_one_with_the_right_words_is_ahead() -> None:
    shown = prompts("german")[:5]
    right = msgspec.structs.replace(adapter("german"), id="a", good_for=("Translate into German",))
    wrong = msgspec.structs.replace(adapter("german"), id="b", good_for=("Chess openings",))
    found = forecasts([right, wrong])
    at = TASKS.index("german")
    assert shown
    assert found["a"][at] > found["b"][at]


def test_words_move_a_forecast_by_less_than_a_tie() -> None:
    worded = forecasts([msgspec.structs.replace(card, description=f"Best at {card.id}!") for card in adapters()])
    for card, qualities in ALL.items():
        odds = [values / (1 - values) for values in (worded[card], qualities)]
        assert (abs(odds[0] / odds[1] - 1) < 2 * TIE_LOGITS + 1e-3).all()


def test_words_alone_move_no_forecast() -> None:
    bare = adapter("sql", shown=0)
    said = msgspec.structs.replace(bare, description="SQL queries", good_for=("SQL",), not_for=("haikus",))
    plain, worded = forecasts([bare])["sql"], forecasts([said])["sql"]
    assert worded.tobytes() == plain.tobytes()


def test_not_for_counts_only_where_it_is_nearer_than_the_examples_by_a_margin() -> None:
    far = msgspec.structs.replace(adapter("sql"), not_for=("a haiku about rain",))
    same = forecasts([far])["sql"]
    assert same[TASKS.index("sql")] == ALL["sql"][TASKS.index("sql")]
    mixed = msgspec.structs.replace(adapter("sql"), examples=(*adapter("sql").examples, *prompts("regex")[:5]))
    near = msgspec.structs.replace(mixed, not_for=(prompts("sql")[8],), examples=mixed.examples[5:])
    free = msgspec.structs.replace(near, not_for=())
    at = TASKS.index("sql")
    assert forecasts([near])["sql"][at] <= forecasts([free])["sql"][at]


def test_the_words_of_a_card_move_no_other_card() -> None:
    cards = [
        msgspec.structs.replace(card, good_for=("SQL",), not_for=("German",)) if card.id == "sql" else card
        for card in adapters()
    ]
    found = forecasts(cards)
    for card in (*TASKS, BASE.id):
        if card != "sql":
            assert found[card].tobytes() == ALL[card].tobytes()
