"""Which kinds of plans can answer a request at all, whatever the cards are."""

from __future__ import annotations

from router.decide.plans.spec import BestOf, Cascade, Chain, PlanSpec, Reroute, Segments
from router.types import Features
from router.wire.reading.indivisible import TOOL_TURNS
from router.wire.reading.needs import MEANINGS

_SINGLE_NEEDS = ("multiple_choices", "logprobs", "audio_output", "image_output", "predicted_outputs")
"""Needs that the answers of several calls cannot meet together."""

_ACTIONS = frozenset(
    {
        "tools",
        "custom_tools",
        "parallel_tools",
        "strict_tools",
        "code_interpreter",
        "computer_use",
        "file_search",
        "image_generation",
        "mcp",
        "memory",
        "shell",
        "text_editor",
        "tool_search",
        "web_fetch",
        "web_search",
    }
)
"""Needs with which an answer may call tools: then one answer is taken whole."""

_JSON = frozenset({"json_schema", "json_object"})
"""Needs with which an answer is checked: by the schema of the request, or only whether it is JSON."""


_NO_JSON = "the request asks for no JSON, with a schema or without, by which the plan checks answers"
_TEXT = frozenset({"text"})


def impossible(plan: PlanSpec, features: Features) -> str:
    """Why a plan of this kind cannot answer the request; empty where it can."""
    if is_plain(features):
        return impossible_for_text(plan)
    if features.indivisible and (fields := sorted(features.indivisible - {TOOL_TURNS})):
        return f"the request sets `{fields[0]}`, which only a single call can serve"
    if features.needs and (need := next((need for need in _SINGLE_NEEDS if need in features.needs), "")):
        return f"the request asks for {MEANINGS[need]}, which only a single call can give"
    return _impossible_kind(plan, features)


def is_plain(features: Features) -> bool:
    """Whether the request is plain text, as most are, and needs nothing else."""
    return not features.indivisible and not features.needs and features.modalities == _TEXT


def impossible_for_text(plan: PlanSpec) -> str:
    """`impossible` where the request is plain text and needs nothing else."""
    if isinstance(plan, BestOf) and plan.validators.json_schema == "request":
        return _NO_JSON
    if isinstance(plan, Chain) and (first := plan.stages[0].consumes) != "text":
        return _nothing_to_consume(first)
    return ""


def _nothing_to_consume(content: str) -> str:
    return f"the request contains no {content}, which the first stage consumes"


def _impossible_kind(plan: PlanSpec, features: Features) -> str:
    if "audio" in features.modalities and not isinstance(plan, Chain):
        return "the request contains audio, which only a single call or a chain can answer"
    acts = sorted(features.needs & _ACTIONS) or sorted(features.indivisible)
    if acts and not isinstance(plan, Cascade | BestOf | Reroute):
        return f"the request has tools ({acts[0]}): only cascade, best_of and reroute take one answer whole"
    match plan:
        case Segments():
            return _impossible_parts(features)
        case BestOf(validators=validators) if validators.json_schema == "request" and not features.needs & _JSON:
            return _NO_JSON
        case Chain(stages=stages) if (first := stages[0].consumes) not in features.modalities:
            return _nothing_to_consume(first)
    return ""


def _impossible_parts(features: Features) -> str:
    if kinds := sorted(features.modalities - {"text"}):
        return f"the request contains {kinds[0]}, which the parts of a prompt would be without"
    if features.needs & _JSON:
        return "the request asks for one answer in JSON, and the answers to parts cannot be joined into one"
    return ""
