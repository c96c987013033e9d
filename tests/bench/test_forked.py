"""Forked processes compute what one process computes."""

from __future__ import annotations

import os

import numpy as np
import pytest

from bench.forked import Forked
from router.errors import CallerError
from router.learn.engine import Arrays

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.parametrize("count", [0, 1, 5])
def test_results_come_in_the_order_of_the_items_from_other_processes(count: int) -> None:
    def unit(item: int) -> Arrays:
        return np.full(20_000, item), np.array(os.getpid())

    results = list(Forked(2).map(unit, range(count), "squares"))
    assert [int(numbers[0]) for numbers, _ in results] == list(range(count))
    processes = {int(process) for _, process in results}
    assert os.getpid() not in processes
    assert len(processes) == min(2, count)


def test_an_error_of_a_unit_is_raised_here() -> None:
    def unit(item: int) -> Arrays:
        raise CallerError(f"no outcomes in fold {item}")

    with pytest.raises(CallerError, match="no outcomes in fold 0"):
        list(Forked(2).map(unit, range(2), "folds"))
