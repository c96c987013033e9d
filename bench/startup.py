"""Start-up time of the command line: `python -m bench.startup`."""

from __future__ import annotations

import subprocess
import sys
import time

ROUNDS = 9
COMMANDS = (["--help"], ["--version"], ["What is 17 * 23?", "--json"], ["cards", "list"])


def main() -> None:
    """Print the median and the best of ROUNDS runs of each command, beside an empty Python."""
    print(f"{'':34s}{'median s':>10s}{'best s':>10s}")
    _report("python -c pass", [sys.executable, "-c", "pass"])
    for arguments in COMMANDS:
        _report("route " + " ".join(arguments), [sys.executable, "cli.py", *arguments])


def _report(name: str, command: list[str]) -> None:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    print(f"{name:34s}{sorted(times)[ROUNDS // 2]:10.3f}{min(times):10.3f}", flush=True)


if __name__ == "__main__":
    main()
