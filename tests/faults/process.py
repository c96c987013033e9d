"""`route serve` in a separate process, in front of the fault upstream."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.gateway.processes import Server, Start, free_port, running
from router import settings
from router.cards import Card
from router.cards.schema import to_plain
from tests.faults.gateways import KEY, KEY_VARIABLE

_ROOT = Path(__file__).parents[2]


def write_cards(folder: Path, cards: Iterable[Card]) -> Path:
    """Write `cards` as files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for card in cards:
        (folder / f"{card.id}.yaml").write_text(yaml.safe_dump(to_plain(card), sort_keys=False), encoding="utf-8")
    return folder


def route_serve(
    folder: Path,
    cards: Iterable[Card],
    settings_document: Mapping[str, Any] | None = None,
    arguments: Iterable[str] = (),
) -> Start:
    """The command that serves `cards` and writes only into `folder`. `settings_document` becomes its gateway.yaml.

    It stops at once, where `arguments` do not say otherwise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    gateway = folder / "gateway.yaml"
    if settings_document is not None:
        gateway.write_text(json.dumps(settings_document), encoding="utf-8")
    command = [sys.executable, str(_ROOT / "cli.py"), "serve", "--port", str(port), "--drain", "0"]
    command += ["--cards", str(write_cards(folder / "cards", cards))]
    command += ["--policies", str(settings.shipped_policies_folder())]
    environment = {
        KEY_VARIABLE: KEY,
        "OMP_NUM_THREADS": "1",
        "PULVINAR_CACHE": str(folder / "cache"),
        "PULVINAR_EVIDENCE": str(folder / "evidence"),
        "PULVINAR_GATEWAY": str(gateway),
        "PULVINAR_KEYS": str(folder / "keys.yaml"),
        "PULVINAR_STORE": str(folder / "store"),
    }
    return Start((*command, *arguments), folder, port, ("/readyz", "/healthz"), environment)


@contextlib.contextmanager
def served(start: Start) -> Iterator[tuple[str, Server]]:
    """Run it; yields its URL and the process."""
    with running(start, start.folder / "serve.log") as server:
        yield f"http://127.0.0.1:{server.port}", server


def peak_mb(pid: int) -> float:
    """The peak resident memory of a process, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(pid)
