"""Whatever the upstream of a card does that is called through litellm, and whenever the client leaves: its key is
charged for at least what was delivered.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.billing.matrix import BY_LITELLM, Bill, Cell, billed, cells_of
from tests.billing.rules import Rules, charged_too_little
from tests.billing.upstream import FAULTS

pytestmark = [
    pytest.mark.slow,
    # pydantic warns about litellm's types when it first builds their schema.
    pytest.mark.filterwarnings("ignore:Item .* is using the `ReadOnly` qualifier:UserWarning"),
]


@pytest.fixture(scope="module")
def bills() -> Iterator[dict[Cell, Bill]]:
    with billed(cells_of(*BY_LITELLM), in_parallel=16, total_s=10) as bills:
        yield bills


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", BY_LITELLM)
def test_what_was_delivered_is_charged(bills: dict[Cell, Bill], way: str, fault: str) -> None:
    assert not charged_too_little(bills, fault, way=way)


class TestEveryCell(Rules):
    """The rules of every way hold for this one."""
