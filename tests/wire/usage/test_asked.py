"""How long an answer may be by what the request asks for."""

from __future__ import annotations

from typing import Any

import pytest

from router.wire.usage import answers_asked, output_limit, predicted_tokens, remote_media_tokens


@pytest.mark.parametrize(
    ("api", "body", "limit"),
    [
        ("chat", {"max_tokens": 5}, 5),
        ("chat", {"max_completion_tokens": 7}, 7),
        ("chat", {"max_completion_tokens": 7, "max_tokens": 1}, 7),
        ("chat", {"max_tokens": 5.0}, 5),
        ("chat", {"max_tokens": 10**4000}, 10**9),
        ("chat", {"max_tokens": 5, "n_predict": 900}, 900),
        ("chat", {"max_tokens": 5, "thinking_budget": 100}, 105),
        ("messages", {"max_tokens": 5}, 5),
        ("responses", {"max_output_tokens": 5}, 5),
        ("ollama_chat", {"options": {"num_predict": 5}}, 5),
    ],
)
def test_the_greatest_limit_counts(api: Any, body: dict[str, Any], limit: int) -> None:
    assert output_limit(api, body) == limit


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("chat", {}),
        ("chat", {"max_tokens": None}),
        ("chat", {"max_tokens": 0}),
        ("chat", {"max_tokens": -1}),
        ("chat", {"max_tokens": True}),
        ("chat", {"max_tokens": "many"}),
        ("chat", {"max_tokens": 1, "max_completion_tokens": -1}),
        ("chat", {"max_tokens": 1, "n_predict": -1}),
        # A server that does not know these names ignores them.
        ("chat", {"n_predict": 1}),
        ("chat", {"options": {"num_predict": 1}}),
        ("chat", {"max_output_tokens": 1}),
        ("responses", {"max_tokens": 1}),
        ("ollama_chat", {"options": {"num_predict": -2}}),
        ("ollama_chat", {"options": []}),
    ],
)
def test_what_may_be_ignored_is_no_limit(api: Any, body: dict[str, Any]) -> None:
    assert output_limit(api, body) is None


@pytest.mark.parametrize(
    ("body", "answers"),
    [
        ({}, 1),
        ({"n": 3}, 3),
        ({"n": 2, "best_of": 5}, 5),
        ({"n": "4"}, 4),
        ({"n": -1}, 1),
        ({"n": 1e30}, 10**9),
        ({"prompt": "a"}, 1),
        ({"prompt": ["a", "b", "c"]}, 3),
        ({"prompt": ["a", "b"], "n": 5}, 10),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]]}, 2),
        ({"prompt": []}, 1),
    ],
)
def test_every_answer_that_is_made_counts(body: dict[str, Any], answers: int) -> None:
    assert answers_asked(body) == answers


def test_a_prediction_is_output() -> None:
    assert predicted_tokens({}) == 0
    assert predicted_tokens({"prediction": {"type": "content", "content": "word " * 100}}) > 100


@pytest.mark.parametrize(
    ("part", "count"),
    [
        ({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}, 1),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, 0),
        ({"type": "input_image", "image_url": "https://example.org/a.png"}, 1),
        ({"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}, 1),
        ({"type": "image", "source": {"type": "base64", "data": "AAAA"}}, 0),
        ({"type": "tool_result", "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}, 1),
        ({"type": "text", "text": "hello"}, 0),
    ],
)
def test_media_that_the_server_fetches_are_counted(part: dict[str, Any], count: int) -> None:
    assert remote_media_tokens({"messages": [{"role": "user", "content": [part]}]}) == 3_000 * count
