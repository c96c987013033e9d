"""Several workers that share a port: started together, replaced when one dies, told what the first process is told.

uvicorn's own supervisor restarts its workers at SIGHUP, where ours read their configuration anew.
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

_LOOK_EVERY_S = 0.1
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_HELD_BACK = (signal.SIGHUP,)

Work = Callable[[int], None]


def ready_for_signals() -> None:
    """Let this process have the signals that were held back while it could not handle them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)


class WorkerError(PulvinarError):
    """A worker ended as soon as it had begun. `exit_code` is its own."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code if exit_code > 0 else 1  # type: ignore[misc]  # each has its own
        super().__init__("a worker could not start; what it said stands above")


class WorkerSupervisor:
    """`count` processes that each run `work(number)`, a function that pickle knows by its name.

    The process that calls `run` does nothing but look after them: it passes SIGTERM, SIGINT and SIGHUP on, and ends
    when all have ended.

    A worker that dies within `sound_after_s` seconds was badly started, and another would be too; one that dies later
    is replaced. SIGHUP is kept from a worker until `ready_for_signals` is called in it.
    """

    def __init__(self, work: Work, count: int, tell: Callable[[str], None], sound_after_s: float = 10.0) -> None:
        self._work, self._count, self._tell, self._sound_after_s = work, count, tell, sound_after_s
        # A fork would copy threads' locks as they happen to be.
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, tuple[BaseProcess, float]] = {}
        self._is_ending = False

    def run(self) -> None:
        """Run until told to stop. Raises WorkerError where a worker cannot start."""
        for each in _PASSED_ON:
            signal.signal(each, self._pass_on)
        for number in range(self._count):
            self._start(number)
        try:
            while not self._is_ending:
                time.sleep(_LOOK_EVERY_S)
                self._replace_the_dead()
        finally:
            for worker, _ in self._workers.values():
                worker.join()

    def _start(self, number: int) -> None:
        worker = self._context.Process(target=self._work, args=(number,), name=f"worker-{number}")
        # A child begins with its parent's mask, and would die of a signal that it does not handle yet.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
        try:
            worker.start()
            self._workers[number] = worker, time.monotonic()
        finally:
            ready_for_signals()
        if self._is_ending:
            # Told while this one was not yet among the workers.
            worker.terminate()

    def _replace_the_dead(self) -> None:
        for number, (worker, started_s) in list(self._workers.items()):
            if self._is_ending or worker.exitcode is None:
                continue
            if time.monotonic() - started_s < self._sound_after_s:
                self._end(signal.SIGTERM)
                raise WorkerError(worker.exitcode)
            self._tell(f"worker {number + 1} died (exit status {worker.exitcode}); another takes its place")
            self._start(number)

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._signal(number)
        else:
            self._end(number)

    def _end(self, number: int) -> None:
        self._is_ending = True
        self._signal(number)

    def _signal(self, number: int) -> None:
        for worker, _ in self._workers.values():
            if worker.exitcode is None and worker.pid is not None:
                os.kill(worker.pid, number)
