"""Time of a decision, memory and size of the artifact, next to release 0.1.0 in the same run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from msgspec import Struct

from bench.release import ROOT, extract_release
from router.errors import ConfigurationError

MOST_MB = 20.0
_ROUNDS = 3
# Runs in either version: everything used here exists in both.
_SCRIPT = """
import json, resource, time
from pathlib import Path
import numpy as np
from bench.decision import many_cards, texts
from router import Router
from router.wire.chat.request import ChatRequest

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

requests = [ChatRequest.from_prompt(text) for text in texts(500)]
before_mb = resident_mb()
router = Router.default()
router.route(requests[0])
memory_mb = resident_mb() - before_mb
router = Router(many_cards(router.catalog, 100), router.policies, router.predictor)
times = []
for request in requests:
    start = time.thread_time()
    router.route(request)
    times.append((time.thread_time() - start) * 1e3)
p50_ms, p99_ms = np.percentile(times[100:], (50, 99))
print(json.dumps({"p50_ms": p50_ms, "p99_ms": p99_ms, "memory_mb": memory_mb}))
"""


class Footprint(Struct, frozen=True):
    """The CPU of a decision over 100 cards on a prompt of about 100 tokens; the growth of resident memory by a router
    over the default catalogue and one decision (Linux); the size of encoder and predictor on disk.
    """

    p50_ms: float
    p99_ms: float
    memory_mb: float
    size_mb: float


def measure() -> tuple[Footprint, Footprint | None]:
    """This version and release 0.1.0, in turns, the best round of each; None where its commit is not here."""
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder)
        if not extract_release(before):
            return _best([_round(ROOT) for _ in range(_ROUNDS)]), None
        rounds = [(_round(ROOT), _round(before)) for _ in range(_ROUNDS)]
        return _best([now for now, _ in rounds]), _best([then for _, then in rounds])


def _round(root: Path) -> Footprint:
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _SCRIPT]
    done = subprocess.run(command, cwd=root, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise ConfigurationError(f"measuring {root} failed: {done.stderr.strip().splitlines()[-1:]}")
    stored = (root / "router" / "shipped" / name for name in ("encoder", "predictor"))
    size = sum(file.stat().st_size for folder in stored for file in folder.rglob("*") if file.is_file())
    return Footprint(**json.loads(done.stdout), size_mb=size / 1e6)


def _best(rounds: list[Footprint]) -> Footprint:
    """The least of each figure: other processes can only add to it."""
    names = Footprint.__struct_fields__
    return Footprint(**{name: round(min(getattr(one, name) for one in rounds), 3) for name in names})
