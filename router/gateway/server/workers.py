"""Several worker processes that share a port: started together, replaced when one exits, with signals forwarded.

uvicorn's own supervisor restarts its workers at SIGHUP; these reload their configuration instead.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from router import settings
from router.errors import ConfigurationError, PassingError, PulvinarError

_POLL_INTERVAL_S = 0.1
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_BLOCKED_AT_START = (signal.SIGHUP, signal.SIGTERM)
_FIRST_DELAY_S = 1.0
# What Python states where the process that forks workers, and waits for them, has ended before them.
_UNKNOWN_EXIT_CODE = 255
_NO_WORKER = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

SHARED = "router.gateway.shared"
"""What the workers of a gateway share."""

WorkerTarget = Callable[[int], None]
"""What a worker runs, given its number from 0. It must be importable by name, for pickle."""


def unblock_signals() -> None:
    """Deliver the signals that were blocked while this process could not handle them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED_AT_START)


def start_sharing(module: str) -> bool:
    """Start to import the module that workers share, in a process of its own, from which they are then forked.

    It runs beside this one, has no other threads, and ends with this process. False where the system has no forks.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return False
    multiprocessing.set_forkserver_preload([module])
    # Another helper process of Python, whose start would unblock the signals again.
    resource_tracker.ensure_running()
    # A service manager signals all processes, and this one must not end before its workers.
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED_AT_START)
    try:
        with settings.importing_alike():
            forkserver.ensure_running()
    finally:
        unblock_signals()
    return True


def _begin(target: WorkerTarget, number: int) -> None:
    """Run a worker. It handles SIGTERM from here on, SIGHUP only once it calls `unblock_signals`."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    target(number)


