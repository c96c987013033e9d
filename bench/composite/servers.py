"""A llama.cpp server with adapters, and the gateway before it, as processes of their own on loopback ports."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.gateway.processes import Start, free_port, running
from router import settings

_ROOT = Path(__file__).parents[2]
MODEL_NAME = "smollm2"
BASE = "base"
"""The card of the model without an adapter."""


class LlamaServer:
    """llama.cpp's server, which can be started again at its port after `kill`. `python` has xllamacpp; the adapters
    have the ids of their order.
    """

    def __init__(
        self, python: str, model: Path, adapters: Sequence[Path] = (), slots: int = 1, threads: int = 1
    ) -> None:
        self.port = free_port()
        script = Path(__file__).parent / "llama_server.py"
        numbers = map(str, (self.port, slots, threads))
        self._command = [python, str(script), str(model), MODEL_NAME, *numbers, *map(str, adapters)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The base URL of its API."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Start it, and return once it listens. Ends the program where it does not start."""
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise SystemExit(f"the llama.cpp server did not start: {' '.join(self._command)}")

    def kill(self) -> None:
        """End it at once, whatever it is answering."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextlib.contextmanager
def llama_server(
    python: str, model: Path, adapters: Sequence[Path] = (), slots: int = 1, threads: int = 1
) -> Iterator[LlamaServer]:
    """A running llama.cpp server."""
    server = LlamaServer(python, model, adapters, slots, threads)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def write_cards(folder: Path, url: str, examples: Mapping[str, Sequence[str]]) -> None:
    """The cards of the base and of its adapters, in the order of the server; these state their `examples` alone."""
    folder.mkdir(parents=True)
    common = {"provider": "hosted_vllm", "model": MODEL_NAME}
    base: dict[str, Any] = {
        "id": BASE,
        **common,
        "base_url": url,
        "lora_slots": list(examples),
        "adapters": {"server": "llama.cpp"},
    }
    adapters = [
        {"id": name, "kind": "adapter", "base": BASE, **common, "examples": list(of_name)}
        for name, of_name in examples.items()
    ]
    # JSON is YAML.
    for card in (base, *adapters):
        (folder / f"{card['id']}.yaml").write_text(json.dumps(card))


@contextlib.contextmanager
def gateway(scratch: Path, cards: Path, plans: Sequence[Mapping[str, Any]] = ()) -> Iterator[str]:
    """The base URL of a running `route serve` with these cards and plans, and the shipped policies. `scratch` gets its
    files.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "plans").mkdir()
    # On a busy machine a server needs longer than usual to load its model.
    (scratch / "gateway.yaml").write_text(json.dumps({"queue": {"wait": "60s"}}))
    for plan in plans:
        (scratch / "plans" / f"{plan['id']}.yaml").write_text(json.dumps(plan))
    port = free_port()
    arguments = ("--port", str(port), "--cards", str(cards), "--policies", str(settings.shipped_policies_folder()))
    start = Start(
        (sys.executable, str(_ROOT / "cli.py"), "serve", *arguments),
        scratch,
        port,
        ready=("/readyz", "/healthz"),
        environment={
            "PULVINAR_STORE": str(scratch / "store"),
            "PULVINAR_CACHE": str(scratch / "cache"),
            "PULVINAR_GATEWAY": str(scratch / "gateway.yaml"),
            "PULVINAR_KEYS": str(scratch / "keys.yaml"),
            "PULVINAR_PLANS": str(scratch / "plans"),
            "OMP_NUM_THREADS": "1",
        },
    )
    with running(start, scratch / "gateway.log"):
        yield f"http://127.0.0.1:{port}/v1"
