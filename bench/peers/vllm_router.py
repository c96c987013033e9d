"""The vLLM router, in Rust: it balances load between servers of one model and reads little of a request."""

from __future__ import annotations

from pathlib import Path

from bench.gateway.contender import Contender
from bench.gateway.processes import Start, free_port
from bench.peers.environment import install_python

_VERSION = "0.1.17"


class VllmRouter:
    name = f"vllm-router {_VERSION}"
    key = "vllm-router"

    def install(self, folder: Path) -> None:
        """Install it from PyPI."""
        install_python(folder, f"vllm-router=={_VERSION}")

    def contender(self, folder: Path, scratch: Path, upstream: int) -> Contender:
        """The router with one worker, round robin."""
        port = free_port()
        options = {
            "--host": "127.0.0.1",
            "--port": str(port),
            "--worker-urls": f"http://127.0.0.1:{upstream}",
            "--policy": "round_robin",
            "--worker-startup-check-interval": "1",
            "--prometheus-port": str(free_port()),
            "--log-level": "error",
        }
        command = (str(folder / "bin" / "vllm-router"), *(part for pair in options.items() for part in pair))
        return Contender(self.name, Start(command, scratch, port, ("/health",)), "bench")
