"""The tokens of further calls are added to the usage of an answer, in the words of its protocol."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.types import Api, Usage
from router.wire.streams.collected import collected
from router.wire.usage.added import events_with_added, with_added

MORE = Usage(10, 5, cached_input_tokens=2, reasoning_tokens=1)
CASES: list[tuple[Api, dict[str, Any], dict[str, Any]]] = [
    (
        "chat",
        {"usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "cost": 0.5}},
        {
            "usage": {
                "prompt_tokens": 11,
                "completion_tokens": 7,
                "total_tokens": 18,
                "cost": 0.5,
                "prompt_tokens_details": {"cached_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 1},
            }
        },
    ),
    (
        "messages",
        {"usage": {"input_tokens": 1, "output_tokens": 2}},
        {"usage": {"input_tokens": 9, "output_tokens": 7, "cache_read_input_tokens": 2}},
    ),
    ("ollama_chat", {"eval_count": 2}, {"eval_count": 7, "prompt_eval_count": 10}),
]


@pytest.mark.parametrize(("api", "document", "expected"), CASES)
def test_the_usage_of_a_whole_answer_is_the_sum(api: Api, document: dict[str, Any], expected: dict[str, Any]) -> None:
    assert with_added(api, document, MORE, MORE) == expected


@pytest.mark.parametrize("api", ["chat", "completions", "messages", "responses", "ollama_generate"])
def test_an_answer_without_usage_reports_that_of_all_calls(api: Api) -> None:
    reported = json.dumps(with_added(api, {"id": "x"}, MORE, MORE))
    assert "5" in reported
    assert "tokens" in reported or "eval_count" in reported


def test_only_the_events_that_report_usage_change() -> None:
    text = b'data: {"choices":[{"delta":{"content":"usage"}}]}\n\n'
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n'
    changed = events_with_added("chat", text + usage, MORE)
    assert changed.startswith(text)
    event = json.loads(changed[len(text) :].removeprefix(b"data: "))
    assert event["usage"] == {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    assert events_with_added("chat", text, MORE) == text


def test_the_usage_within_a_named_event_is_changed() -> None:
    piece = b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":1}}}\n\n'
    changed = events_with_added("messages", piece, MORE)
    assert changed.startswith(b"event: message_start\n")
    assert b'"input_tokens":9' in changed.replace(b" ", b"")


def test_the_last_line_of_ollama_is_changed() -> None:
    lines = b'{"response":"a","done":false}\n{"response":"","done":true,"eval_count":2}\n'
    changed = events_with_added("ollama_generate", lines, MORE)
    assert changed.startswith(b'{"response":"a","done":false}\n')
    assert json.loads(changed.splitlines()[-1])["eval_count"] == 7


def test_the_lines_of_ollama_are_one_answer() -> None:
    lines = [
        b'{"message":{"role":"assistant","content":"a"},"done":false}\n',
        b'{"message":{"content":"b","tool_calls":[1]}}\nno JSON\n',
        b'{"message":{"tool_calls":[2]},"done":true}\n',
    ]
    message = {"role": "assistant", "content": "ab", "tool_calls": [1, 2]}
    assert collected("ollama_chat", lines) == {"done": True, "message": message}
    assert collected("ollama_generate", [b'{"response":"a"}\n{"response":"b","done":true}\n']) == {
        "response": "ab",
        "done": True,
    }
