"""Snapshots of what decisions depend on."""

import msgspec

from router.decide.policy import Policy
from router.decide.trials.spec import ArmSpec, ExperimentSpec, Shadow
from router.store.records.snapshots import policy_snapshot, read_policy

POLICY = Policy(id="default", description="It.", goals={"cheapest": 1.0}, limits=("cost<1$",))


def test_what_a_policy_tries_beside_its_decisions_changes_no_snapshot_of_it() -> None:
    trying = msgspec.structs.replace(
        POLICY,
        shadow=Shadow(dollars_per_day=1.0, card="other"),
        experiment=ExperimentSpec("try", (ArmSpec(policy="default"), ArmSpec(card="other"))),
    )
    assert policy_snapshot(trying) == policy_snapshot(POLICY)
    assert read_policy(policy_snapshot(trying).content) == POLICY
