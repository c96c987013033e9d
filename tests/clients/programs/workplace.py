"""Where an agent runs: folders of its own, an environment of its own, and no host but the gateway."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

NOTE = "the code is 4711"


@dataclass
class Trap:
    """A proxy on a loopback port that records what is asked of it, and closes the connection."""

    port: int = 0
    asked: list[str] = field(default_factory=list)

    def accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(1)
                    self.asked.append(connection.recv(2000).partition(b"\r\n")[0].decode(errors="replace"))


@contextlib.contextmanager
def proxy_trap() -> Iterator[Trap]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        trap = Trap(listener.getsockname()[1])
        thread = threading.Thread(target=trap.accept, args=(listener,), daemon=True)
        thread.start()
        yield trap
        # Closing a listening socket does not wake a thread that waits for connections.
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(2)


@dataclass(frozen=True)
class Workplace:
    """A home folder, a folder with `note.txt`, and the proxy that nothing may use."""

    home: Path
    folder: Path
    trap: Trap

    @property
    def note(self) -> Path:
        return self.folder / "note.txt"

    def write_home(self, files: Mapping[str, str]) -> None:
        """Write these files below the home folder."""
        for name, content in files.items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")

    def run(
        self, command: Sequence[str | Path], environment: Mapping[str, str], stdin: str = "", tolerated: str = ""
    ) -> str:
        """The standard output of the command. It must succeed.

        It may connect to this machine only, and is refused any other host; `tolerated` is how the names of hosts begin
        for which it may ask all the same.
        """
        proxy = f"http://127.0.0.1:{self.trap.port}"
        own = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8", "TERM": "dumb"}
        proxies = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": "127.0.0.1,localhost"}
        proxies |= {name.lower(): value for name, value in proxies.items()}
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env={**own, **proxies, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        asked = [line for line in self.trap.asked if not (tolerated and f" {tolerated}" in line)]
        assert not asked, f"it asked for other hosts: {asked}"
        return ended.stdout
