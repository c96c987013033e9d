"""What a member of a plan has written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from router.cards.schema import Card
from router.compose.answers import Answer
from router.compose.run.ledger import Called
from router.dispatch import UpstreamResponse
from router.wire.reading.whole_answers import WholeAnswer


class Draft(Struct, frozen=True, eq=False):
    """A whole answer of a member that no client has seen. `pieces` are those of a stream, empty for a whole answer.

    `failed` is why it cannot be right, empty where nothing is known against it.
    """

    called: Called
    response: UpstreamResponse
    pieces: tuple[bytes, ...]
    document: Mapping[str, Any]
    whole: WholeAnswer
    answer: Answer | None
    failed: str = ""

    @property
    def card(self) -> Card:
        """The card that wrote it."""
        return self.called.card

    @property
    def text(self) -> str:
        """What a person reads of it."""
        return self.whole.text
