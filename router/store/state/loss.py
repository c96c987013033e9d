"""`state` in gateway.yaml: what a gateway does while the state that it shares with others does not respond."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from router.formats.quantities import Seconds

OnLoss = Literal["share", "deny"]
_MAX_TIMEOUT_S = 10.0


class LossRules(Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to each kind of counter while the shared state does not respond.

    `share`: this gateway continues alone, with its part of the limit; of conversations, with those that it has answered
    itself. `deny`: requests that need the counter get 503.
    """

    rate_limits: OnLoss = "share"
    budgets: OnLoss = "deny"
    conversations: OnLoss = "share"


class SharedState(Struct, frozen=True, forbid_unknown_fields=True, rename={"timeout_s": "timeout"}, kw_only=True):
    """How a state on another machine is used; the state in a folder has no such settings.

    `replicas`: the number of gateways that share it, by which limits are divided where it is lost; by default the
    number that was last seen. `timeout_s`: the longest time that a request waits for one answer of it.
    """

    on_loss: LossRules = msgspec.field(default_factory=LossRules)
    replicas: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    timeout_s: Seconds = msgspec.field(default_factory=lambda: Seconds(0.5))

    def __post_init__(self) -> None:
        if not 0.01 <= self.timeout_s <= _MAX_TIMEOUT_S:
            raise ValueError("timeout: must be from 10ms to 10s")
