"""What a decision says of trials on a part of the requests: canaries, exploration, experiments."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class CanaryChoice(Struct, frozen=True):
    """A decision that fell on the card `of`, of whose conversations `card` takes a share: whether it takes this one."""

    card: str
    of: str
    taken: bool


class Exploration(Struct, frozen=True, omit_defaults=True):
    """Whether another card answers than the one that was chosen, to learn how good it is.

    `choice` is the id of the card or plan that was chosen; `propensities` is the probability with which each candidate
    answers this request: of the choice, and of each that could be drawn; it is 0 for all others. `number`, in [0, 1),
    decided. `explored` is the drawn card, which answers; None where the choice does. `refused`: a card was drawn, but
    could not be paid. `prevented` is why none could be drawn, empty where one could. `no_dearer`: only cards that are
    forecast to cost no more than the choice could be drawn.
    """

    choice: str
    propensities: dict[str, float]
    number: float | None = None
    explored: str | None = None
    refused: bool = False
    prevented: str = ""
    no_dearer: bool = False

    @property
    def result(self) -> Literal["explored", "refused", "prevented", "not_drawn"]:
        """The result of the draw, in one word."""
        if self.explored is not None:
            return "explored"
        return "refused" if self.refused else "prevented" if self.prevented else "not_drawn"


class ExperimentChoice(Struct, frozen=True):
    """The experiment `name` sends the request to this `arm`. `version` is a hash of the arms and what assigns them."""

    name: str
    arm: str
    version: str
