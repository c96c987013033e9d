"""The keys `shadow` and `experiment` of a policy."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from router.decide.plans.spec import PREFIX

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Metric = Literal["feedback", "cost", "latency"]


class Shadow(Struct, frozen=True, forbid_unknown_fields=True):
    """A card, the choice of another policy, or a plan that answers a `share` of the requests a second time, for nobody.

    The calls of a day (UTC) cost at most `dollars_per_day`, for all workers and gateways together. `urls`: also
    requests with images by URL, which the provider fetches once more.
    """

    dollars_per_day: Annotated[float, Meta(gt=0, le=1e6)]
    card: Name | None = None
    policy: Name | None = None
    plan: Name | None = None
    share: Annotated[float, Meta(gt=0, le=1)] = 0.05
    urls: bool = False

    def __post_init__(self) -> None:
        if sum(each is not None for each in (self.card, self.policy, self.plan)) != 1:
            raise ValueError("shadow: state one of `card`, `policy` and `plan`")

    @property
    def target(self) -> str:
        """What answers in the shadow, as a client would name it."""
        if self.plan is not None:
            return f"{PREFIX}{self.plan}"
        return self.card if self.card is not None else f"auto/{self.policy}"


class ArmSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """One side of an experiment: another policy, or this policy with a card that answers wherever it may."""

    policy: Name | None = None
    card: Name | None = None
    weight: Annotated[float, Meta(gt=0, le=1000)] = 1.0

    def __post_init__(self) -> None:
        if (self.card is None) == (self.policy is None):
            raise ValueError("experiment.arms: state either a `card` or a `policy` for each arm")

    @property
    def name(self) -> str:
        """Its name in records and reports."""
        return self.policy or self.card or ""


class StopRule(Struct, frozen=True, forbid_unknown_fields=True):
    """When an experiment ends by itself: where the difference of the arms is certain.

    `alpha` is the probability of ever finding a difference where there is none, however often one looks. `min_effect`,
    in units of the metric, is the least difference that matters: an experiment whose arms are closer than that ends,
    too. `then`: all requests go to the first arm afterwards (`control`), or to the best one (`winner`).
    """

    alpha: Annotated[float, Meta(ge=1e-6, le=0.5)] = 0.05
    min_effect: Annotated[float, Meta(ge=0)] = 0.0
    then: Literal["control", "winner"] = "control"


class ExperimentSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Which of several arms does better. The first one is the control.

    `by`: each key has one arm, or each conversation. `outcomes` are how many outcomes of a key or conversation make its
    value, 5 and 1 without it; later ones do not count. Another `salt` assigns the arms anew.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    arms: Annotated[tuple[ArmSpec, ...], Meta(min_length=2, max_length=8)]
    metric: Metric = "feedback"
    by: Literal["key", "conversation"] = "key"
    outcomes: Annotated[int, Meta(ge=1, le=1000)] | None = None
    salt: Annotated[str, Meta(max_length=200)] = ""
    stop: StopRule = StopRule()

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if len(set(names)) != len(names):
            raise ValueError("experiment.arms: two arms are the same")

    @property
    def outcomes_needed(self) -> int:
        """How many outcomes a key or conversation needs to count."""
        return self.outcomes or (5 if self.by == "key" else 1)

    @property
    def higher_is_better(self) -> bool:
        """Whether the best arm has the highest mean."""
        return self.metric == "feedback"

    @property
    def version(self) -> str:
        """A hash of all that its results depend on: after a change of it, an experiment begins anew."""
        plain = msgspec.json.encode(msgspec.structs.replace(self, stop=StopRule()), order="deterministic")
        return hashlib.blake2b(plain, digest_size=5).hexdigest()

    def arm_at(self, place: float) -> int:
        """The position of the arm at a place in [0, 1), by the weights."""
        total, upto = sum(arm.weight for arm in self.arms), 0.0
        for position, arm in enumerate(self.arms):
            upto += arm.weight / total
            if place < upto:
                return position
        return len(self.arms) - 1


class Trials(Struct, frozen=True):
    """What one policy tries."""

    shadow: Shadow | None = None
    experiment: ExperimentSpec | None = None
