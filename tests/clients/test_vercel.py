"""The Vercel AI SDK as a client of the gateway."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from tests.clients.asks import PIXEL_SEEN
from tests.clients.conftest import CLIENT_KEY
from tests.clients.vercel_packages import FOLDER, NEEDS_NODE, vercel_packages

pytestmark = [pytest.mark.slow, NEEDS_NODE]


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest, gateway: str) -> dict[str, Any]:
    program = shutil.copy(FOLDER / "client.mjs", vercel_packages(request.config))
    ended = subprocess.run(["node", program, gateway, CLIENT_KEY], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    said: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return said


every_protocol = pytest.mark.parametrize("protocol", ["chat", "responses", "converted"])


@every_protocol
@pytest.mark.parametrize("way", ["generated", "streamed"])
def test_an_answer_comes_back(told: dict[str, Any], protocol: str, way: str) -> None:
    assert told[protocol][way] == {
        "text": "You said: hi (told: Be brief.)",
        "finishReason": "stop",
        "outputTokens": 6,
        "cities": [],
        "failures": [],
    }


@every_protocol
@pytest.mark.parametrize("way", ["loop", "streamedLoop"])
def test_its_own_loop_runs_tools_to_the_end(told: dict[str, Any], protocol: str, way: str) -> None:
    ended = told[protocol][way]
    assert ended["cities"] == ["Oslo", "Lima"]
    assert ended["text"] == "The tools say: Oslo is sunny; Lima is sunny"


@every_protocol
def test_an_object_comes_back(told: dict[str, Any], protocol: str) -> None:
    assert told[protocol]["object"] == {"name": "Ada", "age": 7, "hobbies": ["Ada"]}


@every_protocol
def test_an_image_is_seen(told: dict[str, Any], protocol: str) -> None:
    assert told[protocol]["image"] == PIXEL_SEEN


def test_auto_is_a_model_like_any_other(told: dict[str, Any]) -> None:
    assert told["auto"] == "gpt-5.4-2026-09-01"


def test_a_text_becomes_a_vector(told: dict[str, Any]) -> None:
    assert told["vector"] == [4.0, 0.5, 0.5, 0.5]


def test_a_cut_stream_is_an_error(told: dict[str, Any]) -> None:
    assert told["cut"]["failures"]


def test_an_unknown_model_is_a_404(told: dict[str, Any]) -> None:
    assert told["error"] == 404


def test_the_lock_file_names_no_registry() -> None:
    packages = json.loads((FOLDER / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert all(package.get("integrity") for path, package in packages.items() if path)
    assert not [path for path, package in packages.items() if "resolved" in package]
