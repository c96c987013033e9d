"""What every gateway that is measured states about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from bench.gateway.processes import Start

CHAT = "/v1/chat/completions"


class Contender(msgspec.Struct, frozen=True):
    """A gateway, how it is started, and how its clients ask for a chat. Without a start: the upstream itself."""

    name: str
    start: Start | None
    model: str
    path: str = CHAT
    headers: dict[str, str] = {}


class Peer(Protocol):
    """Somebody else's gateway, installed in a folder of its own."""

    name: str
    key: str
    """What its folder is called."""

    def install(self, folder: Path) -> None:
        """Install it into the empty `folder`. Raises subprocess.CalledProcessError or OSError."""

    def contender(self, folder: Path, scratch: Path, upstream: int) -> Contender:
        """It, with the model server on port `upstream` of loopback behind it; files it needs go into `scratch`."""
