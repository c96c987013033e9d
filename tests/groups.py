"""How a parallel run divides the tests: those of one module run in one process, since they share what its fixtures
make; and what takes longest starts first, so that no process works alone at the end.
"""

from __future__ import annotations

import pytest

# The groups, and modules below tests/, that take more than a quarter of a minute, the longest first.
LONGEST = (
    "ray",
    "browser",
    "package",
    "gateway/adapters/test_served.py",
    "evaluate",
    "gateway/server/test_workers.py",
    "adapters/page/test_hundreds_of_adapters.py",
    "hostile",
    "billing/test_redis.py",
    "distil",
    "gateway/server/test_serve.py",
    "fault matrix",
    "faults/io/test_io_faults.py",
    "clients/test_docs.py",
    "billing/test_litellm_matrix.py",
    "dispatch/lora/test_real_llama_cpp.py",
    "commands/test_eval.py",
    "billing/test_parallel.py",
    "pydantic-ai",
    "instructor",
    "faults/test_slow_readers.py",
    "learn/training/test_train.py",
    "bench/test_scale.py",
    "bench/test_compose.py",
    "bench/test_rollout.py",
    "suites",
    "agents",
    "release",
    "llm",
    "dispatch/test_litellm_client.py",
    "dispatch/lora/test_control.py",
    "dispatch/test_relay.py",
    "fuzz/test_schemathesis.py",
    "faults/test_kill.py",
    "learn/training/test_skill_stack.py",
    "clients/test_litellm.py",
    "learn/solving/test_solve.py",
    "fuzz/test_mutations.py",
    "store/state/test_threaded.py",
    "store/records/test_postgres.py",
    "billing/test_matrix.py",
    "fuzz/test_mutated_answers.py",
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
