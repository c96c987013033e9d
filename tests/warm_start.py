"""`route` in forks of one process that has imported what a gateway needs, which takes most of the CPU of a start.

A fork is a process of its own, in a session of its own, as if it had been started alone: with the environment, the
folder and the log of its `Start`.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

import msgspec

from bench.gateway.processes import Process, Start, StartError, bare_environment

ROOT = Path(__file__).parents[1]
Warm = Callable[[Start], Start]
"""Lets a start be launched as a fork."""
_CLI = str(ROOT / "cli.py")


class _Asked(msgspec.Struct, tag=True):
    """What a fork needs to know; its log comes as a file."""

    folder: str
    environment: dict[str, str]
    arguments: tuple[str, ...]
    litellm: bool


class _Ended(msgspec.Struct, tag=True):
    """The exit code of a fork that has ended is asked for."""

    pid: int


class _Fork:
    """A process of which another one is the parent, with the methods of Popen that a caller needs."""

    def __init__(self, pid: int, server: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        # Its parent waits for it only once it is asked to, so that the number is still this process.
        self._ended = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Its exit code once it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns its exit code. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("route", timeout or 0)
            self._server.sendall(msgspec.json.encode(_Ended(self.pid)))
            self.returncode = int(self._server.recv(20))
            self.close()
        return self.returncode

    def close(self) -> None:
        """Give the file descriptor back."""
        if self._ended >= 0:
            os.close(self._ended)
            self._ended = -1


@contextlib.contextmanager
def warm_starts(shim: Path | None = None) -> Iterator[Callable[..., Start]]:
    """Yields a function that lets a `Start` of `cli.py` be launched as a fork; one of another command stays as it is.

    With `litellm=True` that is imported, too, and from then on every fork has it. `shim` is a library as
    `tests.faults.io.shim` builds it, under which all run; it begins in a fork.
    """
    ours, theirs = socket.socketpair()
    with ours, contextlib.ExitStack() as forks:
        command = (sys.executable, "-m", "tests.warm_start", str(theirs.fileno()), *([str(shim)] if shim else []))
        environment = bare_environment() | {"OMP_NUM_THREADS": "1"} | ({"LD_PRELOAD": str(shim)} if shim else {})
        with theirs:
            server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, cwd=ROOT, env=environment, pass_fds=[theirs.fileno()]
            )

        def launch(litellm: bool, start: Start, environment: dict[str, str], log: BinaryIO) -> Process:
            asked = _Asked(str(start.folder), environment, start.command[2:], litellm)
            try:
                socket.send_fds(ours, [msgspec.json.encode(asked)], [log.fileno()])
                pid = int(ours.recv(20))
            except (OSError, ValueError) as error:
                raise StartError(f"the process that forks has ended with code {server.wait(10)}") from error
            fork = _Fork(pid, ours)
            forks.callback(fork.close)
            return fork

        def warm(start: Start, *, litellm: bool = False) -> Start:
            if start.command[:2] != (sys.executable, _CLI):
                return start
            return msgspec.structs.replace(start, launch=functools.partial(launch, litellm))

        try:
            yield warm
        finally:
            ours.close()
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
                raise


def _serve(asking: socket.socket, begin: Callable[[], object]) -> None:
    """Fork as often as is asked for, until nobody can ask. A fork calls `begin` once it has its environment."""
    from router import loading, settings
    from router.commands import command, serve
    from router.gateway import shared
    from router.gateway.server import serve as serving

    command()
    assert all((loading, serve, serving, shared))
    while True:
        content, files, _, _ = socket.recv_fds(asking, 1 << 20, 1)
        if not content:
            return
        asked = msgspec.json.decode(content, type=_Asked | _Ended)
        if isinstance(asked, _Ended):
            status = os.waitpid(asked.pid, 0)[1]
            asking.sendall(str(os.waitstatus_to_exitcode(status)).encode())
            continue
        if asked.litellm:
            settings.prepare_litellm()
            importlib.import_module("litellm.llms.custom_httpx.http_handler")
        # A search for garbage would copy what forks share.
        gc.collect()
        gc.freeze()
        if (pid := os.fork()) == 0:
            asking.close()
            _run(asked, files[0], begin)
        os.close(files[0])
        asking.sendall(str(pid).encode())


def _run(asked: _Asked, log: int, begin: Callable[[], object]) -> NoReturn:
    """Run the command, which ends the process."""
    from router.commands import main

    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for standard in (1, 2):
            os.dup2(log, standard)
        os.close(log)
        os.chdir(asked.folder)
        os.environ.clear()
        os.environ.update(asked.environment)
        begin()
        sys.argv = [_CLI, *asked.arguments]
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - where the interpreter would show it
        traceback.print_exc()
    finally:
        # As at the end of every interpreter.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 255)


if __name__ == "__main__":
    # Whoever asks ends it, and not a terminal that signals all processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor, *libraries = sys.argv[1:]
    _serve(socket.socket(fileno=int(descriptor)), ctypes.CDLL(libraries[0]).shim_begin if libraries else lambda: None)
