"""Stages that a policy turns off for kinds of prompts on which they do not pay (S68)."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from router.decide.policy import Policy

ALL_KINDS = "all"
"""In the place of a kind of prompt: every one, also where the predictor reads none."""


def stages_off(policy: Policy, kind: str) -> tuple[str, ...]:
    """The stages that are off for a kind of prompt, in the order of the policy."""
    return tuple(stage for stage, kinds in policy.stages_off.items() if kind in kinds or ALL_KINDS in kinds)


def without_stages(policy: Policy, off: Collection[str]) -> Policy:
    """The policy without these plans."""
    plans = tuple(plan for plan in policy.plans if plan not in off)
    left = {stage: kinds for stage, kinds in policy.stages_off.items() if stage not in off}
    return msgspec.structs.replace(policy, plans=plans, stages_off=left)
