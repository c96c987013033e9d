"""Replays of experiments."""

import numpy as np

from bench.experiments.replays import Scores, always_valid, peeking, replay, units_at_the_end


def scores() -> Scores:
    rng = np.random.default_rng(0)
    values = (rng.random((400, 2)) < (0.9, 0.4)).astype(np.float64)
    return Scores("set", ("good", "bad"), values, np.repeat(np.arange(4), 100))


def test_all_requests_of_a_key_go_to_one_arm_and_those_of_conversations_to_both() -> None:
    by_key = replay(scores(), (0, 1), "key", 500, 20, seed=1)
    arms_of = {key: set(by_key.arms[by_key.keys == key].tolist()) for key in by_key.keys.tolist()}
    assert {len(arms) for arms in arms_of.values()} == {1}
    by_conversation = replay(scores(), (0, 1), "conversation", 500, 20, seed=1)
    most = np.bincount(by_conversation.keys).argmax()
    assert set(by_conversation.arms[by_conversation.keys == most].tolist()) == {False, True}


def test_every_test_sees_a_great_difference_and_the_one_that_peeks_sees_it_first() -> None:
    stream = replay(scores(), (0, 1), "conversation", 600, 30, seed=2)
    soon, valid = peeking(stream), always_valid(stream)
    assert soon is not None
    assert valid is not None
    assert soon <= valid < 600
    assert units_at_the_end(stream) == 600
