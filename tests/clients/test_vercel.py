"""The Vercel AI SDK as a client of the gateway."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from tests.clients.conftest import CLIENT_KEY
from tests.clients.inputs import PIXEL_ANSWER
from tests.clients.packages import NEEDS_NODE, NPM, npm_packages

pytestmark = [pytest.mark.slow, NEEDS_NODE]


@pytest.fixture(scope="module")
def results(gateway: str) -> dict[str, Any]:
    program = shutil.copy(NPM / "vercel-ai" / "client.mjs", npm_packages("vercel-ai"))
    result = subprocess.run(["node", program, gateway, CLIENT_KEY], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    parsed: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return parsed


every_protocol = pytest.mark.parametrize("protocol", ["chat", "responses", "converted"])


@every_protocol
@pytest.mark.parametrize("mode", ["generated", "streamed"])
def test_an_answer_is_returned(results: dict[str, Any], protocol: str, mode: str) -> None:
    assert results[protocol][mode] == {
        "text": "You said: hi (system: Be brief.)",
        "finishReason": "stop",
        "outputTokens": 6,
        "cities": [],
        "failures": [],
    }


@every_protocol
@pytest.mark.parametrize("mode", ["loop", "streamedLoop"])
def test_the_sdks_tool_loop_completes(results: dict[str, Any], protocol: str, mode: str) -> None:
    result = results[protocol][mode]
    assert result["cities"] == ["Oslo", "Lima"]
    assert result["text"] == "The tools returned: Oslo is sunny; Lima is sunny"


@every_protocol
def test_an_object_is_returned(results: dict[str, Any], protocol: str) -> None:
    assert results[protocol]["object"] == {"name": "Ada", "age": 7, "hobbies": ["Ada"]}


@every_protocol
def test_an_image_reaches_the_model(results: dict[str, Any], protocol: str) -> None:
    assert results[protocol]["image"] == PIXEL_ANSWER


def test_auto_is_accepted_as_a_model(results: dict[str, Any]) -> None:
    assert results["auto"] == "gpt-5.4-2026-09-01"


def test_a_text_is_embedded(results: dict[str, Any]) -> None:
    assert results["vector"] == [4.0, 0.5, 0.5, 0.5]


def test_an_interrupted_stream_is_an_error(results: dict[str, Any]) -> None:
    assert results["cut"]["failures"]


def test_an_unknown_model_is_a_404(results: dict[str, Any]) -> None:
    assert results["error"] == 404
