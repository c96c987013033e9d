"""The fast head of a key: what its own votes say about its own prompts."""

import msgspec
import numpy as np
import pytest

from router.perceive.memory.card import MOST, CardMemory, Vote
from router.perceive.memory.corrections import MemoryView
from router.perceive.memory.fast_head import PROJECTIONS, projected
from router.perceive.memory.sketch import cells_of, planes
from router.perceive.memory.stored import from_bytes, to_bytes
from router.types import Features

_NOW_S = 1_790_000_000.0
_WIDTH = 64
_LIKED, _DISLIKED = (planes(_WIDTH)[0] * sign / _WIDTH**0.5 for sign in (1.0, -1.0))


def _topics(count: int) -> np.ndarray:
    """Topics on both sides of a plane, in no cell of the sketch for long."""
    rng = np.random.default_rng(0)
    noisy = rng.normal(size=(count, _WIDTH)) / _WIDTH**0.5
    for number in range(count):
        noisy[number] += _LIKED if number % 2 else _DISLIKED
    return noisy / np.linalg.norm(noisy, axis=1, keepdims=True)


def _vote(tenant: str | None, topic: np.ndarray, residual: float) -> Vote:
    return Vote(tenant, residual, 0.5, cells_of(topic), projected(topic))


@pytest.fixture(scope="module")
def memory() -> CardMemory:
    """Ann likes what is on one side of a plane and dislikes the other side; Bob agrees with every forecast."""
    learned = CardMemory.empty("basis")
    for number, topic in enumerate(_topics(240)):
        learned = learned.learn(_vote("ann", topic, 0.4 if number % 2 else -0.4), _NOW_S + number)
        learned = learned.learn(_vote("bob", topic, 0.0), _NOW_S + number)
    return learned


def _corrections(view: MemoryView, topic: np.ndarray) -> list[float]:
    features = Features(
        vector=np.zeros(3, dtype=np.float32), input_tokens=1, modalities=frozenset({"text"}), needs=frozenset()
    )
    plain = view.corrections(features, lambda _: topic[None])
    found = view.corrections(features, lambda _: topic[None], heads=True)
    assert plain.of_cards != found.of_cards
    return [each.on_prompt for each in found.of_cards]


def test_a_taste_that_depends_on_the_topic_corrects_the_forecasts_of_its_own_key(memory: CardMemory) -> None:
    ann = memory.view("ann", _NOW_S + 240)
    assert ann.head is not None
    assert ann.head.score > 0
    view = MemoryView("v", {"card": ann})
    assert view
    (liked,), (disliked,) = _corrections(view, _LIKED), _corrections(view, _DISLIKED)
    assert liked > 0.2
    assert disliked < -0.2
    assert max(abs(liked), abs(disliked)) <= MOST


def test_nobody_elses_forecasts_depend_on_it(memory: CardMemory) -> None:
    without = CardMemory.empty("basis")
    for number, topic in enumerate(_topics(240)):
        for tenant, residual in (("ann", 0.4 if number % 2 else -0.4), ("bob", 0.0)):
            vote = _vote(tenant, topic, residual)._replace(projected=None)
            without = without.learn(vote, _NOW_S + number)
    for tenant in ("bob", "eve", None):
        with_heads, plain = memory.view(tenant, _NOW_S + 240), without.view(tenant, _NOW_S + 240)
        assert with_heads.head is None
        assert (with_heads.choice, with_heads.estimates.tolist()) == (plain.choice, plain.estimates.tolist())


def test_a_head_that_is_no_better_than_the_memory_is_not_applied() -> None:
    rng, learned = np.random.default_rng(1), CardMemory.empty("basis")
    for number, topic in enumerate(_topics(120)):
        learned = learned.learn(_vote("ann", topic, float(rng.choice([-0.5, 0.5]))), _NOW_S + number)
    assert learned.view("ann", _NOW_S + 120).head is None


def test_it_forgets_with_time_and_makes_room_for_another_key(memory: CardMemory) -> None:
    later = memory.view("ann", _NOW_S + 400 * 86_400.0)
    assert later.head is None or np.abs(later.head.weights).max() < 0.01
    assert len(to_bytes(memory)) == len(to_bytes(memory.learn(_vote("ann", _LIKED, 0.1), _NOW_S + 241)))


def test_it_is_stored_with_the_memory_and_refused_where_it_was_changed(memory: CardMemory) -> None:
    again = from_bytes(to_bytes(memory)).view("ann", _NOW_S + 240)
    ann = memory.view("ann", _NOW_S + 240)
    assert again.head is not None
    assert ann.head is not None
    assert np.allclose(again.head.weights, ann.head.weights, atol=1e-3)
    stored = msgspec.msgpack.decode(to_bytes(memory))
    heads = 4 * sum(array.size for array in (memory.heads.information, memory.heads.moments, memory.heads.scores))
    broken = bytearray(stored[4])
    broken[-heads : -heads + 4] = np.float32(-1e6).tobytes()
    with pytest.raises(ValueError, match="impossible number"):
        from_bytes(msgspec.msgpack.encode([*stored[:4], bytes(broken)]))


def test_the_projections_are_those_of_the_sketch() -> None:
    topic = _topics(1)[0]
    assert projected(topic).shape == (PROJECTIONS,)
    assert np.allclose(projected(topic), planes(_WIDTH)[:PROJECTIONS] @ topic)
