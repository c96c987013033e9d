"""Whose votes count how much: no tenant alone makes or enlarges a correction of another tenant's forecasts.

A *slot* has the votes of one tenant, so that each of them can be left out. Slot 0 is trusted: the operator. The last
slot has all tenants beyond the named ones together.

A correction for a tenant is the smallest in magnitude of the estimates that leave out one other tenant, and 0 where
these differ in sign. So whatever tenant `k` votes, the correction of everybody else's forecast lies between 0 and the
estimate of all others, `E_-k`, which does not depend on the votes of `k`. In each of these estimates, a tenant's votes
weigh at most `MOST_SHARE` of those of all others, and less the more they disagree with these: Tukey's biweight, which
is 0 from a disagreement of 1.85 `SCALE` on. With a weight that is never 0, the false votes of one tenant would stand
among all estimates but one, and only that one would say what the others say.
"""

from __future__ import annotations

import numpy as np

from router.types import Doubles

NAMED = 6
TRUSTED, POOLED = 0, NAMED + 1
SLOTS = NAMED + 2

MOST_SHARE, ALLOWANCE = 0.5, 10.0
"""What a tenant's votes weigh at most: this share of those of all others, or so many votes of full weight."""
RECENT_ALLOWANCE = 2.0
"""As `ALLOWANCE`, of the recent votes on a card, which are a few dozen at most."""
SCALE, DOUBT = 0.2, 10.0
"""At which disagreement votes weigh half, and how many votes on either side make a disagreement half certain."""

_AT_HALF = 1.0 - np.sqrt(0.5)
_TINY = 1e-9


def left_out_weights(counts: Doubles, sums: Doubles, asker: int | None) -> Doubles:
    """The factors `(estimates, SLOTS)` with which slots count in each estimate, which leaves out one slot of another
    tenant.

    `counts` and `sums` `(SLOTS,)` are the votes on a card and their residuals; `asker` is the slot of the tenant whose
    forecast is corrected, None where it has none of its own. Its own votes count fully.
    """
    others = [slot for slot in range(1, SLOTS) if slot != asker]
    kept = np.ones((len(others), SLOTS))
    kept[np.arange(len(others)), others] = 0.0
    free = np.zeros(SLOTS, dtype=np.bool_)
    free[TRUSTED] = True
    if asker is not None:
        free[asker] = True
    votes = kept * counts
    elsewhere = votes.sum(axis=1, keepdims=True) - votes
    most = np.maximum(ALLOWANCE, MOST_SHARE * elsewhere)
    share = np.where(free, 1.0, np.minimum(1.0, most / np.maximum(votes, _TINY)))
    weights = kept * share
    votes, residuals = weights * counts, weights * sums
    elsewhere = votes.sum(axis=1, keepdims=True) - votes
    mean_elsewhere = (residuals.sum(axis=1, keepdims=True) - residuals) / np.maximum(elsewhere, _TINY)
    certain = votes / (votes + DOUBT) * elsewhere / (elsewhere + DOUBT)
    disagreement = (residuals / np.maximum(votes, _TINY) - mean_elsewhere) * certain
    agreement = np.maximum(1.0 - _AT_HALF * np.square(disagreement / SCALE), 0.0)
    trust = np.where(free, 1.0, np.square(agreement))
    weighted: Doubles = weights * trust
    return weighted


def recent_shares(recent: Doubles, asker: int | None) -> Doubles:
    """The factors `(estimates, SLOTS)` that cap the share of each tenant among the weights of `recent` votes.

    A card that is no longer chosen has votes of those only who vote on it all the same.
    """
    elsewhere = recent.sum(axis=1, keepdims=True) - recent
    shares = np.minimum(1.0, np.maximum(RECENT_ALLOWANCE, MOST_SHARE * elsewhere) / np.maximum(recent, _TINY))
    # Where nobody else votes, there is nothing to compare with.
    shares = np.where(elsewhere < RECENT_ALLOWANCE, 1.0, shares)
    shares[:, [TRUSTED] if asker is None else [TRUSTED, asker]] = 1.0
    return shares


def pace_of_forgetting(recent: Doubles, slot: int) -> Doubles:
    """How much of a half-life a vote in `slot` makes each slot forget `(estimates, SLOTS)`, by the weights of `recent`
    votes: its own votes fully, those of others less where it has more recent votes than all others together.

    Otherwise the votes of one tenant that goes on voting would replace those of all others.
    """
    own = recent[:, slot]
    pace = np.repeat(np.minimum((recent.sum(axis=1) - own) / np.maximum(own, _TINY), 1.0)[:, None], SLOTS, axis=1)
    pace[:, slot] = 1.0
    return pace


def smallest(estimates: Doubles) -> Doubles:
    """The smallest in magnitude of estimates `(cells, estimates)` for each cell; 0 where they differ in sign."""
    low, high = estimates.min(axis=1), estimates.max(axis=1)
    return np.where(low > 0, low, np.where(high < 0, high, 0.0))
