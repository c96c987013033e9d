"""What a thousand cards or tenants change: time of a decision, memory, and the time to read the file of keys."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np

from bench.decision import many_cards, texts
from router import Router
from router.errors import FileError
from router.gateway.config.keys import load_keys
from router.wire.chat.request import ChatRequest

_ROOT = Path(__file__).parents[2]
_WARM_UP = 20


class CatalogueFigures(msgspec.Struct, frozen=True):
    """A decision among `cards`: median and 99th percentile in milliseconds, and the resident memory of a process."""

    cards: int
    p50_ms: float
    p99_ms: float
    rss_mb: float


class KeysFigures(msgspec.Struct, frozen=True):
    """A file of `tenants` keys: its size, the time to read it, the time of one authentication, and memory; None where
    the gateway refuses so large a file.
    """

    tenants: int
    file_mb: float
    read_s: float | None = None
    find_us: float | None = None
    rss_mb: float | None = None


def measure_cards(cards: int, rounds: int) -> CatalogueFigures:
    """In a process of its own, for its memory. `cards` 0 means those of the built-in catalogue."""
    return msgspec.json.decode(_in_process("cards", str(cards), str(rounds)), type=CatalogueFigures)


def measure_keys(tenants: int, scratch: Path) -> KeysFigures:
    """In a process of its own, for its memory."""
    return msgspec.json.decode(_in_process("keys", str(tenants), str(scratch)), type=KeysFigures)


def _in_process(*arguments: str) -> bytes:
    command = [sys.executable, "-m", "bench.scale.catalogue", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=_ROOT).stdout


def _cards(count: int, rounds: int) -> CatalogueFigures:
    router = Router.default()
    if count:
        router = Router(many_cards(router.catalog, count), router.policies, router.predictor)
    times = []
    for number, text in enumerate(texts(rounds + _WARM_UP)):
        request = ChatRequest.from_prompt(text)
        start = time.perf_counter()
        router.route(request)
        if number >= _WARM_UP:
            times.append((time.perf_counter() - start) * 1e3)
    p50, p99 = (float(np.percentile(times, percent)) for percent in (50, 99))
    return CatalogueFigures(len(router.catalog), p50, p99, _rss_mb())


def _keys(tenants: int, scratch: Path) -> KeysFigures:
    file = scratch / f"{tenants}-keys.yaml"
    secrets = [f"pv-{number:032x}" for number in range(tenants)]
    with file.open("w") as stream:
        stream.write("keys:\n")
        for number, secret in enumerate(secrets):
            digest = hashlib.sha256(secret.encode()).hexdigest()
            stream.write(f"- {{id: tenant-{number}, hash: 'sha256:{digest}', rpm: 600, budget_usd_per_day: 10}}\n")
    before, size_mb = _rss_mb(), file.stat().st_size / 1e6
    start = time.perf_counter()
    try:
        keys = load_keys(file)
    except FileError as problem:
        print(problem, file=sys.stderr)
        return KeysFigures(tenants, size_mb)
    read_s = time.perf_counter() - start
    start = time.perf_counter()
    found = [keys.authenticate(secret) for secret in secrets[:1_000]]
    find_us = (time.perf_counter() - start) / len(found) * 1e6
    assert all(found), "a key was not found"
    return KeysFigures(tenants, size_mb, read_s, find_us, _rss_mb() - before)


def _rss_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024 / 1e6


if __name__ == "__main__":
    kind, count, last = sys.argv[1:]
    figures = _cards(int(count), int(last)) if kind == "cards" else _keys(int(count), Path(last))
    sys.stdout.buffer.write(msgspec.json.encode(figures))