class WorkerError(PulvinarError):
    """A worker exited right after its start, with `exit_code`."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code if exit_code > 0 else 1  # type: ignore[misc]  # a class attribute in the base class
        super().__init__("a worker failed to start; see the error above")


class _Slot:
    """The place of one worker: its present process, if any, and when the next one may start."""

    def __init__(self) -> None:
        self.process: BaseProcess | None = None
        self.generation = 0
        self.started_s = self.due_s = 0.0
        self.delay_s = 0.0

    @property
    def exit_code(self) -> int | None:
        """That of the process; None where there is none, or it runs."""
        code = None if self.process is None else self.process.exitcode
        return None if code == _UNKNOWN_EXIT_CODE and self._exists() else code

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.exit_code is None

    def join(self) -> None:
        """Wait until the process has exited."""
        if self.process is not None:
            self.process.join()
            while self.is_running:
                time.sleep(_POLL_INTERVAL_S)

    def _exists(self) -> bool:
        """Whether the process runs, whoever waits for it."""
        assert self.process is not None
        assert self.process.pid is not None
        try:
            descriptor = os.pidfd_open(self.process.pid)
        # It has exited, or the system cannot tell.
        except (AttributeError, OSError):
            return False
        try:
            return not select.select([descriptor], [], [], 0)[0]
        finally:
            os.close(descriptor)


class WorkerSupervisor:
    """Runs `target(number)` in `count` worker processes, which accept connections from `listener`.

    The process that calls `run` only supervises: it forwards SIGTERM, SIGINT and SIGHUP, and returns when all workers
    have exited. Where one of the first workers exits with an error within `min_uptime_s`, a replacement would fail too,
    so all are stopped. Any other worker that exits, or is killed, is replaced: at once if it ran for `min_uptime_s`,
    else after a time that doubles up to `max_delay_s`. SIGHUP is blocked in a worker until it calls `unblock_signals`.
    """

    def __init__(
        self,
        target: WorkerTarget,
        count: int,
        notify: Callable[[str], None],
        listener: socket.socket | None = None,
        min_uptime_s: float = 10.0,
        max_delay_s: float = 30.0,
        forks_from: str | None = None,
    ) -> None:
        """`forks_from` is the module of `start_sharing`; None where workers share nothing."""
        self._target, self._notify, self._listener = target, notify, listener
        self._min_uptime_s, self._max_delay_s = min_uptime_s, max_delay_s
        # A fork of this process would copy the locks of other threads in whatever state they are.
        shares = forks_from is not None and start_sharing(forks_from)
        self._context: Any = multiprocessing.get_context("forkserver" if shares else "spawn")
        self._slots = [_Slot() for _ in range(count)]
        self._is_stopping = False

    def run(self) -> None:
        """Run until stopped by a signal. Raises WorkerError if a worker of the first ones fails to start."""
        for forwarded in _FORWARDED:
            signal.signal(forwarded, self._on_signal)
        try:
            for number in range(len(self._slots)):
                if not self._is_stopping:
                    self._start(number)
            while not self._is_stopping:
                time.sleep(_POLL_INTERVAL_S)
                self._replace_exited()
                if self._listener is not None and not any(slot.is_running for slot in self._slots):
                    _turn_away(self._listener)
        except BaseException:
            self._stop(signal.SIGTERM)
            raise
        finally:
            # Connections would wait in its queue although no worker accepts them any more.
            if self._listener is not None:
                self._listener.close()
            for slot in self._slots:
                slot.join()

    def _start(self, number: int) -> None:
        slot = self._slots[number]
        worker = self._context.Process(target=_begin, args=(self._target, number), name=f"worker-{number}")
        # A child inherits this mask; a signal that it does not handle yet would end it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED_AT_START)
        try:
            worker.start()
            slot.process, slot.started_s = worker, time.monotonic()
            slot.generation += 1
        finally:
            unblock_signals()
        if self._is_stopping:
            # The signal came before this worker was registered.
            worker.terminate()

    def _replace_exited(self) -> None:
        for number, slot in enumerate(self._slots):
            if self._is_stopping:
                return
            if (exit_code := slot.exit_code) is not None:
                self._note_exit(number, slot, exit_code)
                slot.process = None
            if slot.process is None and time.monotonic() >= slot.due_s:
                self._restart(number, slot)

    def _restart(self, number: int, slot: _Slot) -> None:
        try:
            self._start(number)
        # Too little memory, or too many processes, at the moment.
        except OSError as error:
            self._delay(slot)
            self._notify(f"worker {number + 1} cannot be started: {error.strerror}; next try in {slot.delay_s:.0f} s")

    def _note_exit(self, number: int, slot: _Slot, exit_code: int) -> None:
        """Decide when the worker is replaced. Raises WorkerError where it shows that none can start."""
        was_short = time.monotonic() - slot.started_s < self._min_uptime_s
        # These are found at the start only, which may take long on a busy machine. A signal, such as that of a lack of
        # memory, says nothing about the configuration, and neither does a status that nobody knows.
        has_not_started = exit_code in (ConfigurationError.exit_code, PassingError.exit_code)
        has_failed = exit_code > 0 and exit_code != _UNKNOWN_EXIT_CODE
        if slot.generation == 1 and (has_not_started or (was_short and has_failed)):
            raise WorkerError(exit_code)
        if was_short:
            self._delay(slot)
        else:
            slot.delay_s = slot.due_s = 0.0
        when = f" in {slot.delay_s:.0f} s" if slot.delay_s else ""
        self._notify(f"worker {number + 1} exited with status {exit_code}; starting a replacement{when}")

    def _delay(self, slot: _Slot) -> None:
        slot.delay_s = min(max(2 * slot.delay_s, _FIRST_DELAY_S), self._max_delay_s)
        slot.due_s = time.monotonic() + slot.delay_s

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._send(number)
        else:
            self._stop(number)

    def _stop(self, number: int) -> None:
        self._is_stopping = True
        self._send(number)

    def _send(self, number: int) -> None:
        for slot in self._slots:
            if slot.is_running and slot.process is not None and slot.process.pid is not None:
                os.kill(slot.process.pid, number)


def _turn_away(listener: socket.socket) -> None:
    """Answer the connections that no worker is there to accept."""
    # The workers' copies of the socket share this mode, and need it.
    listener.setblocking(False)
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.setblocking(False)
                connection.send(_NO_WORKER)
                connection.shutdown(socket.SHUT_WR)
