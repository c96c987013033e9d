"""Judged requests for tests: prompts of the planted set, of which two kinds are answered by two cards."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from router.learn.data import RoutingSet
from router.learn.traffic.judged import Judgement
from router.perceive.predictor import Predictor
from router.types import Outcome
from tests.store.records.examples import decision_record, record

CARDS = ("poet", "calculator")
START_S = 1_790_000_000.0


def judged(
    predictor: Predictor,
    planted_set: RoutingSet,
    value: Callable[[str, str], float],
    count: int = 400,
    keys: Sequence[str | None] = tuple("abcdefgh"),
    artifact: str | None = None,
) -> list[Judgement]:
    """Judged answers, one a minute: `value` of the card and the domain of the prompt is the chance to be right."""
    rng = np.random.default_rng(1)
    prompts = planted_set.prompts
    vectors = predictor.vectors([prompt.turns for prompt in prompts])
    found = []
    for number in range(count):
        row, card = int(rng.integers(len(prompts))), CARDS[number % 2]
        decision = decision_record(
            card=card, artifact=artifact or predictor.id, vector=vectors[row].tobytes(), reader=predictor.reader_id
        )
        right = float(rng.random() < value(card, prompts[row].domain))
        made = record(
            f"request-{number}",
            at=START_S + 60 * number,
            key=keys[number % len(keys)],
            outcome=Outcome(200, 1.0, card),
            decision=decision,
        )
        found.append(Judgement(made, right, 0.5, is_trusted=False))
    return found
