from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.gateway.processes import Start
from tests.faults.io.shim import build
from tests.warm_start import warm_starts


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim."""
    compiled = build(tmp_path_factory.mktemp("shim")) if sys.platform == "linux" else None
    if compiled is None:
        pytest.skip("needs Linux and a C compiler")
    return compiled


@pytest.fixture(scope="session")
def warm_under_shim(library: Path) -> Iterator[Callable[[Start], Start]]:
    """Makes of a `Start` of `route serve` one that forks a process under the shim which has imported what it needs."""
    with warm_starts(library) as warm:
        yield warm


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The whole sweep takes hours, so it runs only where it is asked for: `-m sweep`."""
    if "sweep" not in str(config.option.markexpr):
        for item in items:
            if item.get_closest_marker("sweep"):
                item.add_marker(pytest.mark.skip(reason="only with -m sweep"))
