"""Intervals for a mean that hold at every time at once, so that whoever looks after every observation is not misled.

Asymptotic confidence sequences (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, "Time-uniform central limit theory and
asymptotic confidence sequences", Annals of Statistics 2024, theorem 2.2): with a probability of about 1 - α, no mean is
ever outside of its interval, however often it is looked at. The observations need not be alike; their mean is that of
what was expected of each given those before.
"""

from __future__ import annotations

import math

import numpy as np

from router.types import Doubles

TIGHTEST_AT = 300
"""The number of observations for which the intervals are as narrow as they can be; they are valid for any number."""


def radius(count: Doubles | float, std: Doubles | float, alpha: float) -> Doubles:
    """Half the width of the interval for the mean of `count` observations with this standard deviation.

    Both may be arrays of one shape; infinite where there are none.
    """
    # The value of ρ that is best at `TIGHTEST_AT` (there, appendix B.2).
    spread = -2 * math.log(alpha)
    rho2 = (spread + math.log(spread + 1)) / TIGHTEST_AT
    count, std = np.asarray(count, dtype=np.float64), np.asarray(std, dtype=np.float64)
    known = np.maximum(count, 1.0)
    scaled = known * rho2 + 1
    half: Doubles = std * np.sqrt(2 * scaled / (known * known * rho2) * np.log(np.sqrt(scaled) / alpha))
    return np.where(count > 0, half, np.inf)
