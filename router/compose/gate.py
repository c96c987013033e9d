"""How likely each answer is right, once the answers are known, and what asking one more card would gain.

The interface is fixed; the weights come from the gate file of the artifact (`route train --plans`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from router.types import Doubles

if TYPE_CHECKING:
    from router.compose.answers import Answer


class TextSignals(NamedTuple):
    """What the text of an answer shows without a judge.

    `readable`: a final answer was found. Counts are of the whole text. `logprobs` are the quantiles .1 and .5 and the
    least of the log-probabilities of the tokens; None where the upstream gives none.
    """

    readable: bool
    characters: int
    lines: int
    digits: int
    hedges: int
    logprobs: tuple[float, float, float] | None = None


class Asked(NamedTuple):
    """A member that has answered: the quality forecast for it, its final answer and what its text shows.

    `failed` is the reason why the answer cannot be right (a refusal, cut off, empty), empty otherwise.
    `asks_for_answer`: the prompt asks for a final answer that can be compared (`router.compose.answers`), so that an
    answer without one is probably wrong; else nothing follows from that.
    """

    card: str
    prior: float
    answer: Answer | None
    signals: TextSignals
    failed: str = ""
    asks_for_answer: bool = False


class Gate(Protocol):
    """The learned rule."""

    id: str

    def rights(self, asked: Sequence[Asked], usual_prior: float) -> Doubles:
        """P(right) of the answer of each member asked so far, given all of them: float64 `(asked,)`.

        `usual_prior` is the mean forecast of the cards of the catalogue on this prompt.
        """

    def gains(self, asked: Sequence[Asked], priors_of_later: Sequence[float], usual_prior: float) -> Sequence[float]:
        """How much the quality of the delivered answer is expected to rise if one more card is asked, if two are …

        `priors_of_later` are the forecasts of the members that are left, in their order, one at least. A gate that
        does not know the members gives only the first gain.
        """

    def of(self, members: Sequence[str]) -> Gate:
        """The gate for these cards, in the order in which they are asked: its own where it has one for them."""
