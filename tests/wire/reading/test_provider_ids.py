from __future__ import annotations

import json
from typing import Any

import pytest

from router.types import Api
from router.wire.reading.extras import EXTRAS, extras_in, without_tiers, without_tools
from router.wire.reading.provider_ids import ids_made, ids_used

MESSAGE = {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "x", "annotations": []}]}


@pytest.mark.parametrize(
    ("api", "answer", "ids"),
    [
        ("responses", {"id": "resp_1", "output": [MESSAGE], "previous_response_id": "resp_0"}, {"resp_1", "msg_1"}),
        (
            "responses",
            {"type": "response.created", "response": {"id": "resp_1", "conversation": {"id": "conv_1"}}},
            {"resp_1", "conv_1"},
        ),
        (
            "responses",
            {"type": "response.output_item.done", "item": {"id": "ci_1", "container_id": "cntr_1"}},
            {"ci_1", "cntr_1"},
        ),
        ("responses", {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "x"}, set()),
        ("responses", {"id": "resp_1", "metadata": {"id": "r"}, "tools": [{"file_id": "f"}], "output": []}, {"resp_1"}),
        ("messages", {"id": "msg_1", "content": [{"type": "tool_use", "id": "t", "input": {"file_id": "f"}}]}, {"t"}),
        ("messages", {"id": "msg_1", "container": {"id": "c_1"}, "content": []}, {"c_1"}),
        ("chat", {"id": "c1", "choices": [{"message": {"audio": {"id": "audio_1"}}}]}, {"audio_1"}),
        # No request refers to these: storing one for every answer would push everything else out of the store.
        ("chat", {"id": "c1", "choices": [{"message": {"content": "x"}}]}, set()),
        ("messages", {"id": "msg_1", "type": "message", "content": [{"type": "text", "text": "x"}]}, set()),
        ("completions", {"id": "cmpl_1", "choices": [{"text": "x"}]}, set()),
    ],
)
@pytest.mark.parametrize("is_event", [False, True])
def test_ids_are_read_where_providers_put_them(api: Api, answer: dict[str, Any], ids: set[str], is_event: bool) -> None:
    text = json.dumps(answer).encode()
    assert set(ids_made(b"data: " + text + b"\n\n" if is_event else text, api)) == ids


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        ({"previous_response_id": "resp_1", "input": "x"}, {"resp_1": "previous_response_id"}),
        ({"container": "c", "messages": []}, {"c": "container"}),
        ({"prompt": {"id": "pmpt_1"}, "plugins": [{"id": "web"}]}, {}),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, {}),
        (
            {"tools": [{"vector_store_ids": ["v1", "v2"]}]},
            {"v1": "tools[0].vector_store_ids", "v2": "tools[0].vector_store_ids"},
        ),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, {"a": "messages[0].audio"}),
        ({"messages": [{"content": [{"type": "tool_use", "id": "t", "input": {"file_id": "f"}}]}]}, {}),
        ({"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}]}, {}),
        ({"tools": [{"type": "function", "parameters": {"properties": {"file_id": {"id": "x"}}}}]}, {}),
        (
            {"input": [{"a": {"b": {"c": {"d": {"e": {"f": {"g": {"file_id": "f1"}}}}}}}}]},
            {"f1": "input[0].a.b.c.d.e.f.g.file_id"},
        ),
    ],
)
def test_ids_in_requests_have_the_path_of_their_field(body: dict[str, Any], ids: dict[str, str]) -> None:
    assert ids_used(body) == ids


def test_every_extra_has_a_meaning_and_a_place_in_keys_yaml() -> None:
    from router.gateway.config.keys import Extra

    assert set(Extra.__args__) == {"all", *EXTRAS}


@pytest.mark.parametrize(
    "body", [{"service_tier": "priority"}, {"service_tier": "Fast"}, {"speed": "fast"}, {"speed": []}]
)
def test_a_dearer_tier_is_left_out(body: dict[str, Any]) -> None:
    assert without_tiers({**body, "n": 1}) == ({"n": 1}, tuple(body))


@pytest.mark.parametrize("tier", [None, "auto", "default", "flex", "standard_only"])
def test_a_usual_tier_stays(tier: str | None) -> None:
    assert without_tiers({"service_tier": tier}) == ({"service_tier": tier}, ())


def test_a_required_tool_is_not_left_out() -> None:
    tools = [{"type": "web_search"}, {"type": "function", "name": "f"}]
    body = {"tools": tools, "tool_choice": {"type": "web_search"}}
    assert without_tools(body, ["web_search"]) == (body, ())
    assert without_tools({"tools": tools}, ["web_search"]) == ({"tools": tools[1:]}, ("tools",))
    assert list(extras_in(body)) == ["web_search"]
