from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.upstream import Upstream, fault_upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """The server whose faults are selected by the model's name."""
    with fault_upstream() as server:
        yield server
