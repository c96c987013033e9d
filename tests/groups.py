"""How a parallel run divides the tests: those of one module run in one process, since they share what its fixtures
make; and what takes longest starts first, so that no process works alone at the end.
"""

from __future__ import annotations

import pytest

# The groups, and modules below tests/, that took ten seconds or more on two cores, the longest first.
LONGEST = (
    "ray",
    "browser",
    "hostile",
    "package",
    "gateway/server/test_workers.py",
    "gateway/adapters/test_served.py",
    "adapters/page/test_hundreds_of_adapters.py",
    "perceive/test_kernel.py",
    "billing/test_redis.py",
    "faults/io/test_io_faults.py",
    "fault matrix",
    "billing/test_litellm_matrix.py",
    "pydantic-ai",
    "billing/test_parallel.py",
    "instructor",
    "bench/test_compose.py",
    "gateway/config/test_reload.py",
    "gateway/server/test_serve.py",
    "client pages",
    "distil",
    "faults/test_slow_readers.py",
    "suites",
    "bench/test_scale.py",
    "bench/test_rollout.py",
    "release",
    "fuzz/test_schemathesis.py",
    "gateway/endpoints/test_bounds.py",
    "fuzz/test_kernel.py",
    "decide/test_invariants.py",
    "store/state/test_redis.py",
    "evaluate",
    "gateway/server/test_protocol.py",
    "deploy/test_chart.py",
    "billing/test_matrix.py",
    "perceive/test_acceptance_artifact.py",
    "commands/test_commands.py",
    "wire/test_invariants.py",
    "wire/test_hostile_types.py",
    "learn/solving/test_solve.py",
    "learn/evaluation/test_baselines.py",
    "prometheus",
    "faults/test_kill.py",
    "fuzz/test_mutated_answers.py",
    "perceive/memory/test_card_memory.py",
    "store/records/test_postgres.py",
    "fuzz/test_mutations.py",
    "compose/run/test_faults.py",
    "gateway/learning/test_learning.py",
    "gateway/adapters/test_wiring.py",
    "commands/test_eval.py",
    "learn/training/test_skill_stack.py",
)
_PLACES = {name: place for place, name in enumerate(LONGEST)}


def group(items: list[pytest.Item]) -> None:
    """Put every test into its own group, or else that of its module, and order the groups."""
    names = {}
    for item in items:
        own = item.get_closest_marker("xdist_group")
        if own is None:
            names[item] = item.nodeid.partition("::")[0].removeprefix("tests/")
            item.add_marker(pytest.mark.xdist_group(names[item]))
        else:
            names[item] = str(own.args[0])
    items.sort(key=lambda item: _PLACES.get(names[item], len(_PLACES)))
