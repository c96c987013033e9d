"""A real PostgreSQL server for tests: started, killed, paused, with a database for whoever needs one."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

USER, PASSWORD = "pulvinar", "pass-word-4711"
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "fatal",
}


def program(name: str) -> str | None:
    """Where PostgreSQL's program is: Debian's are in no folder of PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda file: int(file.parts[-3]))
    return str(versions[-1]) if versions else shutil.which(name)


class Server:
    """A server in a folder of its own. It never runs as root, which it refuses."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder, self._settings = folder, {**_SETTINGS, **settings}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        self._as: dict[str, object] = {}
        if os.getuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            self._as = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        word = folder / "word"
        word.write_text(PASSWORD)
        word.chmod(0o644)
        self._run("initdb", "-D", str(folder / "data"), "-U", USER, "-A", "scram-sha-256", f"--pwfile={word}", "-N")

    def _run(self, name: str, *arguments: str) -> None:
        command = [program(name) or name, *arguments, *(["-E", "UTF8"] if name == "initdb" else [])]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **self._as)  # type: ignore[call-overload]

    def start(self) -> None:
        """Start, and wait until the server answers."""
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = [program("postgres") or "postgres", "-D", str(self.folder / "data"), "-p", str(self.port), *options]
        for _ in range(600):
            if self._process is None or self._process.poll() is not None:
                # After a crash the first attempts fail, until the last process of the old server has gone.
                self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd="/", **self._as)  # type: ignore[call-overload]
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                if self._answers():
                    return
            time.sleep(0.05)
        raise AssertionError("PostgreSQL did not start")

    def _answers(self) -> bool:
        ready = [program("pg_isready") or "pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-t", "2"]
        return subprocess.run(ready, check=False, stdout=subprocess.DEVNULL).returncode == 0

    def stop(self) -> None:
        """Stop at once; committed transactions stay."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()

    def kill(self) -> None:
        """Kill -9 of every process of the server."""
        assert self._process is not None
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """During the block, the server accepts connections and answers none."""
        pids = self._processes()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @property
    def pid(self) -> int:
        """The process whose children are the others."""
        assert self._process is not None
        return self._process.pid

    def _processes(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [self.pid, *map(int, children.split())]

    def url(self, database: str) -> str:
        """The URL of a database."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def psql(self, database: str, sql: str) -> str:
        """What a command prints."""
        command = [program("psql") or "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", self.url(database)]
        return subprocess.run([*command, "-c", sql], check=True, capture_output=True, text=True, cwd="/").stdout.strip()

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new database, which is deleted afterwards."""
        name = f"d{next(self._numbers)}"
        self.psql("postgres", f"CREATE DATABASE {name}")
        yield self.url(name)
        self.psql("postgres", f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def running(**settings: str) -> Iterator[Server]:
    """A server, by default one that syncs no file; the test is skipped where there is no PostgreSQL."""
    if program("initdb") is None:
        pytest.skip("PostgreSQL is not installed here (scripts/system installs Debian's)")
    # Not below pytest's folder, which only its user may enter.
    with tempfile.TemporaryDirectory(prefix="pulvinar-postgres-") as name:
        server = Server(Path(name), settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()
