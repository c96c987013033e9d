"""`connections` in gateway.yaml: what clients may use before their API key is known."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from router.formats.quantities import ByteCount, Seconds

_MIN_HEAD_BYTES, _MAX_HEAD_BYTES = 4 * 2**10, 2**20
_MAX_S = 3600.0


class ConnectionLimits(
    Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"head_bytes": "head", "head_s": "head_time", "idle_s": "idle"},
):
    """The limits of connections and of the heads of requests, for each worker.

    `total` and `per_address`: open connections, in all and of one address (of one /64 in IPv6). Proxies in
    `trusted_proxies` have no limit per address. `head_bytes`: the request line and the
    headers together. `headers`: their number. `head_s`: the time in which a head must arrive. `idle_s`: how long a
    connection without a request stays open.
    """

    total: Annotated[int, Meta(ge=1, le=1_000_000)] = 8192
    per_address: Annotated[int, Meta(ge=1, le=1_000_000)] = 2048
    head_bytes: ByteCount = msgspec.field(default_factory=lambda: ByteCount(64 * 2**10))
    headers: Annotated[int, Meta(ge=16, le=10_000)] = 200
    head_s: Seconds = msgspec.field(default_factory=lambda: Seconds(20))
    idle_s: Seconds = msgspec.field(default_factory=lambda: Seconds(75))

    def __post_init__(self) -> None:
        if not _MIN_HEAD_BYTES <= self.head_bytes <= _MAX_HEAD_BYTES:
            raise ValueError("head: must be from 4KiB to 1MiB")
        for name, value in (("head_time", self.head_s), ("idle", self.idle_s)):
            if not 1 <= value <= _MAX_S:
                raise ValueError(f"{name}: must be from 1s to 1h")
