from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from bench.rollout import Outcome, Replacement, roll_out

# A third of it in CI: every gateway is replaced in the same way.
REPLACED = 1 if "CI" in os.environ else 3


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("haproxy"), reason="needs haproxy: scripts/system installs it")
def test_gateways_are_replaced_under_load_without_a_failed_or_doubled_request(tmp_path: Path) -> None:
    outcome = asyncio.run(roll_out(tmp_path, connections=6, replaced=REPLACED))
    assert outcome.problems == ()
    assert outcome.sent == outcome.received > 100
    assert outcome.streams > 30
    assert outcome.is_clean


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome((), 5, 1, 6, ()),
        Outcome((), 5, 1, 5, ("status 502",)),
        Outcome((Replacement(-9, 1.0, 1.0),), 5, 1, 5, ()),
    ],
    ids=["a doubled request", "a failed request", "a killed gateway"],
)
def test_a_roll_out_is_not_clean_with(outcome: Outcome) -> None:
    assert not outcome.is_clean
