"""Whether a canary does worse than the card whose conversations it shares: a test that may be read after every request.

The hypothesis is that bad answers are no more frequent at the canary. Its e-value is the likelihood of both counts,
mixed over all frequencies by Jeffreys' prior, divided by the greatest likelihood under the hypothesis (universal
inference: Wasserman, Ramdas & Balakrishnan 2020). At any one frequency that is at most a martingale that starts at 1,
whatever the order in which the two are asked, so the probability that it ever reaches 1/α is at most α (Ville).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

ALPHA = 0.01
"""The greatest probability of ever rolling back a canary that is no worse."""


def e_value(new: int, new_bad: int, old: int, old_bad: int) -> float:
    """The evidence against the hypothesis after `new` answers of the canary and `old` ones of its predecessor, of which
    `new_bad` and `old_bad` were bad; infinite where it exceeds the greatest float.
    """
    mixed = _mixture(new, new_bad) + _mixture(old, old_bad)
    if new_bad * old > old_bad * new:
        # The greatest likelihood is where both are equal.
        most = _likelihood(new + old, new_bad + old_bad)
    else:
        most = _likelihood(new, new_bad) + _likelihood(old, old_bad)
    return math.exp(min(mixed - most, 700.0))


def is_worse(new: int, new_bad: int, old: int, old_bad: int) -> bool:
    """Whether the canary is to be rolled back."""
    return e_value(new, new_bad, old, old_bad) >= 1 / ALPHA


def evidence_of_any_but_one(by_key: Iterable[tuple[int, int, int, int]]) -> float:
    """The evidence that is left whichever key's answers are left out: the least e-value, from the counts of each key as
    `e_value` takes them; 0 where there is one key only.

    A client chooses what it sends, and so can cause bad answers; so no key alone can cause a roll-back. If a key does
    send such requests, the value without it is an e-value of all others, so the bound of `ALPHA` holds for them. Nor
    can one hide that a canary is worse: of its bad answers from the predecessor no more count than the others have,
    and one.
    """
    keys = list(by_key)
    bad = sum(old_bad for _, _, _, old_bad in keys)
    fair = []
    for new, new_bad, old, old_bad in keys:
        excess = max(0, old_bad - (bad - old_bad) - 1)
        fair.append((new, new_bad, old - excess, old_bad - excess))
    total = [sum(column) for column in zip(*fair, strict=True)]
    left = ([all_ - own for all_, own in zip(total, key, strict=True)] for key in fair)
    return min((e_value(*counts) for counts in left), default=0.0) if len(keys) > 1 else 0.0


def _mixture(count: int, bad: int) -> float:
    """The logarithm of the likelihood of such a sequence, mixed over all frequencies."""
    return _log_beta(bad + 0.5, count - bad + 0.5) - _log_beta(0.5, 0.5)


def _likelihood(count: int, bad: int) -> float:
    """The logarithm of the greatest likelihood of such a sequence."""
    return sum(part * math.log(part / count) for part in (bad, count - bad) if part)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
