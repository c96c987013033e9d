"""Whatever the upstream does, and whenever the client leaves: a key is charged for at least what was delivered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.billing.matrix import MAX_TOKENS, PATHS, RELAYED, Bill, Cell, billed, cells_of
from tests.billing.upstream import FAULTS, TOKENS


@pytest.fixture(scope="module")
def bills() -> Iterator[dict[Cell, Bill]]:
    with billed(cells_of(*RELAYED), in_parallel=60) as bills:
        yield bills


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("surface", PATHS)
def test_what_was_delivered_is_charged(bills: dict[Cell, Bill], surface: str, fault: str) -> None:
    short = {
        cell.name: bill
        for cell, bill in bills.items()
        if (cell.surface, cell.fault) == (surface, fault) and bill.charged < bill.delivered
    }
    assert not short


def test_no_fault_is_an_error_of_the_gateway(bills: dict[Cell, Bill]) -> None:
    assert {cell.name: bill.status for cell, bill in bills.items() if bill.status == 500} == {}


def test_every_request_has_reached_the_upstream(bills: dict[Cell, Bill]) -> None:
    whole_errors = {cell for cell in bills if cell.fault == "error-event" and not cell.stream}
    assert [cell.name for cell, bill in bills.items() if not bill.delivered and cell not in whole_errors] == []


def test_a_complete_report_is_charged_to_the_token(bills: dict[Cell, Bill]) -> None:
    exact = {cell: bill for cell, bill in bills.items() if cell.fault == "complete" and cell.departure == "stays"}
    assert {round(bill.charged, 6) for bill in exact.values()} == {float(TOKENS)}


def test_a_client_that_leaves_before_the_usage_is_charged_to_the_token(bills: dict[Cell, Bill]) -> None:
    left = [bill for cell, bill in bills.items() if cell.fault == "complete" and cell.departure != "stays"]
    assert {round(bill.charged, 6) for bill in left} == {float(TOKENS)}


def test_nobody_is_charged_for_more_than_two_answers(bills: dict[Cell, Bill]) -> None:
    """Calls whose connection breaks are repeated once; a whole answer that hangs costs what was reserved."""
    dear = {
        cell.name: bill
        for cell, bill in bills.items()
        if bill.charged > max(2.6 * TOKENS, 1.5 * bill.delivered)
        and not (cell.fault in ("hang", "cut", "reset") and not cell.stream and bill.charged <= 1.5 * MAX_TOKENS)
        and cell.fault != "absurd-float"
    }
    assert not dear
