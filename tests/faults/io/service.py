"""A gateway under the shim: requests, and what must hold afterwards about records, money, files and the process."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec

from bench.gateway.processes import Start, launched
from router.gateway.config.keys import hash_of
from router.store.records.journal import open_records
from tests.faults.gateways import fault_card
from tests.faults.io.shim import Shim
from tests.faults.process import route_serve
from tests.faults.surfaces import Response, send
from tests.faults.upstream import Upstream

CLIENT_KEY = "pv-" + "a" * 43
COST_USD = 0.007
"""What an answer costs: seven tokens at 1,000 $ a million."""
_HEADERS = {"authorization": f"Bearer {CLIENT_KEY}"}
_EXIT_LIMIT_S = 20.0
# How long a slow disk may hold a record back.
_LATE_S = 10.0


def prepared(folder: Path, upstream: Upstream, library: Path) -> tuple[Start, Shim]:
    """A gateway with one priced card and one key with a budget and a rate, and the shim that controls it."""
    # Every request connects anew, so that connecting can fail.
    card = fault_card("ok", upstream.url, "closes-after-each", price=1000.0)
    start = route_serve(folder, [card])
    entry = f"  - id: ci\n    hash: {hash_of(CLIENT_KEY)}\n    rpm: 100000\n    budget_usd_per_day: 1000000$\n"
    (folder / "keys.yaml").write_text(f"keys:\n{entry}", encoding="utf-8")
    shim = Shim(library, folder, folder.with_name(f"{folder.name}.control"))
    return msgspec.structs.replace(start, environment={**start.environment, **shim.environment}), shim


class Service:
    """One process of the gateway."""

    def __init__(self, start: Start) -> None:
        self.url, self.folder = f"http://127.0.0.1:{start.port}", start.folder
        self.log = start.folder.with_name(f"{start.folder.name}.log")
        self._acknowledged: list[Response] = []
        # The ids of what was asked, and when.
        self._asked: list[tuple[float, str]] = []
        # How many records were counted as dropped between two looks, and the ids that they may be of.
        self._drops: list[tuple[int, list[str]]] = []
        self._dropped = 0
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        with self.log.open("ab") as output:
            self.process = launched(start, environment | start.environment, output)
        self.client = httpx.Client(base_url=self.url, headers=_HEADERS, trust_env=False, timeout=20)

    def is_healthy(self) -> bool:
        """Whether `/healthz` answers."""
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def wait(self, limit_s: float = _EXIT_LIMIT_S) -> bool:
        """Wait until it serves or has exited. Returns whether it serves; raises TimeoutError where it does neither."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            if self.is_healthy():
                return True
            time.sleep(0.02)
        raise TimeoutError(f"neither serves nor exits: {self.text()[-500:]}")

    def ask(self, *, stream: bool = False) -> Response:
        """Send a request, and remember its answer if it is complete."""
        response = send(self.client, "openai", "ok", stream)
        self._asked.append((time.monotonic(), response.headers["x-request-id"]))
        if response.status == 200 and not response.broken:
            self._acknowledged.append(response)
        return response

    def stop(self) -> int:
        """SIGTERM; returns the exit code. Raises subprocess.TimeoutExpired where it does not end."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
        return self.process.wait(_EXIT_LIMIT_S)

    def kill(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(_EXIT_LIMIT_S)
        self.client.close()

    def text(self) -> str:
        """What it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def dropped(self) -> int:
        """The records that it counts as dropped."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(int(float(line.split()[1])) for line in lines if line.startswith("pulvinar_records_dropped_total "))

    def excuse_dropped(self) -> None:
        """Where it has counted a dropped record since the last time, one of the latest answers may have none.

        Not only the last one: an answer waits at most a second for its record, so on a disk that is slower than that a
        record may be dropped, and counted, when others have been answered after it.
        """
        dropped = self.dropped()
        if dropped > self._dropped:
            since_s = time.monotonic() - _LATE_S
            latest = [name for at_s, name in self._asked if at_s > since_s]
            self._drops.append((dropped - self._dropped, latest))
        self._dropped = dropped

    def lost_records(self) -> set[str]:
        """Answers that a client has, without a record and without being counted as dropped. Call it after the end."""
        records = open_records(self.folder / "store")
        assert records is not None
        with records:
            recorded = {record.id for record in records.scan()}
        missing = {response.headers["x-request-id"] for response in self._acknowledged} - recorded
        for count, latest in self._drops:
            missing.difference_update([name for name in latest if name in missing][:count])
        return missing

    def uncounted_usd(self) -> float:
        """What the delivered answers cost, less what the key's budget has counted or set aside, after the end."""
        cost = COST_USD * len(self._acknowledged)
        with contextlib.closing(sqlite3.connect(self.folder / "store" / "state.sqlite")) as database:
            (counted,) = database.execute("SELECT ifnull(sum(spent + reserved), 0) FROM spend").fetchone()
        return round(cost - counted / 1e9, 9)

    def left_over(self) -> list[str]:
        """Files that should not exist after the end."""
        expected = {"records.sqlite", "state.sqlite"}
        store = [file.name for file in (self.folder / "store").glob("*.*") if file.name not in expected]
        return sorted([*store, *(file.name for file in self.folder.rglob("*.part")), *self._segments()])

    def _segments(self) -> list[str]:
        return [file.name for file in (self.folder / "store" / "journal").glob("*")]


@contextlib.contextmanager
def serving(start: Start) -> Iterator[Service]:
    """A gateway that serves when the block begins, and is killed at its end unless it was stopped."""
    service = Service(start)
    try:
        assert service.wait(), service.text()
        yield service
    finally:
        service.kill()


def route(start: Start, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run another command of `route` with the environment of the gateway, shim included."""
    command = [sys.executable, *start.command[1:2], *arguments]
    environment = {**os.environ, **start.environment}
    return subprocess.run(
        command, env=environment, cwd=start.folder, capture_output=True, text=True, check=False, timeout=60
    )


def fingerprint(file: Path) -> str:
    """The hash of a file's content; empty where there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""
