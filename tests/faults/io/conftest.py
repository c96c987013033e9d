from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.faults.io.shim import build


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim."""
    compiled = build(tmp_path_factory.mktemp("shim")) if sys.platform == "linux" else None
    if compiled is None:
        pytest.skip("needs Linux and a C compiler")
    return compiled


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The whole sweep takes hours, so it runs only where it is asked for: `-m sweep`."""
    if "sweep" not in str(config.option.markexpr):
        for item in items:
            if item.get_closest_marker("sweep"):
                item.add_marker(pytest.mark.skip(reason="only with -m sweep"))
