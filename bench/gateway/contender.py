"""The description of a gateway under test."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from bench.gateway.processes import Start

CHAT = "/v1/chat/completions"


class Contender(msgspec.Struct, frozen=True):
    """A gateway: how it is started, and how its clients send a chat request. Without `start`: the upstream itself."""

    name: str
    start: Start | None
    model: str
    path: str = CHAT
    headers: dict[str, str] = {}


class Peer(Protocol):
    """Another gateway, installed in a separate folder."""

    name: str
    key: str
    """The name of its folder."""

    def install(self, folder: Path) -> None:
        """Install it into the empty `folder`. Raises subprocess.CalledProcessError or OSError."""

    def contender(self, folder: Path, scratch: Path, upstream: int) -> Contender:
        """This gateway in front of the model server on loopback port `upstream`; its files are written to `scratch`."""
