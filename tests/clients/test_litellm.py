"""litellm as a client of the gateway."""

from __future__ import annotations

import json
from typing import Any

import pytest

# With the other tests of the process that runs it.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("client pages")]


@pytest.fixture
def results(outputs: dict[str, str]) -> dict[str, Any]:
    output = outputs["litellm_client"]
    assert "Traceback" not in output, output
    parsed: dict[str, Any] = json.loads(output.splitlines()[-1])
    return parsed


def test_a_completion_is_returned(results: dict[str, Any]) -> None:
    assert (results["completion"], results["completion_tokens"]) == ("You said: hi", 3)


def test_auto_is_accepted_as_a_model(results: dict[str, Any]) -> None:
    assert results["auto"] == "gpt-5.4-2026-09-01"


def test_a_stream_is_returned(results: dict[str, Any]) -> None:
    assert (results["stream"], results["finish_reason"]) == ("You said: hi", "stop")


def test_tools_are_called(results: dict[str, Any]) -> None:
    assert results["cities"] == ["Oslo", "Lima"]


def test_the_asynchronous_calls_work(results: dict[str, Any]) -> None:
    assert results["asynchronous"] == {"completion": "You said: hi", "stream": "You said: hi"}


def test_an_embedding_is_returned(results: dict[str, Any]) -> None:
    assert results["vector"] == [4.0, 0.5, 0.5, 0.5]


def test_the_anthropic_protocol_works(results: dict[str, Any]) -> None:
    assert results["message"] == "You said: hi"


def test_an_unknown_model_raises_litellms_not_found_error(results: dict[str, Any]) -> None:
    assert results["error"] == "NotFoundError"
