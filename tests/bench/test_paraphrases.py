"""The benchmark of wordings."""

from __future__ import annotations

import pytest

from bench.paraphrases import KINDS, measure, renamed
from router import Router
from router.learn.training import rewording


def test_each_kind_is_measured_on_the_prompts_that_have_it() -> None:
    texts = [
        "What is two plus two?",
        "Is Bob older than Alice?",
        "Which thing is red?\n(A) blood\n(B) grass\n(C) snow",
    ]
    found = measure(Router.default(), texts)
    assert {kind: agreement.prompts for kind, agreement in found.items()} == {"wordy": 3, "names": 1, "stem": 1}
    assert all(0 <= share <= 1 for agreement in found.values() for share in agreement.same.values())


def test_the_same_text_is_the_same_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "wordy", lambda text, number: text)
    agreement = measure(Router.default(), ["What is two plus two?"])["wordy"]
    assert set(agreement.same.values()) == {1.0}
    assert agreement.mean_change == 0


def test_two_people_never_get_one_name() -> None:
    assert len(set((renamed("Alice Bob Carlos", 24) or "").split())) == 3


def test_the_phrases_are_not_those_of_the_training() -> None:
    text = "x"
    of_training = {rewording.wordy(text, number) for number in range(300)}
    assert of_training.isdisjoint(KINDS["wordy"](text, number) for number in range(30))
