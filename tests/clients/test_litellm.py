"""litellm as a client of the gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import CLIENT_KEY

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def told(gateway: str) -> dict[str, Any]:
    program = ["-m", "tests.clients.litellm_client", gateway, CLIENT_KEY]
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    ended = subprocess.run([sys.executable, *program], cwd=ROOT, env=environment, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    said: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return said


def test_a_completion_comes_back(told: dict[str, Any]) -> None:
    assert (told["completion"], told["completion_tokens"]) == ("You said: hi", 3)


def test_auto_is_a_model_like_any_other(told: dict[str, Any]) -> None:
    assert told["auto"] == "gpt-5.4-2026-09-01"


def test_a_stream_comes_back(told: dict[str, Any]) -> None:
    assert (told["stream"], told["finish_reason"]) == ("You said: hi", "stop")


def test_tools_are_called(told: dict[str, Any]) -> None:
    assert told["cities"] == ["Oslo", "Lima"]


def test_the_asynchronous_calls_work_too(told: dict[str, Any]) -> None:
    assert told["asynchronous"] == {"completion": "You said: hi", "stream": "You said: hi"}


def test_vectors_come_back(told: dict[str, Any]) -> None:
    assert told["vector"] == [4.0, 0.5, 0.5, 0.5]


def test_its_anthropic_side_works_too(told: dict[str, Any]) -> None:
    assert told["message"] == "You said: hi"


def test_an_unknown_model_is_its_error_for_that(told: dict[str, Any]) -> None:
    assert told["error"] == "NotFoundError"
