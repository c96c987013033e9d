"""What reads an answer while it is passed on to its client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.gateway.learning.answer_copy import AnswerCopy
from router.gateway.routing.selection import Selection
from router.gateway.routing.sessions import Made
from router.gateway.routing.trials.canaries import Refusal
from router.types import Api


class Readers:
    """The readers of the answer to one request, each there only where the request needs it: nothing reads most answers
    of named cards.

    `copy` is kept of the answer to a routed request, for those who judge or compare it.
    """

    def __init__(self, api: Api) -> None:
        self.copy: AnswerCopy | None = None
        self._api = api
        self._made = Made() if api == "responses" else None
        self._refusal: Refusal | None = None

    def begin(self, selection: Selection, *, is_compared: bool) -> None:
        """Read what this selection needs. `is_compared`: the answer is to be compared with that of a shadow."""
        if selection.routed is not None:
            self.copy = AnswerCopy(self._api, selection.routed, is_wanted=is_compared)
            if selection.routed.decision.canary is not None:
                self._refusal = Refusal()

    def add(self, piece: bytes) -> None:
        """Read a whole body, or whole events, before they are passed on."""
        if self._made is not None:
            self._made.add(piece)
        if self.copy is not None:
            self.copy.add(piece)
        if self._refusal is not None:
            self._refusal.add(piece)

    @property
    def has_refused(self) -> bool:
        """Whether the server marked the answer as a refusal; looked for in trials of canaries only."""
        return self._refusal is not None and self._refusal.found

    def names(self, body: Mapping[str, Any]) -> tuple[str, ...]:
        """The names by which later requests refer to what is in the answer to `body`."""
        return () if self._made is None else self._made.names(body)
