"""A program that uses litellm as a client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import litellm

from tests.clients.inputs import BOTH_CITIES, CHAT_TOOL

HI = [{"role": "user", "content": "hi"}]


async def asynchronous_results(connection: dict[str, Any]) -> dict[str, Any]:
    completion = await litellm.acompletion(**connection, messages=HI)
    stream = await litellm.acompletion(**connection, messages=HI, stream=True)
    streamed = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    return {"completion": completion.choices[0].message.content, "stream": streamed}


def main(url: str, key: str) -> str:
    """The results as JSON."""
    connection = {"api_base": f"{url}/v1", "api_key": key}
    chat = {"model": "openai/gpt-5.4", **connection}
    completion = litellm.completion(**chat, messages=HI)
    chunks = list(litellm.completion(**chat, messages=HI, stream=True))
    # Without `_skip_mcp_handler`, litellm requires the package mcp for every tool.
    tool_request = {
        "messages": [{"role": "user", "content": BOTH_CITIES}],
        "tools": [CHAT_TOOL],
        "_skip_mcp_handler": True,
    }
    tool_calls = litellm.completion(**chat, **tool_request).choices[0].message.tool_calls
    embedding = litellm.embedding(
        model="openai/text-embedding-3-small", input=["four"], encoding_format="float", **connection
    )
    anthropic = {"model": "anthropic/open-model", "api_base": url, "api_key": key, "max_tokens": 50}
    try:
        litellm.completion(model="openai/nothing-like-it", messages=HI, max_retries=0, **connection)
        error = None
    except litellm.NotFoundError as raised:
        error = type(raised).__name__
    results = {
        "completion": completion.choices[0].message.content,
        "completion_tokens": completion.usage.completion_tokens,
        "auto": litellm.completion(model="openai/auto", messages=HI, **connection).model,
        "stream": "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
        "finish_reason": chunks[-1].choices[0].finish_reason,
        "cities": [json.loads(call.function.arguments)["city"] for call in tool_calls],
        "asynchronous": asyncio.run(asynchronous_results(chat)),
        "vector": embedding.data[0]["embedding"],
        "message": litellm.completion(**anthropic, messages=HI).choices[0].message.content,
        "error": error,
    }
    return json.dumps(results)
