from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.upstream import Upstream, fault_upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """The server that breaks as its models are called."""
    with fault_upstream() as server:
        yield server
