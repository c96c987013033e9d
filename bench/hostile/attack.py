"""The description of an attack."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from bench.hostile.bed import Bed

GROWTH_MB = 256.0
"""How much the gateway's memory may grow under any attack; a worker takes at most this in bodies and connections."""

SPARE_FILES = 32
"""How many more descriptors than before may be open a while after an attack: kept connections to upstreams."""


class Attack(msgspec.Struct, frozen=True, kw_only=True):
    """One attack.

    `run` attacks until `bed.ends` and returns the problems that only this attack can see; empty if there are none.
    `settings` become the gateway.yaml, `evil` the fields of the attacker's key. `shell` wraps the command of the
    gateway, which is "$@" in it. `native`: it needs settings or paths that only this gateway has, so that others are
    not measured. `honest_retries`: how often honest clients repeat a request whose connection broke, as every SDK does;
    only where connections must break: those of a killed process, and idle ones where there are too many.
    """

    name: str
    run: Callable[[Bed], Awaitable[list[str]]]
    settings: Mapping[str, Any] = {}
    evil: Mapping[str, Any] = {}
    workers: int = 1
    shell: str = ""
    native: bool = False
    honest_retries: int = 0
    anthropic: bool = False
    """Whether the gateway has cards of Anthropic, too, for which it imports litellm as it starts."""
    state_url: str = ""
    """Where the gateway keeps its counters, if not in its store."""
    allowed_usd: float | None = None
    """The most that the attacker may cost: its budget and one request."""
