"""A real Ray cluster on this machine, of two workers, for the tests of this folder that need one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.narrow import encoder, predictor

__all__ = ["encoder", "predictor"]

ROOT = Path(__file__).resolve().parents[2]
_TRIES = 3

# Ray reads these when it is imported. Its ports listen on every interface, so that only a token keeps others out.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex}


def ray_environment(shadow: Path) -> dict[str, str]:
    """The environment of Ray's processes, and of drivers."""
    # A package of the development environment takes seconds to import, in each of Ray's processes. Nothing needs it.
    (shadow / "rfc3987_syntax.py").write_text('raise ImportError("left out in tests")\n')
    path = os.pathsep.join((str(shadow), str(ROOT)))
    return os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="package")
def shadow() -> Iterator[Path]:
    """A folder of modules that Ray's processes find first. Short, because Ray's sockets lie in a folder beside it."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="package")
def cluster(shadow: Path) -> Iterator[str]:
    """The address of the cluster, which ends with the last of them."""
    pytest.importorskip("ray")
    for _ in range(_TRIES):
        address = f"127.0.0.1:{_free_port()}"
        process = _started(address, shadow)
        if process is not None:
            break
    else:
        pytest.fail("no Ray cluster starts on this machine")
    try:
        yield address
    finally:
        _end(process)


def _started(address: str, shadow: Path) -> subprocess.Popen[str] | None:
    """The process that holds the cluster; None where Ray gave up, as it does on a machine that is very busy."""
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"),
        *("--node-ip-address=127.0.0.1", f"--port={address.rpartition(':')[2]}", f"--temp-dir={shadow / 'ray'}"),
        *(f"--ray-client-server-port={_free_port()}", "--include-dashboard=false", "--disable-usage-stats"),
        # Nothing here is scaled, or reads what the workers log.
        *("--object-store-memory=80000000", "--no-monitor", "--include-log-monitor=false"),
    ]
    process = subprocess.Popen(
        command, env=ray_environment(shadow), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "runtime started" in line:
            return process
    _end(process)
    return None


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
