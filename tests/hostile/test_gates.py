"""Gates that hold under attack, over real processes: money, tenants, resources, liveness.

`bench.hostile` runs every attack for longer; these are a sample of each kind, and a CI run takes a
sample of it. An attack runs once, and every gate reads
its result.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator

import pytest

from bench.hostile.__main__ import attack_gateway
from bench.hostile.attacks import ATTACKS
from bench.hostile.report import verdicts
from bench.hostile.trial import Result, Times, both_sides
from tests.warm_start import warm_starts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="starts processes in a session"),
    # One attack at a time: each takes a whole core.
    pytest.mark.xdist_group("hostile"),
]
_TIMES = Times(alone_s=0.5, attack_s=1.0, after_s=0.5)
# The bench requires one second; a machine that runs other tests, too, is slower, but a gateway that blocks far more.
_BLOCKED_S = 5.0
_BY_NAME = {attack.name: attack for attack in ATTACKS}


def _sampled(*names: str) -> tuple[str, ...]:
    """All of them; a CI run takes the first two."""
    return names[:2] if "CI" in os.environ else names


_MONEY = _sampled("overspend", "leaving-streams", "overspend-2-workers", "overspend-n-50", "leaving-answers")
_TENANTS = _sampled(
    "forged-500", "foreign-ids", "forged-404", "forged-429", "flags-in-documents", "unpaced-paths", "trailers"
)
_RESOURCES = _sampled("header-flood", "never-reading-readers", "unfinished-bodies")
_LIVENESS = _sampled("comma-bodies", "locked-store", "garbage-unread-log", "silent-connections")
# It reads where the store is from the environment with which the process was started.
_STARTED_ALONE = ("locked-store",)
_ALL = (*_MONEY, *_TENANTS, *_RESOURCES, *_LIVENESS)


@pytest.fixture(scope="module")
def result_of() -> Iterator[Callable[[str], Result]]:
    """The result of an attack by its name; it runs once."""
    with both_sides() as sides, warm_starts() as warm:

        @functools.cache
        def result_of(name: str) -> Result:
            attack = _BY_NAME[name]
            if name in _STARTED_ALONE:
                return attack_gateway(attack, _TIMES, sides)
            started = functools.partial(warm, litellm=attack.anthropic)
            return attack_gateway(attack, _TIMES, sides, started=started)

        yield result_of


@pytest.mark.parametrize("name", _MONEY)
def test_what_was_delivered_is_charged_and_overspends_by_one_request_at_most(
    result_of: Callable[[str], Result], name: str
) -> None:
    result = result_of(name)
    assert result.delivered_usd > 0
    assert not verdicts(result)["money"].fails, verdicts(result)["money"].text


@pytest.mark.parametrize("name", _ALL)
def test_no_request_of_one_key_changes_what_another_gets(result_of: Callable[[str], Result], name: str) -> None:
    result = result_of(name)
    assert result.beside.wrong == []
    assert result.beside.share >= result.without.share


@pytest.mark.parametrize("name", _ALL)
def test_memory_descriptors_and_slots_stay_bounded(result_of: Callable[[str], Result], name: str) -> None:
    cells = verdicts(result_of(name))
    assert [f"{gate}: {cells[gate].text}" for gate in ("memory", "files", "slots") if cells[gate].fails] == []


@pytest.mark.parametrize("name", _ALL)
def test_the_process_always_responds(result_of: Callable[[str], Result], name: str) -> None:
    assert result_of(name).beside.health_ms / 1e3 < _BLOCKED_S


@pytest.mark.parametrize("name", _ALL)
def test_the_attack_itself_gets_nothing(result_of: Callable[[str], Result], name: str) -> None:
    assert result_of(name).problems == []
