"""A program that uses litellm as a client: `litellm_client.py URL KEY` prints what came back as JSON.

It runs in a process of its own, as it would at a user's: the gateway of the tests uses litellm too, and the two must
not share clients and settings.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import litellm

from tests.clients.asks import BOTH_CITIES, CHAT_TOOL

HI = [{"role": "user", "content": "hi"}]


async def asynchronously(at: dict[str, Any]) -> dict[str, Any]:
    completion = await litellm.acompletion(**at, messages=HI)
    stream = await litellm.acompletion(**at, messages=HI, stream=True)
    said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    return {"completion": completion.choices[0].message.content, "stream": said}


def main(url: str, key: str) -> dict[str, Any]:
    at = {"api_base": f"{url}/v1", "api_key": key}
    chat = {"model": "openai/gpt-5.4", **at}
    completion = litellm.completion(**chat, messages=HI)
    chunks = list(litellm.completion(**chat, messages=HI, stream=True))
    # Without `_skip_mcp_handler`, litellm wants the package mcp for every tool.
    asked = {"messages": [{"role": "user", "content": BOTH_CITIES}], "tools": [CHAT_TOOL], "_skip_mcp_handler": True}
    called = litellm.completion(**chat, **asked).choices[0].message.tool_calls
    embedding = litellm.embedding(model="openai/text-embedding-3-small", input=["four"], encoding_format="float", **at)
    anthropic = {"model": "anthropic/open-model", "api_base": url, "api_key": key, "max_tokens": 50}
    try:
        litellm.completion(model="openai/nothing-like-it", messages=HI, max_retries=0, **at)
        error = None
    except litellm.NotFoundError as raised:
        error = type(raised).__name__
    return {
        "completion": completion.choices[0].message.content,
        "completion_tokens": completion.usage.completion_tokens,
        "auto": litellm.completion(model="openai/auto", messages=HI, **at).model,
        "stream": "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
        "finish_reason": chunks[-1].choices[0].finish_reason,
        "cities": [json.loads(call.function.arguments)["city"] for call in called],
        "asynchronous": asyncio.run(asynchronously(chat)),
        "vector": embedding.data[0]["embedding"],
        "message": litellm.completion(**anthropic, messages=HI).choices[0].message.content,
        "error": error,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
