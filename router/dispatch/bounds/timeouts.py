"""The time limits of calls and exchanges."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from router.formats.quantities import Seconds

FAIR_SHARE = 4
"""An upstream that had less than the whole time divided by this shows nothing about itself when the time is over."""


class Timeouts(
    Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={
        "connect_s": "connect",
        "first_token_s": "first_token",
        "idle_s": "idle",
        "total_s": "total",
        "send_s": "send",
    },
):
    """Time limits: of an upstream call to connect, to the first content, and between two chunks of a stream; of the
    whole exchange with all its calls and waiting; and for a client to take the next part of its answer.
    """

    # Factories, because msgspec cannot write a quantity's default into a JSON Schema.
    connect_s: Seconds = msgspec.field(default_factory=lambda: Seconds(5))
    first_token_s: Seconds = msgspec.field(default_factory=lambda: Seconds(60))
    idle_s: Seconds = msgspec.field(default_factory=lambda: Seconds(120))
    total_s: Seconds = msgspec.field(default_factory=lambda: Seconds(600))
    send_s: Seconds = msgspec.field(default_factory=lambda: Seconds(60))

    def within(self, first_s: float, left_s: float) -> Timeouts:
        """These limits for a call that has `first_s` seconds to its first content, and `left_s` in all."""
        first_s, left_s = min(self.first_token_s, max(first_s, 0.0)), min(self.total_s, max(left_s, 0.0))
        return msgspec.structs.replace(self, first_token_s=Seconds(first_s), total_s=Seconds(left_s))
