"""The plan files: which cards answer one request together, and how.

A member is the id of a card, or "the best k by forecast" among the cards that pass the limits of the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

PREFIX = "plan/"
"""What the id of a plan begins with where a model is expected: `plan/cheap-first`."""

MOST_MEMBERS = 5

CardId = Annotated[str, Meta(min_length=1)]
PlanId = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]*$")]
Probability = Annotated[float, Meta(gt=0, lt=1)]


class Best(Struct, frozen=True, forbid_unknown_fields=True):
    """The `best` cards by the objective of the request's policy, among those that pass its limits and `limits`.

    A card that another member names already is passed over.
    """

    best: Annotated[int, Meta(ge=1, le=MOST_MEMBERS)] = 1
    limits: tuple[str, ...] = ()


Member = CardId | Best


class Caps(Struct, frozen=True, forbid_unknown_fields=True):
    """The most that one request may use: upstream calls in all, calls at a time, dollars at worst, seconds."""

    calls: Annotated[int, Meta(ge=1, le=16)] = 8
    parallel: Annotated[int, Meta(ge=1, le=8)] = 4
    usd: Annotated[float, Meta(gt=0)] | None = None
    seconds: Annotated[float, Meta(gt=0, le=3600)] | None = None


class FixedGate(Struct, frozen=True, forbid_unknown_fields=True):
    """An answer is accepted where it is right with at least this probability."""

    threshold: Probability


GateRule = Literal["learned", "prior"] | FixedGate
"""When a further member is asked: where its expected gain exceeds its price (`learned`, from the texts of the answers;
`prior`, from the forecasts alone), or below a fixed probability."""


class Validators(Struct, frozen=True, forbid_unknown_fields=True):
    """What an answer must meet, checked by code: the JSON schema of the request or this one, a regular expression that
    the text contains, the syntax of the code or data in it, the language of the prompt, no refusal, an answer that
    ended by itself. An empty answer never passes.
    """

    json_schema: Literal["request"] | Mapping[str, Any] | None = None
    regex: Annotated[str, Meta(min_length=1, max_length=500)] | None = None
    syntax: Literal["json", "python", "yaml"] | None = None
    same_language: bool = False
    no_refusal: bool = True
    finished: bool = True


class _Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every kind of plan states. `kind` tells them apart."""

    id: PlanId
    description: Annotated[str, Meta(min_length=1, max_length=500)]
    caps: Caps = Caps()

    @property
    def name(self) -> str:
        """The id under which clients ask for the plan."""
        return PREFIX + self.id

    @property
    def kind(self) -> str:
        """The kind of the plan, as it is written in its file."""
        tag = self.__struct_config__.tag
        assert isinstance(tag, str)
        return tag


_Members = Annotated[tuple[Member, ...], Meta(min_length=1, max_length=MOST_MEMBERS)]


class Cascade(_Plan, frozen=True, kw_only=True, tag="cascade"):
    """The first member answers; the next is asked only where the gate says so, and its answer takes the place of the
    former where it is more probably right.
    """

    members: _Members
    gate: GateRule = "learned"


class Committee(_Plan, frozen=True, kw_only=True, tag="committee"):
    """Members are asked in turn and vote; asking stops where `agree` of them give the same answer, or where the gate
    expects no further gain.
    """

    members: _Members
    agree: Annotated[int, Meta(ge=2, le=MOST_MEMBERS)] = 2
    gate: GateRule = "learned"


class Samples(_Plan, frozen=True, kw_only=True, tag="samples"):
    """One card is asked up to `n` times at a temperature, and its most frequent answer is taken; asking stops where the
    leading answer stays the most frequent one with a probability of `confidence`.
    """

    member: Member
    n: Annotated[int, Meta(ge=2, le=MOST_MEMBERS)] = 5
    temperature: Annotated[float, Meta(gt=0, le=2)] = 0.7
    confidence: Probability = 0.95


class Panel(_Plan, frozen=True, kw_only=True, tag="panel"):
    """Members answer in parallel; once `quorum` of them have, the writer makes one answer of theirs."""

    members: _Members
    writer: Member
    quorum: Annotated[int, Meta(ge=1, le=MOST_MEMBERS)] = 2


class BestOf(_Plan, frozen=True, kw_only=True, tag="best_of"):
    """Members answer one after the other, or in parallel, until an answer passes the validators."""

    members: _Members
    validators: Validators = Validators()
    parallel: bool = False


class Reroute(_Plan, frozen=True, kw_only=True, tag="reroute"):
    """The best member by forecast answers. Where another is forecast to be nearly as good (within `margin`), the cards
    are forecast again with that answer beside the prompt, and the request is handed over to a member that is then
    better by more than `margin`: at most `handovers` times, and never to a card that was asked.
    """

    members: _Members
    margin: Annotated[float, Meta(ge=0, lt=1)] = 0.02
    handovers: Annotated[int, Meta(ge=1, le=2)] = 1


class Segments(_Plan, frozen=True, kw_only=True, tag="segments"):
    """A prompt of several tasks is split; each task goes to the card that is best for it, and the answers are joined.

    `members` are the cards that may answer, none meaning all that pass the limits. A prompt is split only where the
    parts want different cards and the expected gain exceeds `min_gain`.
    """

    members: Annotated[tuple[Member, ...], Meta(max_length=64)] = ()
    min_gain: Annotated[float, Meta(ge=0, lt=1)] = 0.02


class Stage(Struct, frozen=True, forbid_unknown_fields=True):
    """One stage of a chain. `card` turns what it `consumes` into what it `produces`, asked by `prompt` where it is not
    the last stage. With `card` left out, the stage is the card that the policy chooses.
    """

    consumes: str
    produces: str
    card: CardId | None = None
    prompt: Annotated[str, Meta(min_length=1, max_length=4000)] | None = None


class Chain(_Plan, frozen=True, kw_only=True, tag="chain"):
    """Each stage reads what the stage before it wrote: an image is described, then the description is answered."""

    stages: Annotated[tuple[Stage, ...], Meta(min_length=2, max_length=4)]


PlanSpec = Cascade | Committee | Samples | Panel | BestOf | Reroute | Segments | Chain

KINDS = ("cascade", "committee", "samples", "panel", "best_of", "reroute", "segments", "chain")
"""The kinds of plans, as `plan=cascade` names them. `single` is a card that answers alone."""
