"""Whether one card may take the place of another: what changes on the same prompts, and the verdict.

A model that is better on average may still fail where its predecessor was right: a negative flip (Yan et al. 2021,
"Positive-Congruent Training"; MUSCLE, arXiv:2407.09435). Backward trust compatibility (BTC) and backward error
compatibility (BEC) are those of Srivastava et al. 2020, "An Empirical Analysis of Backward Compatibility in Machine
Learning Systems".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from router.errors import CallerError
from router.learn.solving.result import wilson
from router.types import Doubles, Mask

RIGHT = 0.5
"""The least score that counts as right."""

DRAWS = 10_000
"""Bootstrap draws of the intervals."""

_PERCENTILES = (2.5, 97.5)
_BLOCK = 2_000_000
_EQUAL = 1e-12
_ADDED = (1.0, -1.0)
"""Changes of two prompts that are added to those that are drawn from."""

Interval = tuple[float, float]


class Pairs(Struct, frozen=True, eq=False):
    """The outcomes of an old and a new card on the same prompts.

    `old` and `new` are scores in [0, 1] `(prompts,)`; costs in USD and lengths in tokens have the same shape, NaN where
    unknown. `domains` are those of the prompts and `turns` their human turns, empty where not known. `changed` is where
    the two answers differ, None where they are not known. `left_out` counts the prompts on which only one of the two
    was run.
    """

    source: str
    old: Doubles
    new: Doubles
    domains: tuple[str, ...] = ()
    turns: tuple[tuple[str, ...], ...] = ()
    old_cost_usd: Doubles | None = None
    new_cost_usd: Doubles | None = None
    old_tokens: Doubles | None = None
    new_tokens: Doubles | None = None
    changed: Mask | None = None
    left_out: int = 0


class Flips(Struct, frozen=True):
    """What changes on some prompts. `accuracy` is the share of prompts answered right.

    Of the four counts, which sum to `prompts`, `negative` are the prompts that the old card had right and the new one
    has wrong, `positive` those the other way round: `new_accuracy - old_accuracy` is `positive_share - negative_share`.
    `btc` is the share of what the old card had right that the new one has right, too; `bec` the share of the new card's
    mistakes that the old one made, too. Each is None where there is nothing to take a share of. The interval of the
    negative share is Wilson's, that of the difference the middle 95 % of paired bootstrap draws from the prompts and
    two more, one that flips each way: few prompts without any flip are no proof that none will. (One pseudo-count a
    kind of flip: Bonett & Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on
    paired data", Journal of Educational and Behavioral Statistics, 2012.)
    """

    prompts: int
    both_right: int
    negative: int
    positive: int
    both_wrong: int
    old_accuracy: float
    new_accuracy: float
    difference: float
    difference_ci95: Interval
    negative_share: float
    negative_ci95: Interval
    positive_share: float
    btc: float | None
    bec: float | None


class DomainFlips(Struct, frozen=True):
    """The flips on the prompts of one domain. `is_worse`: the interval of the difference is below 0."""

    domain: str
    flips: Flips
    is_worse: bool


class GradedScores(Struct, frozen=True):
    """Mean scores where scores are not only 0 and 1. `loss` is how much the mean falls by the prompts whose score is
    lower now, `gain` how much it rises by the others: `new - old` is `gain - loss`. The interval is as that of `Flips`,
    with two more prompts, whose scores change by 1 and by -1.
    """

    old: float
    new: float
    difference: float
    difference_ci95: Interval
    gain: float
    loss: float


class Means(Struct, frozen=True):
    """The means of both cards over the `prompts` on which both are known."""

    prompts: int
    old: float
    new: float

    @property
    def change(self) -> float | None:
        """The relative change; None where the old mean is 0."""
        return self.new / self.old - 1 if self.old else None


class Budget(Struct, frozen=True):
    """What a promotion must hold. `negative_share` is the greatest share of negative flips, None for no limit;
    `least_difference` is what the lower end of the interval of the difference must reach, None for no such rule.
    """

    negative_share: float | None = None
    least_difference: float | None = None


class Promotion(Struct, frozen=True):
    """The comparison and the verdict: `refusals` are the reasons against the promotion, none if it is granted.

    `wrong_changed` counts the prompts that both cards have wrong with different answers, None where no answers are
    known. `graded`, `cost_usd` and `output_tokens` are None where they are not known.
    """

    old: str
    new: str
    source: str
    left_out: int
    flips: Flips
    domains: tuple[DomainFlips, ...] = ()
    wrong_changed: int | None = None
    graded: GradedScores | None = None
    cost_usd: Means | None = None
    output_tokens: Means | None = None
    refusals: tuple[str, ...] = ()

    @property
    def promoted(self) -> bool:
        """Whether nothing speaks against the promotion."""
        return not self.refusals


def compare(
    old: str,
    new: str,
    pairs: Pairs,
    budget: Budget = Budget(),  # noqa: B008 - frozen
    *,
    right: float = RIGHT,
    draws: int = DRAWS,
    random_state: int = 0,
) -> Promotion:
    """Compare the cards `old` and `new` by `pairs`; a score of at least `right` counts as right.

    The same `random_state` gives the same intervals. Raises CallerError where there are no prompts.
    """
    if not len(pairs.old):
        raise CallerError(f"{pairs.source}: no prompt has an outcome of both {old} and {new}")
    was_right, is_right = pairs.old >= right, pairs.new >= right
    flips = flips_of(was_right, is_right, draws=draws, random_state=random_state)
    graded = _graded(pairs, draws, random_state)
    return Promotion(
        old=old,
        new=new,
        source=pairs.source,
        left_out=pairs.left_out,
        flips=flips,
        domains=_by_domain(pairs.domains, was_right, is_right, draws, random_state),
        wrong_changed=None if pairs.changed is None else int((pairs.changed & ~was_right & ~is_right).sum()),
        graded=graded,
        cost_usd=_means(pairs.old_cost_usd, pairs.new_cost_usd),
        output_tokens=_means(pairs.old_tokens, pairs.new_tokens),
        refusals=_refusals(flips, graded, budget),
    )


def flips_of(was_right: Mask, is_right: Mask, *, draws: int = DRAWS, random_state: int = 0) -> Flips:
    """The flips between two boolean arrays `(prompts,)`, of which there is at least one.

    The bootstrap draws prompts with replacement, which is to draw the four counts from a multinomial distribution.
    """
    prompts = len(was_right)
    masks = (was_right & is_right, was_right & ~is_right, ~was_right & is_right, ~was_right & ~is_right)
    both_right, negative, positive, both_wrong = (int(mask.sum()) for mask in masks)
    counts = np.array([both_right, negative + 1, positive + 1, both_wrong])
    size = prompts + len(_ADDED)
    drawn = np.random.default_rng(random_state).multinomial(size, counts / size, size=draws) / size
    return Flips(
        prompts=prompts,
        both_right=both_right,
        negative=negative,
        positive=positive,
        both_wrong=both_wrong,
        old_accuracy=(both_right + negative) / prompts,
        new_accuracy=(both_right + positive) / prompts,
        difference=(positive - negative) / prompts,
        difference_ci95=_interval(drawn[:, 2] - drawn[:, 1]),
        negative_share=negative / prompts,
        negative_ci95=wilson(float(negative), prompts),
        positive_share=positive / prompts,
        btc=both_right / (both_right + negative) if both_right + negative else None,
        bec=both_wrong / (both_wrong + negative) if both_wrong + negative else None,
    )


def _by_domain(
    domains: Sequence[str], was_right: Mask, is_right: Mask, draws: int, random_state: int
) -> tuple[DomainFlips, ...]:
    """The flips of each domain, most negative flips first; empty where there are fewer than two domains."""
    names = sorted(set(domains))
    if len(names) < 2:
        return ()
    array, lines = np.array(domains), []
    for name in names:
        rows = array == name
        flips = flips_of(was_right[rows], is_right[rows], draws=draws, random_state=random_state)
        lines.append(DomainFlips(name, flips, flips.difference_ci95[1] < 0))
    return tuple(sorted(lines, key=lambda line: (-line.flips.negative_share, line.domain)))


def _graded(pairs: Pairs, draws: int, random_state: int) -> GradedScores | None:
    if np.isin(pairs.old, (0.0, 1.0)).all() and np.isin(pairs.new, (0.0, 1.0)).all():
        return None
    changes = pairs.new - pairs.old
    drawn_from = np.append(changes, _ADDED)
    generator, prompts = np.random.default_rng(random_state), len(drawn_from)
    # In blocks, so that the drawn positions need little memory.
    size = max(_BLOCK // prompts, 1)
    blocks = [min(size, draws - start) for start in range(0, draws, size)]
    means = [drawn_from[generator.integers(0, prompts, (block, prompts))].mean(axis=1) for block in blocks]
    return GradedScores(
        old=float(pairs.old.mean()),
        new=float(pairs.new.mean()),
        difference=float(changes.mean()),
        difference_ci95=_interval(np.concatenate(means)),
        gain=float(np.maximum(changes, 0.0).mean()),
        loss=float(np.maximum(-changes, 0.0).mean()),
    )


def _means(old: Doubles | None, new: Doubles | None) -> Means | None:
    if old is None or new is None:
        return None
    known = np.isfinite(old) & np.isfinite(new)
    if not known.any():
        return None
    return Means(int(known.sum()), float(old[known].mean()), float(new[known].mean()))


def _refusals(flips: Flips, graded: GradedScores | None, budget: Budget) -> tuple[str, ...]:
    reasons = []
    # Shares such as 2 of 100 and 0.02 must be equal.
    if budget.negative_share is not None and flips.negative_share > budget.negative_share + _EQUAL:
        reasons.append(
            f"{100 * flips.negative_share:.4g}% negative flips ({flips.negative:,} of {flips.prompts:,} prompts), more "
            f"than the budget of {100 * budget.negative_share:.4g}%"
        )
    measured = [("accuracy", flips.difference, flips.difference_ci95)]
    if graded is not None:
        measured.append(("mean score", graded.difference, graded.difference_ci95))
    for name, difference, (low, high) in measured:
        # Equal cards have the interval (0, 0), which excludes a gain and is no reason against an exact port.
        if difference < 0 and high <= 0:
            reasons.append(f"the {name} is lower, and its 95 % interval has no gain: {low:+.2%} to {high:+.2%}")
        elif budget.least_difference is not None and low < budget.least_difference - _EQUAL:
            reasons.append(
                f"the {name} may change by {low:+.2%} (lower end of the 95 % interval), and at least "
                f"{budget.least_difference:+.2%} was required"
            )
    return tuple(reasons)


def _interval(draws: Doubles) -> Interval:
    low, high = np.percentile(draws, _PERCENTILES)
    # Adding 0.0 turns -0.0 into 0.0.
    return float(low) + 0.0, float(high) + 0.0
