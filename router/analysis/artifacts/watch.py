"""Whether a promoted artifact holds what it forecast: the drift test on the judgements since its promotion.

The test of `router.analysis.drift` compares judgements with the new artifact's forecasts. Its level hardly moves here:
an artifact that is wrong from the beginning is what it looks for. Where the answers are worse than forecast, the
artifact is to blame only if the previous one's forecasts of the same answers were nearer; else something broke that no
artifact knew of.
"""

from __future__ import annotations

import msgspec
import numpy as np
from msgspec import Struct

from router.analysis.drift.cusum import RULE, Cusum
from router.analysis.drift.judged import COLUMNS, CardDrift, Judged, open_alarms
from router.analysis.drift.stored import from_bytes, to_bytes

_WATCH_RULE = msgspec.structs.replace(RULE, prior=RULE.memory, head_start=0.3)
_HALF_LIFE = 200.0
_LEAST, _GREATEST = 1e-3, 1.0 - 1e-3
_FORMAT = 1


class ForecastedTwice(Struct, frozen=True):
    """A judged answer with the forecast of the promoted artifact (in `judged`) and that of the previous one."""

    judged: Judged
    previous: float


class Watch(Struct, frozen=True, eq=False):
    """The test of one promotion, named `promotion`: an artifact that is promoted once more is tested anew.

    `excess` is by how much the logarithmic loss of the artifact is greater than that of the previous one, summed over
    recent judgements.
    """

    promotion: str
    drift: CardDrift
    excess: float = 0.0

    @classmethod
    def start(cls, promotion: str) -> Watch:
        """Nothing was judged yet."""
        tests = Cusum.start(COLUMNS, _WATCH_RULE)
        return cls(promotion, msgspec.structs.replace(CardDrift.empty(promotion), tests=tests))

    def add(self, answer: ForecastedTwice, *, one_key: bool = False) -> Watch:
        """After one more judgement; `one_key`: there are no two keys."""
        judged = msgspec.structs.replace(answer.judged, kind="")
        lost = _loss(judged.value, judged.expected) - _loss(judged.value, answer.previous)
        drift = self.drift.add(judged, one_key=one_key)
        return Watch(self.promotion, drift, self.excess * 0.5 ** (1.0 / _HALF_LIFE) + lost)

    def why_worse(self, *, one_key: bool) -> str | None:
        """Why the artifact should be rolled back; None where it should not. `one_key`: one key may say so alone."""
        if self.excess <= 0:
            return None
        alarms = (each for _, each in open_alarms({self.promotion: self.drift}, one_key=one_key))
        found = next((each for each in alarms if each.direction == "worse"), None)
        if found is None:
            return None
        return (
            f"{found.judged} judged answers were right in {found.value:.0%} of the cases where {found.expected:.0%} "
            "were forecast, and the forecasts of the previous artifact were nearer"
        )

    def to_bytes(self) -> bytes:
        """What workers and gateways share."""
        return msgspec.msgpack.encode((_FORMAT, self.promotion, self.excess, to_bytes(self.drift)))

    @classmethod
    def from_bytes(cls, content: bytes) -> Watch:
        """The inverse of `to_bytes`. Raises ValueError for content that was never written so."""
        try:
            format_, promotion, excess, drift = msgspec.msgpack.decode(content, type=tuple[int, str, float, bytes])
        except msgspec.DecodeError as error:
            raise ValueError(f"is damaged: {error}") from None
        if format_ != _FORMAT or not np.isfinite(excess):
            raise ValueError("is damaged, or of another release")
        return cls(promotion, from_bytes(drift), excess)


def _loss(value: float, forecast: float) -> float:
    within = min(max(forecast, _LEAST), _GREATEST)
    return float(-value * np.log(within) - (1.0 - value) * np.log(1.0 - within))
