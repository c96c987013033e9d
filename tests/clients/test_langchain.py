"""langchain-openai as a client of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.clients.conftest import CLIENT_KEY
from tests.clients.inputs import BOTH_CITIES, PIXEL_ANSWER, PIXEL_URL, Person


@pytest.fixture
def connection(base_url: str) -> Iterator[dict[str, Any]]:
    # langchain never closes the clients that it creates.
    with httpx.Client() as client:
        yield {"base_url": base_url, "api_key": CLIENT_KEY, "max_retries": 0, "http_client": client}


@pytest.fixture
def chat(connection: dict[str, Any]) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="gpt-5.4", **connection)


def test_an_answer_is_returned(chat: Any) -> None:
    answer = chat.invoke([("system", "Be brief."), ("human", "hi")])
    assert answer.content == "You said: hi (system: Be brief.)"
    assert answer.usage_metadata["output_tokens"] == 6


def test_a_stream_is_returned_with_its_usage(chat: Any) -> None:
    first, *other_chunks = chat.stream("hi", stream_usage=True)
    whole = first
    for chunk in other_chunks:
        whole += chunk
    assert len(other_chunks) > 1
    assert whole.content == "You said: hi"
    assert whole.usage_metadata["output_tokens"] == 3


def test_tool_calls_and_their_results_are_passed_on(chat: Any) -> None:
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import tool

    @tool
    def get_weather(city: str) -> str:
        """The weather of a city."""
        return f"{city} is sunny"

    chat_with_tools = chat.bind_tools([get_weather])
    turns = [HumanMessage(BOTH_CITIES)]
    tool_request = chat_with_tools.invoke(turns)
    tool_results = [
        ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in tool_request.tool_calls
    ]
    answer = chat_with_tools.invoke([*turns, tool_request, *tool_results])
    assert answer.content == "The tools returned: Oslo is sunny; Lima is sunny"


def test_streamed_tool_calls_are_assembled_from_their_fragments(chat: Any) -> None:
    chat_with_tools = chat.bind_tools(
        [{"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}]
    )
    chunks = list(chat_with_tools.stream(BOTH_CITIES))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert [(call["name"], call["id"]) for call in whole.tool_calls] == [
        ("search", "call_0_oslo"),
        ("search", "call_1_lima"),
    ]


def test_a_structured_output_is_parsed(chat: Any) -> None:
    assert chat.with_structured_output(Person).invoke("Ada") == Person(name="Ada", age=7, hobbies=["Ada"])


def test_an_image_reaches_the_model(chat: Any) -> None:
    from langchain_core.messages import HumanMessage

    parts: Any = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL_URL}}]
    assert chat.invoke([HumanMessage(parts)]).content == PIXEL_ANSWER


@pytest.mark.parametrize("model", ["gpt-5.4", "open-model"])
def test_the_responses_protocol_works(connection: dict[str, Any], model: str) -> None:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(model=model, use_responses_api=True, **connection)
    assert chat.invoke("hi").text == "You said: hi"
    assert "".join(chunk.text for chunk in chat.stream("hi")) == "You said: hi"


def test_the_asynchronous_calls_work(connection: dict[str, Any]) -> None:
    from langchain_openai import ChatOpenAI

    async def main() -> tuple[str, list[str]]:
        async with httpx.AsyncClient() as client:
            chat = ChatOpenAI(model="gpt-5.4", http_async_client=client, **connection)
            answer = await chat.ainvoke("hi")
            streamed = "".join([str(chunk.content) async for chunk in chat.astream("hi")])
            return answer.text, [streamed, *(message.text for message in await chat.abatch(["a", "b"]))]

    assert asyncio.run(main()) == ("You said: hi", ["You said: hi", "You said: a", "You said: b"])


def test_texts_are_embedded(connection: dict[str, Any]) -> None:
    from langchain_openai import OpenAIEmbeddings

    # Counting tokens before sending would download OpenAI's tokenizer.
    embedder = OpenAIEmbeddings(model="text-embedding-3-large", check_embedding_ctx_length=False, **connection)
    assert embedder.embed_documents(["four", "a"]) == [[4.0, 0.5, 0.5, 0.5], [1.0, 0.5, 0.5, 0.5]]
