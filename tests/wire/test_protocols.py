"""The protocols: which events have content, and which end a stream."""

from __future__ import annotations

from typing import Any

import pytest

from router.types import Api
from router.wire.protocols import PROTOCOLS
from router.wire.sse import read_event


def choice(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, **fields}]}


@pytest.mark.parametrize(
    ("api", "event", "has_content"),
    [
        ("chat", choice(delta={"role": "assistant"}), False),
        ("chat", choice(delta={"role": "assistant", "content": ""}), False),
        ("chat", choice(delta={"content": "a"}), True),
        ("chat", choice(delta={"tool_calls": [{}]}), True),
        ("chat", choice(delta={}, finish_reason="stop"), True),
        ("chat", choice(delta=7), False),
        ("chat", {"choices": [], "usage": {}}, False),
        ("chat", {"choices": "none"}, False),
        ("completions", choice(text=""), False),
        ("completions", choice(text="a"), True),
        ("completions", choice(text="", finish_reason="stop"), True),
        ("embeddings", {}, True),
        ("messages", {"type": "message_start"}, False),
        ("messages", {"type": "ping"}, False),
        ("messages", {"type": "content_block_delta"}, True),
        ("messages", {"type": "message_delta"}, True),
        ("responses", {"type": "response.created"}, False),
        ("responses", {"type": "response.output_text.delta"}, True),
        ("responses", {"type": "response.completed"}, True),
        ("responses", {"type": 7}, False),
    ],
)
def test_events_with_content_are_recognised(api: Api, event: dict[str, Any], has_content: bool) -> None:
    assert PROTOCOLS[api].has_content(event) is has_content


@pytest.mark.parametrize(
    ("api", "event", "closes"),
    [
        ("chat", b"data: [DONE]\n\n", True),
        ("chat", b"data:[DONE]\r\n\r\n", True),
        ("chat", b'data: {"content":"data: [DONE]"}\n\n', False),
        ("messages", b'event: message_stop\ndata: {"type":"message_stop"}\n\n', True),
        ("messages", b'data: {"type":"message_delta"}\n\n', False),
        ("responses", b'data: {"type":"response.completed"}\n\n', True),
        ("responses", b'data: {"type":"response.incomplete"}\n\n', True),
        ("responses", b'data: {"type":"response.failed"}\n\n', True),
        ("responses", b'data: {"type":"response.created"}\n\n', False),
        ("responses", b'data: {"type":"response.output_text.delta","delta":"response.completed"}\n\n', False),
    ],
)
def test_the_last_event_of_a_stream_is_recognised(api: Api, event: bytes, closes: bool) -> None:
    protocol = PROTOCOLS[api]
    assert protocol.is_closing(read_event(event)) is closes
    assert not closes or protocol.matters.search(event)


@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize("reason", [None, "", "null"])
def test_an_empty_finish_reason_is_no_content_and_no_end(api: Api, reason: str | None) -> None:
    event = choice(delta={"role": "assistant", "content": ""}, text="", finish_reason=reason)
    progress = PROTOCOLS[api].progress()
    progress.read(event)
    assert not PROTOCOLS[api].has_content(event)
    assert not progress.is_finished
