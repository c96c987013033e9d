"""Several worker processes that share a port: started together, replaced when one exits, with signals forwarded.

uvicorn's own supervisor restarts its workers at SIGHUP; these reload their configuration instead.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from types import FrameType

from router.errors import PulvinarError

_POLL_INTERVAL_S = 0.1
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_BLOCKED_AT_START = (signal.SIGHUP,)

WorkerTarget = Callable[[int], None]
"""What a worker runs, given its number from 0. It must be importable by name, for pickle."""


def unblock_signals() -> None:
    """Deliver the signals that were blocked while this process could not handle them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED_AT_START)


class WorkerError(PulvinarError):
    """A worker exited right after its start, with `exit_code`."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code if exit_code > 0 else 1  # type: ignore[misc]  # a class attribute in the base class
        super().__init__("a worker failed to start; see the error above")


class WorkerSupervisor:
    """Runs `target(number)` in `count` worker processes.

    The process that calls `run` only supervises: it forwards SIGTERM, SIGINT and SIGHUP, and returns when all workers
    have exited. A worker that exits within `min_uptime_s` failed to start, and a replacement would fail too, so all are
    stopped; one that exits later is replaced. SIGHUP is blocked in a worker until it calls `unblock_signals`.
    """

    def __init__(
        self, target: WorkerTarget, count: int, notify: Callable[[str], None], min_uptime_s: float = 10.0
    ) -> None:
        self._target, self._count, self._notify, self._min_uptime_s = target, count, notify, min_uptime_s
        # A fork would copy the locks of other threads in whatever state they are.
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, tuple[BaseProcess, float]] = {}
        self._is_stopping = False

    def run(self) -> None:
        """Run until stopped by a signal. Raises WorkerError if a worker fails to start."""
        for forwarded in _FORWARDED:
            signal.signal(forwarded, self._on_signal)
        for number in range(self._count):
            self._start(number)
        try:
            while not self._is_stopping:
                time.sleep(_POLL_INTERVAL_S)
                self._replace_exited()
        finally:
            for worker, _ in self._workers.values():
                worker.join()

    def _start(self, number: int) -> None:
        worker = self._context.Process(target=self._target, args=(number,), name=f"worker-{number}")
        # A child inherits this mask; a signal that it does not handle yet would end it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED_AT_START)
        try:
            worker.start()
            self._workers[number] = worker, time.monotonic()
        finally:
            unblock_signals()
        if self._is_stopping:
            # The signal came before this worker was registered.
            worker.terminate()

    def _replace_exited(self) -> None:
        for number, (worker, started_s) in list(self._workers.items()):
            if self._is_stopping or worker.exitcode is None:
                continue
            if time.monotonic() - started_s < self._min_uptime_s:
                self._stop(signal.SIGTERM)
                raise WorkerError(worker.exitcode)
            self._notify(f"worker {number + 1} exited with status {worker.exitcode}; starting a replacement")
            self._start(number)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._send(number)
        else:
            self._stop(number)

    def _stop(self, number: int) -> None:
        self._is_stopping = True
        self._send(number)

    def _send(self, number: int) -> None:
        for worker, _ in self._workers.values():
            if worker.exitcode is None and worker.pid is not None:
                os.kill(worker.pid, number)
