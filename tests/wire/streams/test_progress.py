"""When a stream is complete, and what finish reasons mean."""

from __future__ import annotations

from typing import Any

import pytest

from router.errors import UpstreamError
from router.wire.chat.answer import finish_of
from router.wire.chat.finish import FAILED, reason_of
from router.wire.streams.progress import ChoicesProgress, MessageProgress


def chunk(index: int = 0, finish: Any = None) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": "a"}, "finish_reason": finish}]}


def test_every_choice_that_began_must_finish() -> None:
    progress = ChoicesProgress()
    finished = []
    for event in (chunk(0), chunk(1), chunk(0, "stop"), chunk(0), chunk(1, "length")):
        progress.read(event)
        finished.append(progress.is_finished)
    assert finished == [False, False, False, False, True]


def test_a_message_must_have_a_stop_reason() -> None:
    progress = MessageProgress()
    progress.read({"type": "message_delta", "delta": {"stop_reason": None}})
    assert not progress.is_finished
    progress.read({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
    assert progress.is_finished


@pytest.mark.parametrize("none", [None, "", " ", "null", {"type": None}])
def test_some_words_mean_that_an_answer_is_not_finished(none: Any) -> None:
    assert reason_of({"finish_reason": none}) is None
    assert finish_of({"finish_reason": none}) is None


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("COMPLETE", "stop"),
        ("eos_token", "stop"),
        ("end_turn", "stop"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("SAFETY", "content_filter"),
        ("sensitive", "content_filter"),
        ("TOOL_CALL", "tool_calls"),
        ("tool_use", "tool_calls"),
        ("function_call", "function_call"),
        ("abort", FAILED),
        ("insufficient_system_resource", FAILED),
        ("network_error", FAILED),
        ("a_word_of_tomorrow", "a_word_of_tomorrow"),
        ({"type": "length", "length": 16}, "length"),
    ],
)
def test_a_servers_word_has_a_meaning_in_openais_words(word: Any, meaning: str) -> None:
    reason = reason_of({"finish_reason": word})
    assert reason is not None
    assert reason.meaning == meaning


def test_an_answer_that_the_server_gave_up_is_a_failure() -> None:
    progress = ChoicesProgress()
    progress.read(chunk(0, "insufficient_system_resource"))
    assert progress.failure == 'stopped with the finish reason "insufficient_system_resource"'
    with pytest.raises(UpstreamError, match="insufficient_system_resource"):
        finish_of({"finish_reason": "insufficient_system_resource"})
