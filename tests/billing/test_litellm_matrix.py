"""Whatever the upstream of a card does that is called through litellm, and whenever the client leaves: its key is
charged for at least what was delivered.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.billing.matrix import BY_LITELLM, Bill, Cell, billed, cells_of
from tests.billing.rules import Rules, charged_too_little
from tests.billing.test_redis import new_state
from tests.billing.upstream import FAULTS
from tests.redis_server import needs_redis, redis_server

pytestmark = [
    pytest.mark.slow,
    # pydantic warns about litellm's types when it first builds their schema.
    pytest.mark.filterwarnings("ignore:Item .* is using the `ReadOnly` qualifier:UserWarning"),
]


@pytest.fixture(scope="module")
def bills() -> Iterator[dict[Cell, Bill]]:
    with billed(cells_of(*BY_LITELLM), in_parallel=12, total_s=12) as bills:
        yield bills


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", BY_LITELLM)
def test_what_was_delivered_is_charged(bills: dict[Cell, Bill], way: str, fault: str) -> None:
    assert not charged_too_little(bills, fault, way=way)


class TestEveryCell(Rules):
    """The rules of every way hold for this one."""


@needs_redis
def test_what_was_delivered_is_charged_to_a_shared_state() -> None:
    chosen = [cell for cell in cells_of(*BY_LITELLM) if cell.fault in ("complete", "cut") and cell.stream]
    with (
        redis_server() as server,
        billed(chosen, in_parallel=12, total_s=12, open_state=lambda: new_state(server.url)) as bills,
    ):
        assert {fault: charged_too_little(bills, fault) for fault in ("complete", "cut")} == {"complete": {}, "cut": {}}
        assert [cell.name for cell, bill in bills.items() if not bill.delivered] == []
