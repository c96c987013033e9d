"""The requests that Open WebUI's backend sends. It is not installed: it brings more than a gigabyte of packages."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from tests.clients.upstream import Upstream

# It may forward who its user is, and always identifies itself in OpenRouter's way.
_HEADERS = {
    "Authorization": "Bearer unused",
    "Content-Type": "application/json",
    "HTTP-Referer": "https://openwebui.com/",
    "X-Title": "Open WebUI",
    "X-OpenWebUI-User-Name": "Ada%20Lovelace",
    "X-OpenWebUI-User-Id": "7b8a",
    "X-OpenWebUI-User-Email": "ada@example.org",
    "X-OpenWebUI-User-Role": "user",
    "X-OpenWebUI-Chat-Id": "c-1",
}


def sent(method: str, url: str, body: dict[str, Any] | None = None) -> tuple[str, str]:
    """The content type and the text of the answer, by the client library that Open WebUI uses."""

    async def main() -> tuple[str, str]:
        async with aiohttp.ClientSession(trust_env=True) as session:
            data = None if body is None else json.dumps(body)
            async with session.request(method, url, data=data, headers=_HEADERS) as answer:
                assert answer.status == 200, await answer.text()
                return answer.content_type, await answer.text()

    return asyncio.run(main())


def test_its_menu_has_the_models(gateway: str) -> None:
    _, text = sent("GET", f"{gateway}/v1/models")
    names = {model["id"] for model in json.loads(text)["data"]}
    assert {"auto", "open-model"} <= names


def test_a_chat_is_a_stream_with_usage(gateway: str, upstream: Upstream) -> None:
    body = {
        "stream": True,
        "model": "open-model",
        "messages": [{"role": "user", "content": "hi"}],
        "stream_options": {"include_usage": True},
        "temperature": 0.7,
    }
    kind, text = sent("POST", f"{gateway}/v1/chat/completions", body)
    assert kind == "text/event-stream"
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    deltas = [choice["delta"].get("content") or "" for event in events for choice in event["choices"]]
    assert "".join(deltas) == "You said: hi"
    assert events[-1]["usage"]["completion_tokens"] == 3
    assert text.rstrip().endswith("data: [DONE]")
    assert not [name for name in upstream.last.headers if name.startswith("x-openwebui")]


def test_a_tool_of_its_own_is_called_by_the_model(gateway: str) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "description": "", "parameters": schema}}
    messages: list[dict[str, Any]] = [{"role": "user", "content": "The weather in Oslo?"}]
    body = {"stream": True, "model": "open-model", "messages": messages, "tools": [tool]}
    _, text = sent("POST", f"{gateway}/v1/chat/completions", body)
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    deltas = [call for event in events for choice in event["choices"] for call in choice["delta"].get("tool_calls", ())]
    arguments = "".join(delta["function"]["arguments"] for delta in deltas)
    assert json.loads(arguments) == {"city": "Oslo"}
    # It sends an empty text beside the calls, and the results as texts.
    call = {"id": deltas[0]["id"], "type": "function", "index": 0}
    messages += [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [call | {"function": {"name": "weather", "arguments": arguments}}],
        },
        {"role": "tool", "tool_call_id": call["id"], "content": "Oslo is sunny"},
    ]
    _, text = sent("POST", f"{gateway}/v1/chat/completions", body)
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    deltas = [choice["delta"].get("content") or "" for event in events for choice in event["choices"]]
    assert "".join(deltas) == "The tools returned: Oslo is sunny"


def test_a_title_is_made_without_a_stream(gateway: str) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "A title?"}], "stream": False}
    kind, text = sent("POST", f"{gateway}/v1/chat/completions", body | {"max_completion_tokens": 1000})
    assert kind == "application/json"
    assert json.loads(text)["choices"][0]["message"]["content"] == "You said: A title?"
