"""What a load asks for, and what comes back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

_ROOT = Path(__file__).parents[2]

DRAIN_S = 5.0
"""How long answers are awaited after the last request."""


class Load(msgspec.Struct, frozen=True):
    """What to ask, and how.

    `prompts` is a file with a JSON string a line; `count` of them from `first` on are asked, one a request. `rate` None
    means a closed loop. After `limit_s` seconds nothing more is asked.
    """

    port: int
    path: str
    headers: dict[str, str]
    model: str
    prompts: str
    first: int
    count: int
    stream: bool = False
    connections: int = 8
    rate: float | None = None
    limit_s: float = 30.0


class Samples(msgspec.Struct):
    """What came back. `asked` counts requests sent, `failed` those without a whole and right answer.

    Milliseconds, one an answered request: `latency_ms` from when it was due to the last byte, `first_ms` to the first
    content of a stream, `late_ms` to when it was sent (the fault of who asks). `held_ms` has one an event of a stream:
    from when the upstream sent it to when it was here. `overrun`: not everything was answered in time.
    """

    asked: int = 0
    failed: int = 0
    failure: str = ""
    seconds: float = 0.0
    overrun: bool = False
    latency_ms: list[float] = []
    first_ms: list[float] = []
    held_ms: list[float] = []
    late_ms: list[float] = []

    @property
    def answered(self) -> int:
        """How many requests got a whole and right answer."""
        return len(self.latency_ms)

    def fail(self, why: str) -> None:
        """Count a failure; the first reason is kept."""
        self.failed += 1
        self.failure = self.failure or why


def ask(load: Load) -> Samples:
    """Ask from a process of its own, which ends soon after `limit_s` whatever the answers do."""
    command = [sys.executable, "-m", "bench.gateway.load"]
    limit_s = load.limit_s + DRAIN_S + 30
    sent = msgspec.json.encode(load)
    done = subprocess.run(command, input=sent, stdout=subprocess.PIPE, check=True, timeout=limit_s, cwd=_ROOT)
    return msgspec.json.decode(done.stdout, type=Samples)
