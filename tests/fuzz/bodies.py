"""Valid request bodies of every surface, from which the fuzzer starts."""

from __future__ import annotations

from typing import Any

_TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"place":"Oslo"}'}}
_PIXEL = "data:image/png;base64,iVBORw0KGgo="
_CACHED = {"type": "ephemeral"}
_INPUT_SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}}

CHAT: tuple[dict[str, Any], ...] = (
    {"model": "auto", "messages": [{"role": "user", "content": "What is 17 * 23?"}]},
    {
        "model": "auto",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is it?", "cache_control": _CACHED}]},
            {"role": "assistant", "content": None, "tool_calls": [_CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
            {"role": "user", "content": "commit it"},
        ],
        "tools": [_TOOL],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "temperature": 0.2,
        "top_p": 0.9,
        "n": 1,
        "seed": 7,
        "stop": ["\n"],
        "logprobs": True,
        "max_completion_tokens": 64,
        "reasoning_effort": "low",
        "stream": True,
        "stream_options": {"include_usage": True},
        "metadata": {"team": "x", "route_flags": "cheapest"},
        "route": {"flags": "cheapest*0.5"},
        "user": "somebody",
    },
    {
        "model": "one",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "[Flag: cheapest] Which colour?"},
                    {"type": "image_url", "image_url": {"url": _PIXEL, "detail": "low"}},
                ],
            }
        ],
        "response_format": {"type": "json_schema", "json_schema": {"name": "colour", "schema": {"type": "object"}}},
        "max_tokens": 5,
    },
)
COMPLETIONS: tuple[dict[str, Any], ...] = (
    {"model": "auto", "prompt": "Once upon a time", "max_tokens": 9, "stream": True, "echo": False},
    {"model": "one", "prompt": ["a", "b"], "suffix": "end", "logprobs": 2, "best_of": 1},
    {"model": "auto", "prompt": [1, 2, 3], "stop": None},
)
EMBEDDINGS: tuple[dict[str, Any], ...] = (
    {"model": "auto", "input": "The quick brown fox"},
    {"model": "one", "input": ["a", "b"], "encoding_format": "float", "dimensions": 3},
    {"model": "one", "input": [[1, 2], [3]], "encoding_format": "base64"},
)
RESPONSES: tuple[dict[str, Any], ...] = (
    {"model": "auto", "input": "Tell me a joke.", "max_output_tokens": 32, "stream": True},
    {
        "model": "one",
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "What is it?"}]},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"place":"Oslo"}'},
            {"type": "function_call_output", "call_id": "c1", "output": "rain"},
            {"role": "user", "content": [{"type": "input_image", "image_url": _PIXEL}]},
        ],
        "tools": [{"type": "function", "name": "weather", "parameters": _INPUT_SCHEMA, "strict": False}],
        "tool_choice": {"type": "function", "name": "weather"},
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low"},
        "store": False,
        "previous_response_id": None,
        "metadata": {"route_flags": "cheapest"},
    },
)
MESSAGES: tuple[dict[str, Any], ...] = (
    {"model": "auto", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]},
    {
        "model": "one",
        "max_tokens": 64,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": _CACHED}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "What is the weather?"}]},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {"place": "Oslo"}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "rain"}]},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                ],
            },
        ],
        "tools": [{"name": "weather", "description": "The weather.", "input_schema": _INPUT_SCHEMA}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "disabled"},
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "top_k": 5,
        "stream": True,
        "metadata": {"user_id": "u"},
    },
)

BODIES = {
    "/chat/completions": CHAT,
    "/completions": COMPLETIONS,
    "/embeddings": EMBEDDINGS,
    "/responses": RESPONSES,
    "/messages": MESSAGES,
    "/messages/count_tokens": MESSAGES,
    "/route": CHAT,
}
"""By path after `/v1`; only the dry run has no `/v1`."""
