"""What running a plan needs to know beside the request, and whether a request can be answered by a plan at all."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from router.compose.gate import Gate
from router.decide.plans.spec import BestOf, Caps, Cascade, PlanSpec
from router.dispatch import Call
from router.wire.reading.needs import needs_of

_NONE: Mapping[str, float] = {}
_ONE_ANSWER = frozenset({"multiple_choices", "logprobs", "audio_output", "image_output"})
_TOOLS = frozenset(
    {
        "tools",
        "custom_tools",
        "strict_tools",
        "parallel_tools",
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
# What only one server has, or what makes an answer one of several that belong together.
_STATE = ("previous_response_id", "conversation", "background", "seed", "audio")
_TOOL_KINDS = frozenset({"tool_use", "tool_result", "function_call", "function_call_output", "custom_tool_call"})


class Forecasts(Struct, frozen=True):
    """What is forecast of cards on this request, by card: quality, cost in US dollars, and the tokens of an answer.

    `usual_quality` is the mean over the catalogue.
    """

    quality: Mapping[str, float] = _NONE
    cost_usd: Mapping[str, float] = _NONE
    written_tokens: Mapping[str, float] = _NONE
    usual_quality: float = 0.5


class Brief(Struct, frozen=True, eq=False):
    """The plan's file, what is forecast, and what the operator allows at most (`caps`).

    `request_id` seeds what must not depend on the members, such as their order. `choose` gives the best card among
    some for a prompt of its own, None where none is better than another. `gate` judges answers, where the artifact has
    one.
    """

    spec: PlanSpec
    forecasts: Forecasts = Forecasts()
    caps: Caps = Caps()
    request_id: str = ""
    choose: Callable[[Mapping[str, Any], tuple[str, ...]], str | None] | None = None
    gate: Gate | None = None

    @property
    def limits(self) -> Caps:
        """The caps of the plan, as far as the operator allows them."""
        own, most = self.spec.caps, self.caps
        return Caps(
            calls=min(own.calls, most.calls),
            parallel=min(own.parallel, most.parallel),
            usd=_least(own.usd, most.usd),
            seconds=_least(own.seconds, most.seconds),
        )

    def seeded(self) -> random.Random:
        """A source of numbers that is the same whenever this request is run again."""
        return random.Random(self.request_id)


def unfit_reason(spec: PlanSpec, call: Call) -> str:
    """Why one card alone must answer a request, in one word; empty where the plan can.

    Tools, and what a client goes on with, need the whole message of one model, which only plans give that pick one.
    """
    body = call.body
    needs = needs_of(body)
    if needs & _ONE_ANSWER:
        return "one-answer"
    if (
        any(body.get(field) is not None and body.get(field) is not False for field in _STATE)
        or body.get("store") is True
    ):
        return "stateful"
    if call.affinity.binds:
        return "stateful"
    if (needs & _TOOLS or _has_tool_turns(body)) and not isinstance(spec, Cascade | BestOf):
        return "tools"
    return ""


def _has_tool_turns(body: Mapping[str, Any]) -> bool:
    """Whether the conversation contains calls of tools, in any protocol."""
    for field in ("messages", "input"):
        turns = body.get(field)
        for turn in turns if isinstance(turns, list) else ():
            if not isinstance(turn, Mapping):
                continue
            if turn.get("tool_calls") or turn.get("role") in ("tool", "function") or turn.get("type") in _TOOL_KINDS:
                return True
            parts = turn.get("content")
            for part in parts if isinstance(parts, list) else ():
                if isinstance(part, Mapping) and part.get("type") in _TOOL_KINDS:
                    return True
    return False


def _least(first: float | None, second: float | None) -> float | None:
    stated = [value for value in (first, second) if value is not None]
    return min(stated) if stated else None
