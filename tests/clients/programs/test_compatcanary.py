"""npm's `compatcanary` scan of an API that claims to be OpenAI's."""

from __future__ import annotations

import json

import pytest

from tests.clients.packages import NEEDS_NODE, npm_packages
from tests.clients.programs.conftest import CARDS
from tests.clients.programs.workplace import Workplace

pytestmark = [pytest.mark.slow, NEEDS_NODE, pytest.mark.xdist_group("compatcanary")]


@pytest.mark.parametrize("model", [*CARDS, "auto"])
def test_the_scan_finds_no_fault(model: str, gateway: str, workplace: Workplace) -> None:
    program = npm_packages("compatcanary") / "node_modules" / "compatcanary" / "src" / "cli.js"
    arguments = ["scan", "--base-url", f"{gateway}/v1", "--model", model, "--format", "json"]
    report = json.loads(workplace.run(["node", program, *arguments], {"OPENAI_API_KEY": "unused"}))
    assert [check for check in report["results"] if check["status"] != "pass"] == []
    assert len(report["results"]) == 7
