"""The description of a load, and its results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

_ROOT = Path(__file__).parents[2]

DRAIN_S = 5.0
"""The time to wait for responses after the last request."""


class Load(msgspec.Struct, frozen=True):
    """The requests to send.

    `prompts` is a file with a JSON string a line; `count` of them from `first` on are sent, one a request. `rate` None
    means a closed loop. After `limit_s` seconds no more requests are sent.
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
    """The results of a load. `sent` counts requests sent, `failed` those without a complete and valid response.

    Milliseconds, one value an answered request: `latency_ms` from the due time to the last byte, `first_ms` to the
    first content of a stream, `late_ms` to the sending of the request (a delay of the client). `held_ms` has one value
    an event of a stream: from sending by the upstream to receipt. `overrun`: some responses were not received in time.
    """

    sent: int = 0
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
        """The number of requests with a complete and valid response."""
        return len(self.latency_ms)

    def fail(self, reason: str) -> None:
        """Count a failure; `failure` is the reason of the first one."""
        self.failed += 1
        self.failure = self.failure or reason


def run_load(load: Load) -> Samples:
    """Run `load` in a separate process, which ends soon after `limit_s` in every case."""
    command = [sys.executable, "-m", "bench.gateway.load"]
    limit_s = load.limit_s + DRAIN_S + 30
    request = msgspec.json.encode(load)
    done = subprocess.run(command, input=request, stdout=subprocess.PIPE, check=True, timeout=limit_s, cwd=_ROOT)
    return msgspec.json.decode(done.stdout, type=Samples)
