"""Start-up time and memory, beside an empty Python: `python -m bench.startup`.

Commands run with compiled modules in a folder of their own, as after an installation. CPU time says more than elapsed
time on a machine that does other work. A gateway serves the default cards on a loopback port; its memory is the
proportional set size (PSS) in `/proc`, in which pages that processes share count for each of them in part.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = (["--help"], ["--version"], ["What is 17 * 23?", "--json"], ["cards", "list"])
_READY_WITHIN_S = 120.0
_SETTLED_AFTER_S = 5.0
_TICKS_S = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print the median and the best of some runs of each command, then what gateways of one and two workers need."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        # Without this, Python may compile every module again.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"PYTHONPYCACHEPREFIX": f"{folder}/compiled", "PULVINAR_CACHE": f"{folder}/cache"}
        print(f"{'':34s}{'median s':>10s}{'best s':>10s}{'best CPU s':>12s}")
        _report("python -c pass", [sys.executable, "-c", "pass"], environment, rounds)
        for arguments in COMMANDS:
            _report("route " + " ".join(arguments), [sys.executable, "cli.py", *arguments], environment, rounds)
        if sys.platform == "linux":
            # Compiles what only a gateway needs.
            subprocess.run(
                [sys.executable, "-c", "import router.gateway.shared"], cwd=ROOT, env=environment, check=True
            )
            for workers in (1, 2):
                _report_gateway(workers, environment, Path(folder) / f"store{workers}")


def _report(name: str, command: list[str], environment: Mapping[str, str], rounds: int) -> None:
    times, cpu = [], []
    # The first run compiles.
    for _ in range(rounds + 1):
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        times.append(time.perf_counter() - start)
        cpu.append(usage.ru_utime + usage.ru_stime)
        if status:
            raise SystemExit(f"{name} ended with status {os.waitstatus_to_exitcode(status)}")
    print(f"{name:34s}{sorted(times[1:])[rounds // 2]:10.3f}{min(times[1:]):10.3f}{min(cpu[1:]):12.3f}", flush=True)


def _report_gateway(workers: int, environment: Mapping[str, str], store: Path) -> None:
    with _gateway(workers, environment, store) as (process, ready_s):
        # One worker responds; the others may still be starting.
        time.sleep(_SETTLED_AFTER_S)
        print(f"\nroute serve --workers {workers}: ready after {ready_s:.2f} s")
        print(f"{'':34s}{'PSS MB':>10s}{'own MB':>10s}{'CPU s':>12s}")
        for pid, parent in sorted(_processes(process.pid).items()):
            memory = dict(line.split(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
            megabytes = {name: int(size.split()[0]) / 1024 for name, size in memory.items()}
            own = megabytes["Private_Clean"] + megabytes["Private_Dirty"]
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_S
            name = f"process {pid}, started by {parent}"
            print(f"{name:34s}{megabytes['Pss']:10.0f}{own:10.0f}{cpu_s:12.2f}")


@contextlib.contextmanager
def _gateway(
    workers: int, environment: Mapping[str, str], store: Path
) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--port", str(port), "--workers", str(workers), "--store", str(store), "--no-access-log"]
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "cli.py", "serve", *options], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}/healthz", start + _READY_WITHIN_S)
        yield process, time.perf_counter() - start
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, deadline_s: float) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while process.poll() is None and time.perf_counter() < deadline_s:
        try:
            opener.open(url, timeout=1).close()
            return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.01)
    raise SystemExit(f"the gateway is not ready; {url} does not respond")


def _processes(root: int) -> dict[int, int]:
    """The process `root` and its descendants, with their parents."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = {root: os.getpid()}
    while more := {pid: parent for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    return found


if __name__ == "__main__":
    main()
