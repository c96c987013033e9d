"""What is asked of an upstream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from router.types import Api


class Call(Struct, frozen=True, eq=False):
    """A client's request as it goes to any card: `api` is the protocol that the client speaks.

    `headers` are the client's, in lower case; only those that concern the model are forwarded. `again`: the same call
    has just failed at the same place.
    """

    api: Api
    body: Mapping[str, Any]
    stream: bool = False
    headers: Mapping[str, str] = {}
    again: bool = False

    @property
    def asks_for_usage(self) -> bool:
        """Whether the client wants the event that tells a stream's usage."""
        options = self.body.get("stream_options")
        return bool(options.get("include_usage")) if isinstance(options, Mapping) else False
