"""Pulvinar's gateway with the facts of the built-in cards, all served by the upstream of the benchmark."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.gateway.contender import Contender
from bench.gateway.processes import Start, free_port
from router import settings
from router.formats.yaml.file import read_yaml

_ROOT = Path(__file__).parents[2]
ROUTED, NAMED = "Pulvinar, routing on", "Pulvinar, routing off"
_CARD = "llama-3.1-8b-instruct"
_READY = ("/readyz", "/healthz")
# Without servers for the built-in cards the gateway may be up but not ready.
_UP = ("/healthz",)


def model_names() -> list[str]:
    """The models that the upstream must list."""
    return [card["model"] for card in _cards()]


def contenders(scratch: Path, upstream: int, arguments: Sequence[str], settings_file: Path | None) -> list[Contender]:
    """With routing and without. `arguments` are additional ones of `route serve`; `settings_file` is a gateway.yaml."""
    cards = scratch / "cards"
    cards.mkdir(parents=True, exist_ok=True)
    for number, card in enumerate(_cards()):
        # A loopback server for every card, so that routing has all candidates and every one can be called.
        served = card | {"provider": "hosted_vllm", "base_url": f"http://127.0.0.1:{upstream}/v1"}
        served.pop("api_key_env", None)
        (cards / f"{number}.yaml").write_text(yaml.safe_dump(served, sort_keys=False, allow_unicode=True))
    return [
        Contender(name, _start(scratch / key, ["--cards", str(cards), *arguments], settings_file), model)
        for name, key, model in (
            (ROUTED, "routing-on", "auto"),
            (NAMED, "routing-off", _CARD),
        )
    ]


def untouched(scratch: Path, number: int) -> Start:
    """`route serve` with the unchanged built-in cards."""
    return _start(scratch / f"untouched-{number}", ["--cards", str(settings.shipped_cards_folder())], None, _UP)


def _start(
    folder: Path, arguments: Sequence[str], settings_file: Path | None, ready: tuple[str, ...] = _READY
) -> Start:
    folder.mkdir(parents=True)
    port = free_port()
    serve = (sys.executable, str(_ROOT / "cli.py"), "serve", "--port", str(port))
    policies = ("--policies", str(settings.shipped_policies_folder()))
    return Start(
        (*serve, *policies, *arguments),
        folder,
        port,
        ready,
        {
            "PULVINAR_STORE": str(folder / "store"),
            "PULVINAR_CACHE": str(folder / "cache"),
            "PULVINAR_GATEWAY": str(settings_file or folder / "gateway.yaml"),
            "PULVINAR_KEYS": str(folder / "keys.yaml"),
            "OMP_NUM_THREADS": "1",
        },
    )


def _cards() -> list[dict[str, Any]]:
    files = sorted(settings.shipped_cards_folder().glob("*.yaml"))
    return [read_yaml(file)[0] for file in files]
