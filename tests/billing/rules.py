"""What holds of the bills of every way in which a card can be called; test modules state the fixture `bills`."""

from __future__ import annotations

from tests.billing.matrix import MAX_TOKENS, Bill, Cell
from tests.billing.upstream import TOKENS


class Rules:
    """The tests of `bills`, a fixture of the module."""

    def test_no_fault_is_an_error_of_the_gateway(self, bills: dict[Cell, Bill]) -> None:
        assert {cell.name: bill.status for cell, bill in bills.items() if bill.status == 500} == {}

    def test_every_request_has_reached_the_upstream(self, bills: dict[Cell, Bill]) -> None:
        whole_errors = {cell for cell in bills if cell.fault == "error-event" and not cell.stream}
        assert [cell.name for cell, bill in bills.items() if not bill.delivered and cell not in whole_errors] == []

    def test_a_complete_report_is_charged_to_the_token(self, bills: dict[Cell, Bill]) -> None:
        exact = {cell: bill for cell, bill in bills.items() if cell.fault == "complete" and cell.departure == "stays"}
        assert {round(bill.charged, 6) for bill in exact.values()} == {float(TOKENS)}

    def test_nobody_is_charged_for_more_than_two_answers(self, bills: dict[Cell, Bill]) -> None:
        """Calls whose connection breaks are repeated once; a whole answer that hangs costs what was reserved."""
        dear = {
            cell.name: bill
            for cell, bill in bills.items()
            if bill.charged > max(2.6 * TOKENS, 1.5 * bill.delivered)
            and not (cell.fault in ("hang", "cut", "reset") and not cell.stream and bill.charged <= 1.5 * MAX_TOKENS)
            and cell.fault != "absurd-float"
        }
        assert not dear


def charged_too_little(bills: dict[Cell, Bill], fault: str, **of: str) -> dict[str, Bill]:
    """The bills of a fault, and of the cells whose fields have the values `of`, that are below what was delivered."""
    return {
        cell.name: bill
        for cell, bill in bills.items()
        if cell.fault == fault
        and all(getattr(cell, name) == value for name, value in of.items())
        and bill.charged < bill.delivered
    }
