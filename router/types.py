"""The frozen values on the path of a request: features, forecast, decision, outcome.

Names state units. Arrays over cards have one entry per card, in the order of the catalogue.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from router.trials import CanaryChoice, ExperimentChoice, Exploration

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]


UpstreamApi = Literal["chat", "completions", "embeddings", "responses", "messages"]
"""The wire protocols that upstreams support."""
Api = Literal["chat", "completions", "embeddings", "responses", "messages", "ollama_chat", "ollama_generate"]
"""The wire protocols that clients use."""


UNKNOWN_DEPENDENCE = 0.5
"""The dependence of a turn of which it is not known whether it is a follow-up."""


class Features(Struct, frozen=True, eq=False):
    """What is known about a request before routing.

    `vector` is float32 of shape `(width,)`: the embedding, then the text features. `input_tokens` is an estimate.
    `modalities` are the kinds of content (`text`, `image` …), `needs` the capabilities that a card must have (`tools`,
    `json_schema` …). `output_limit` is the greatest number of tokens of the answer, None where the request sets none.
    `thinking_scale` is how much the request lets a model think, as a multiple of what the model thinks unasked.
    `dependence`, in [0, 1], is how much the newest turn depends on what went before it: 0 for an ask of its own, 1 for
    a mere follow-up. `reader` is the id of the reader whose reading the vector ends with, empty without one.
    `indivisible` are the fields because of which only one call can answer: `seed`, `store` …
    `parts` are the features of the tasks of which the newest turn consists, where a plan may split it.
    """

    vector: Floats
    input_tokens: int
    modalities: frozenset[str]
    needs: frozenset[str]
    output_limit: int | None = None
    thinking_scale: float = 1.0
    dependence: float = UNKNOWN_DEPENDENCE
    reader: str = ""
    indivisible: frozenset[str] = frozenset()
    parts: tuple[Features, ...] = ()


GREATEST_STD = 0.5
"""The greatest possible standard deviation of a quantity in [0, 1] (Popoviciu's inequality)."""


class Forecast(Struct, frozen=True, eq=False):
    """What is expected of every card on one prompt: float64 of shape `(cards,)`, NaN where unknown.

    `quality` is in [0, 1], and `quality_std` its standard deviation. `independent_std` is the part of that deviation
    that cards do not share: the difference of two cards has the variance `independent_std_1² + independent_std_2²`.
    `mean_quality` is the quality expected on an average prompt. `output_tokens` is the length of the answer without
    thinking and `written_tokens` with it, `cost_usd` the cost of the call, `ttft_ms` the time to the first token and
    `latency_ms` the time to the last one; cost and latency include thinking. `novelty`, a single number in [0, 1], is
    the share of training prompts that are closer to the training data than this prompt.
    `compared` are the qualities by which cards are compared, where these are not the expected ones: what is particular
    to a card on this prompt counts in them only as far as it was shown to improve choices. `measured` marks the cards
    with outcomes or probes; None where that does not matter. `parts` are the forecasts of `Features.parts`.
    """

    quality: Doubles
    quality_std: Doubles
    independent_std: Doubles
    mean_quality: Doubles
    output_tokens: Doubles
    written_tokens: Doubles
    cost_usd: Doubles
    ttft_ms: Doubles
    latency_ms: Doubles
    novelty: float = 0.0
    compared: Doubles | None = None
    measured: Mask | None = None
    parts: tuple[Forecast, ...] = ()

    @property
    def choice_quality(self) -> Doubles:
        """The qualities by which cards are compared."""
        return self.quality if self.compared is None else self.compared


class Candidate(Struct, frozen=True):
    """A card that passes every limit.

    `score` is the sum of `parts`, the weighted loss and the weighted costs of the goals; lower is better. `quality` and
    `quality_std` are in [0, 1]. `cost_usd` and `latency_ms` are the forecast for this request, None where unknown.
    `assumed` are sentences about what the score assumes where a forecast is unknown.
    """

    card: str
    score: float
    quality: float
    quality_std: float
    cost_usd: float | None
    latency_ms: float | None
    parts: dict[str, float]
    assumed: tuple[str, ...] = ()


class Rejection(Struct, frozen=True, omit_defaults=True):
    """Why a card is rejected: the first limit that it fails, the reason, and the reasons of further failed limits."""

    limit: str
    reason: str
    also: tuple[str, ...] = ()


class SinglePlan(Struct, frozen=True, tag_field="kind", tag="single"):
    """A plan in which one card answers; the fallbacks are called in turn if it fails."""

    card: str
    fallbacks: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The tag that tells kinds of plan apart, as it appears in JSON."""
        return "single"


class ComposedPlan(Struct, frozen=True, tag_field="kind", tag="composed"):
    """A plan in which several calls make one answer.

    `id` is `plan/NAME`, `method` the kind of the plan (`cascade`, `committee` …). `members` are card ids in the order
    in which they are asked, `writer` the card that makes one answer of theirs, None where an answer is taken as it is.
    `card` is the card that is expected to write what the client sees. `fallbacks` are called in turn where no member
    answers. `quality_per_usd` is the price of money λ: a further call of cost c is worth it where it is expected to
    raise the quality by more than λ · c.
    """

    id: str
    method: str
    card: str
    members: tuple[str, ...]
    writer: str | None = None
    fallbacks: tuple[str, ...] = ()
    quality_per_usd: float = 0.0

    @property
    def kind(self) -> str:
        """The tag that tells kinds of plan apart, as it appears in JSON."""
        return "composed"


class PlanStep(Struct, frozen=True, omit_defaults=True):
    """One call that a plan may make.

    `role` is `member`, `writer`, `sample`, `stage` or `part`, `probability` how probably the call is made. Quality,
    cost and latency are the forecast for the card.
    """

    card: str
    role: str
    probability: float
    quality: float
    cost_usd: float | None = None
    latency_ms: float | None = None


class PlanOutlook(Struct, frozen=True):
    """What is expected of a plan on one prompt, and what it may use at most.

    `id` is `plan/NAME`, `method` its kind. Expected values weigh every call by its probability; `most_…` count all
    calls that may be made. `quality_per_usd` is λ, see `ComposedPlan`. `forecast_by` is "closed form", or says which
    answers the plan was measured on.
    """

    id: str
    method: str
    card: str
    quality: float
    quality_std: float
    calls: float
    most_calls: int
    cost_usd: float | None
    most_cost_usd: float | None
    latency_ms: float | None
    most_latency_ms: float | None
    quality_per_usd: float
    steps: tuple[PlanStep, ...]
    forecast_by: str = "closed form"


Plan = SinglePlan | ComposedPlan
"""How a request is answered: by one card, or by several calls, which `kind` tells apart.

`router.compose.runner` carries a plan out.
"""


class Guard(Struct, frozen=True, omit_defaults=True):
    """Whether the best card or the default card answers, and why.

    `off`: the policy has no guard, and the best card answers. `same`: the default card is the best. `held`: the default
    card answers. `released`: the best card answers. `default` and `best` are card ids. `advantage` is how much lower,
    so better, the best card's score is; `advantage_std` its standard deviation; `confidence` the probability that it is
    truly above zero, `confidence_needed` the policy's threshold. `novelty` is the prompt's (see `Forecast`),
    `novelty_allowed` the policy's threshold.
    """

    state: Literal["off", "same", "held", "released"]
    reason: str = ""
    default: str | None = None
    best: str | None = None
    advantage: float | None = None
    advantage_std: float | None = None
    confidence: float | None = None
    confidence_needed: float | None = None
    novelty: float | None = None
    novelty_allowed: float | None = None


NO_GUARD = Guard("off")
"""The guard of a policy without one."""


class Decision(Struct, frozen=True):
    """The chosen card and the explanation of the choice.

    `candidates` begins with the chosen card; `rejections` are by card id. `policy` and `artifact` are the ids of the
    policy and of the predictor, `flags` the flags of the request. `binding` are the limits without which another card
    would have been chosen; `relaxed` the limits that were dropped because no card passed them. `plans` are by id what
    is expected of the plans that were compared with the cards, among them rejected ones; a candidate or a rejection
    whose id begins with `plan/` is one of them. `canary` is set where the choice fell on a card that has one, which
    meets the limits, too. `memory` is the version of the error memory that corrected forecasts, empty where none did.
    `exploration` is set where the policy explores: `candidates` then begins with the card that answers. `experiment` is
    set where the request is part of one. `stages_off` are the optional stages (plans, `explore`, `judge`) that the
    policy turns off for prompts of this kind.
    """

    plan: Plan
    candidates: Sequence[Candidate]
    rejections: Mapping[str, Rejection]
    policy: str
    artifact: str
    flags: str = ""
    binding: tuple[str, ...] = ()
    relaxed: tuple[str, ...] = ()
    guard: Guard = NO_GUARD
    plans: Mapping[str, PlanOutlook] = {}
    canary: CanaryChoice | None = None
    memory: str = ""
    exploration: Exploration | None = None
    experiment: ExperimentChoice | None = None
    stages_off: tuple[str, ...] = ()

    @property
    def card(self) -> str:
        """The chosen card's id."""
        return self.plan.card

    def document(self) -> dict[str, Any]:
        """The decision with every candidate and rejection as plain values, for JSON."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        lists = {"candidates": list(self.candidates), "rejections": dict(self.rejections)}
        optional = {"plans": dict(fields.pop("plans"))}
        names = ("canary", "memory", "exploration", "experiment", "stages_off")
        optional |= {name: fields.pop(name) for name in names}
        added = {name: value for name, value in optional.items() if value}
        return {"card": self.card, **fields, **lists, **added}

    @property
    def outlook(self) -> PlanOutlook | None:
        """What is expected of the plan; None where a single card answers."""
        return self.plans[self.plan.id] if isinstance(self.plan, ComposedPlan) else None


class Usage(Struct, frozen=True, omit_defaults=True):
    """The tokens of an answer, as its upstream reports them.

    The input includes `cached_input_tokens`, which were read from a prompt cache, and `cache_write_tokens`, which were
    written to one, `cache_write_1h_tokens` of them for an hour; of the rest `audio_input_tokens` are audio. The output
    includes `reasoning_tokens` and `audio_output_tokens`. `service_tier` is the upstream's word for how it served the
    request. `reported_cost_usd` is what the upstream says that it charges. `estimated`: the upstream did not report
    all counts, and those of the texts stand for the others.
    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    service_tier: str | None = None
    reported_cost_usd: float | None = None
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens


class Attempt(Struct, frozen=True, omit_defaults=True):
    """One call of one deployment.

    `status` is the HTTP status, None where no response arrived. `elapsed_ms` is the duration of the call. `fault` is
    the kind of failure in one word, None where the call succeeded. `delivered_tokens` estimates what had arrived of a
    whole answer that broke off, which is charged.
    """

    card: str
    deployment: str
    status: int | None
    elapsed_ms: float
    fault: str | None = None
    delivered_tokens: int = 0


class CallOutcome(Struct, frozen=True, omit_defaults=True):
    """One call of a plan, beside those of the other members.

    `role` is what the call was for: `draft`, `sample`, `writer`, `segment`, `stage`, `answer` or `fallback`. `verdict`
    is how its answer was used: `shown` to the client, `used` by a further call or as a vote, `rejected`, `failed`, or
    `cancelled` before it was whole. `right` is the probability that the gate gave to the answer, `reason` why it was
    rejected or what failed. Times are since the arrival of the request.
    """

    card: str
    role: str
    verdict: str
    usage: Usage | None = None
    cost_usd: float | None = None
    right: float | None = None
    reason: str = ""
    began_ms: float = 0.0
    elapsed_ms: float = 0.0


class Outcome(Struct, frozen=True, omit_defaults=True):
    """The result of a request.

    `status` is the HTTP status of the response, 499 where the client disconnected first. `card` is the id of the card
    that answered; `attempts` are in order. `cost_usd` is the cost of `usage`. `ttft_ms` is the time to the first
    content, `total_ms` the time to the last byte, `overhead_ms` the gateway's own time before the first upstream call.
    `error` is the error code in the response. Where a plan answered, `plan` is its id, `usage` and `cost_usd` are those
    of all its `calls` together, and `degraded` is why its answer is less than what was planned. `refused`: the
    server marked the answer as a refusal, which is looked for in trials of canaries only.
    """

    status: int
    total_ms: float
    card: str | None = None
    attempts: tuple[Attempt, ...] = ()
    usage: Usage | None = None
    cost_usd: float | None = None
    ttft_ms: float | None = None
    overhead_ms: float = 0.0
    error: str | None = None
    plan: str | None = None
    degraded: str | None = None
    calls: tuple[CallOutcome, ...] = ()
    refused: bool = False

    @property
    def retries(self) -> int:
        """The number of attempts beyond one for the request, or for each call of its plan."""
        return max(len(self.attempts) - max(len(self.calls), 1), 0)

    @property
    def single_usage(self) -> Usage | None:
        """The usage as one card alone would have had it: its prompt, and the answer that the client got."""
        counted = [call.usage for call in self.calls if call.usage is not None]
        shown = [call.usage for call in self.calls if call.usage is not None and call.verdict == "shown"]
        if not counted or not shown or self.usage is None:
            return self.usage
        return Usage(counted[0].input_tokens, sum(usage.output_tokens for usage in shown), estimated=True)


def known(value: float) -> float | None:
    """`value` as a float, or None where it is NaN."""
    return None if math.isnan(value) else float(value)
