"""What a dialect can state about a server's chat completions, and what each field is worth to an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from router.wire.effort import NO_THINKING

Names = frozenset[str]


class Field(Struct, frozen=True):
    """A field of chat completions. `defaults` change nothing, so leaving them out is no loss; nor does null.

    `hint`: without the field the answer still means the same, so it may be left out, with a note to the client. Every
    other field is refused where the server does not support it.
    """

    defaults: tuple[Any, ...] = ()
    hint: bool = False


_HINT = Field(hint=True)
_MEANING = Field()

FIELDS: Mapping[str, Field] = {
    "audio": _MEANING,
    "chat_template_kwargs": _HINT,
    "enable_thinking": _HINT,
    "frequency_penalty": Field((0,), hint=True),
    "function_call": Field(("auto", "none")),
    "functions": Field(([],)),
    "include_reasoning": _HINT,
    "logit_bias": Field(({},)),
    "logprobs": Field((False,)),
    "metadata": Field(({},), hint=True),
    "min_p": Field((0,), hint=True),
    "modalities": Field((["text"],)),
    "n": Field((1,)),
    "parallel_tool_calls": Field((True,), hint=True),
    "prediction": _HINT,
    "presence_penalty": Field((0,), hint=True),
    "prompt_cache_key": Field(("",), hint=True),
    "prompt_cache_options": _HINT,
    "prompt_cache_retention": _HINT,
    "reasoning": _HINT,
    "reasoning_effort": _HINT,
    "reasoning_format": _HINT,
    "repetition_penalty": Field((1,), hint=True),
    "response_format": Field(({"type": "text"},)),
    "safety_identifier": Field(("",), hint=True),
    "seed": _HINT,
    "service_tier": Field(("auto", "default"), hint=True),
    "stop": Field(([], "")),
    "store": Field((False,), hint=True),
    "stream_options": _HINT,
    "temperature": Field((1,), hint=True),
    "thinking": _HINT,
    "thinking_budget": _HINT,
    "tool_choice": Field(("auto",)),
    "tools": Field(([],)),
    "top_k": Field((0, -1), hint=True),
    "top_logprobs": Field((0,)),
    "top_p": Field((1,), hint=True),
    "user": Field(("",), hint=True),
    "verbosity": Field(("medium",), hint=True),
    "web_search_options": _MEANING,
}
"""The fields whose value for an answer is known. Others are passed on, and the server decides."""


class Dialect(Struct, frozen=True):
    """What a server's chat completions accept. The defaults accept everything in OpenAI's form.

    Fields: `accepts` is the complete list where the server rejects all others, `rejects` a list of exceptions;
    `renames` gives the server's own name, `bounds` the smallest and largest number, `only` the values (or `type`s)
    that a field may have, `longest` the most characters of a text, which is cut, or entries of a list, which is
    refused; of `exclusive` pairs the second field is left out. `output_limit` is the name of the limit.

    Messages: `refused_parts` are types of content parts that the server cannot read; `file_ids`: it can read files by
    id. `system`: where several system messages may stand. `system_alone`: a request may have no other messages.
    `developer`: it knows that role. `named_turns`: a message may have a name. `plain_texts`: texts must be strings, not
    lists of parts. `empty_texts`: a message may be empty. `alternating`: turns of one role may not follow each other.
    `cache_control`: it ignores or supports Anthropic's cache breakpoints. `call_id` is what the id of a tool call may
    look like, as a regular expression; `call_id_characters` the length of those made in its place.

    Reasoning: `reasoning_fields` are the fields of a message in which the server takes its reasoning back, and
    `call_fields` those of a tool call (`reasoning_fields` None: any of both). `reasoning_parts`: contents may have
    parts with reasoning.
    `requires_reasoning`: a turn with tool calls must contain it; without it, `thinking_off` is added.
    `thinks`, `thinks_with_forced_tool`: it can think, also where a tool is forced; else `thinking_off` is added.
    `signs_thinking`: thinking as Anthropic's models have it, in signed blocks. `thinking_budgets`: it has a budget in
    tokens below the output limit, and must begin a turn with tool calls.
    `least_effort`: the lowest effort, which is stated in place of "none"; empty where none is stated then.
    `unsigned_calls`: the signature for tool calls of other models, where the server requires one.
    """

    name: str = "this server"
    accepts: Names | None = None
    rejects: Names = frozenset()
    renames: Mapping[str, str] = {}
    bounds: Mapping[str, tuple[float, float]] = {}
    only: Mapping[str, tuple[Any, ...]] = {}
    longest: Mapping[str, int] = {}
    exclusive: tuple[tuple[str, str], ...] = ()
    output_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    refused_parts: Names = frozenset()
    file_ids: bool = True
    system: Literal["anywhere", "leading"] = "anywhere"
    system_alone: bool = True
    developer: bool = False
    named_turns: bool = True
    plain_texts: bool = False
    empty_texts: bool = True
    alternating: bool = False
    cache_control: bool = True
    call_id: str = ""
    call_id_characters: int = 0
    reasoning_fields: Names | None = None
    call_fields: Names = frozenset()
    reasoning_parts: bool = False
    requires_reasoning: bool = False
    thinking_off: Mapping[str, Any] = {}
    thinks: bool = True
    thinks_with_forced_tool: bool = True
    signs_thinking: bool = False
    thinking_budgets: bool = False
    least_effort: str = NO_THINKING
    unsigned_calls: str = ""

    def supports(self, field: str) -> bool:
        """Whether the server accepts the field at all."""
        if self.accepts is not None and field in FIELDS:
            return field in self.accepts and field not in self.rejects
        return field not in self.rejects
