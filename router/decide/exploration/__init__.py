"""Exploration: now and then, another candidate answers than the best forecast would choose, where that may be wrong.

Only a candidate is drawn of which the forecast does not exclude that it is better: its score less one standard
deviation must be below the score of the choice. What is drawn depends on a number from outside, so a decision is
repeated as it was. The probability with which each candidate answers, its *propensity*, is part of the decision: what a
policy would have done can be estimated from such records (`router.analysis.off_policy`).
"""
