"""Whatever the upstream does, and whenever the client leaves: a key is charged for at least what was delivered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.billing.matrix import PATHS, RELAYED, Bill, Cell, billed, cells_of
from tests.billing.rules import Rules, charged_too_little
from tests.billing.upstream import FAULTS, TOKENS


@pytest.fixture(scope="module")
def bills() -> Iterator[dict[Cell, Bill]]:
    with billed(cells_of(*RELAYED), in_parallel=60) as bills:
        yield bills


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("surface", PATHS)
def test_what_was_delivered_is_charged(bills: dict[Cell, Bill], surface: str, fault: str) -> None:
    assert not charged_too_little(bills, fault, surface=surface)


class TestEveryCell(Rules):
    """The rules of every way hold for this one."""


def test_a_client_that_leaves_before_the_usage_is_charged_to_the_token(bills: dict[Cell, Bill]) -> None:
    left = [bill for cell, bill in bills.items() if cell.fault == "complete" and cell.departure != "stays"]
    assert {round(bill.charged, 6) for bill in left} == {float(TOKENS)}
