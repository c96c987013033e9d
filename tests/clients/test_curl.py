"""curl as a client of the gateway."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from tests.clients.conftest import CLIENT_KEY

pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl: apt-get install curl")

_JSON = ("--header", "content-type: application/json")
_OPENAI = (*_JSON, "--header", f"authorization: Bearer {CLIENT_KEY}")
_ANTHROPIC = (*_JSON, "--header", f"x-api-key: {CLIENT_KEY}", "--header", "anthropic-version: 2023-06-01")


def curl(*arguments: str, body: dict[str, Any] | None = None) -> str:
    if body is not None:
        arguments = (*arguments, "--data", json.dumps(body))
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "gpt-5.4", "messages": [{"role": "user", "content": "hi"}], **fields}


def test_a_completion_is_returned(base_url: str) -> None:
    response = json.loads(curl(f"{base_url}/chat/completions", *_OPENAI, body=chat()))
    assert response["choices"][0]["message"]["content"] == "You said: hi"


def test_a_stream_has_events_and_ends_with_done(base_url: str) -> None:
    headers, _, stream = curl(
        "--no-buffer", "--include", f"{base_url}/chat/completions", *_OPENAI, body=chat(stream=True)
    ).partition("\n\n")
    assert "content-type: text/event-stream" in headers
    assert "cache-control: no-cache" in headers
    assert "x-accel-buffering: no" in headers
    *events, done, rest = stream.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    deltas = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"].get("content") for event in events]
    assert "".join(filter(None, deltas)) == "You said: hi"


def test_a_message_is_returned(gateway: str) -> None:
    response = json.loads(curl(f"{gateway}/v1/messages?beta=true", *_ANTHROPIC, body=chat(max_tokens=50)))
    assert response["content"] == [{"type": "text", "text": "You said: hi"}]


def test_a_stream_of_a_message_names_its_events(gateway: str) -> None:
    stream = curl("--no-buffer", f"{gateway}/v1/messages", *_ANTHROPIC, body=chat(max_tokens=50, stream=True))
    events = [event.split("\n", 1) for event in stream.split("\n\n") if event.startswith("event: ")]
    assert all(
        name.removeprefix("event: ") == json.loads(fields.removeprefix("data: "))["type"] for name, fields in events
    )
    assert (events[0][0], events[-1][0]) == ("event: message_start", "event: message_stop")


def test_a_response_is_returned(base_url: str) -> None:
    response = json.loads(curl(f"{base_url}/responses", *_OPENAI, body={"model": "gpt-5.4", "input": "hi"}))
    assert response["output"][0]["content"][0]["text"] == "You said: hi"


def test_an_unknown_model_is_openais_error_with_status_404(base_url: str) -> None:
    body, _, status = curl(
        "--write-out", "\n%{http_code}", f"{base_url}/chat/completions", *_OPENAI, body=chat(model="nothing-like-it")
    ).rpartition("\n")
    assert status == "404"
    assert json.loads(body)["error"]["code"] == "model_not_found"


def test_the_root_accepts_get_and_head(gateway: str) -> None:
    assert curl("--head", "--write-out", "%{http_code}", "--output", "/dev/null", gateway) == "200"
    assert json.loads(curl(gateway))["name"] == "pulvinar"


def test_models_are_listed(base_url: str) -> None:
    model_list = json.loads(curl(f"{base_url}/models", *_OPENAI))
    assert (model_list["object"], model_list["data"][0]["id"]) == ("list", "auto")
