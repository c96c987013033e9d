"""langchain-openai as a client of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.clients.asks import BOTH_CITIES, PIXEL_SEEN, PIXEL_URL, Person
from tests.clients.conftest import CLIENT_KEY


@pytest.fixture
def at_the_gateway(base_url: str) -> Iterator[dict[str, Any]]:
    # langchain never closes the clients that it makes itself.
    with httpx.Client() as client:
        yield {"base_url": base_url, "api_key": CLIENT_KEY, "max_retries": 0, "http_client": client}


@pytest.fixture
def chat(at_the_gateway: dict[str, Any]) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="gpt-5.4", **at_the_gateway)


def test_an_answer_comes_back(chat: Any) -> None:
    answer = chat.invoke([("system", "Be brief."), ("human", "hi")])
    assert answer.content == "You said: hi (told: Be brief.)"
    assert answer.usage_metadata["output_tokens"] == 6


def test_a_stream_comes_back_with_its_usage(chat: Any) -> None:
    first, *others = chat.stream("hi", stream_usage=True)
    whole = first
    for piece in others:
        whole += piece
    assert len(others) > 1
    assert whole.content == "You said: hi"
    assert whole.usage_metadata["output_tokens"] == 3


def test_tools_are_called_and_their_results_told(chat: Any) -> None:
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import tool

    @tool
    def get_weather(city: str) -> str:
        """The weather of a city."""
        return f"{city} is sunny"

    armed = chat.bind_tools([get_weather])
    turns = [HumanMessage(BOTH_CITIES)]
    asked = armed.invoke(turns)
    results = [ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in asked.tool_calls]
    told = armed.invoke([*turns, asked, *results])
    assert told.content == "The tools say: Oslo is sunny; Lima is sunny"


def test_calls_of_tools_are_put_together_from_a_stream(chat: Any) -> None:
    armed = chat.bind_tools([{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}])
    pieces = list(armed.stream(BOTH_CITIES))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert [(call["name"], call["id"]) for call in whole.tool_calls] == [
        ("look", "call_0_oslo"),
        ("look", "call_1_lima"),
    ]


def test_a_structured_answer_comes_back(chat: Any) -> None:
    assert chat.with_structured_output(Person).invoke("Ada") == Person(name="Ada", age=7, hobbies=["Ada"])


def test_an_image_is_seen(chat: Any) -> None:
    from langchain_core.messages import HumanMessage

    parts: Any = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL_URL}}]
    assert chat.invoke([HumanMessage(parts)]).content == PIXEL_SEEN


@pytest.mark.parametrize("model", ["gpt-5.4", "open-model"])
def test_its_responses_side_works_too(at_the_gateway: dict[str, Any], model: str) -> None:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(model=model, use_responses_api=True, **at_the_gateway)
    assert chat.invoke("hi").text == "You said: hi"
    assert "".join(piece.text for piece in chat.stream("hi")) == "You said: hi"


def test_the_asynchronous_calls_work_too(at_the_gateway: dict[str, Any]) -> None:
    from langchain_openai import ChatOpenAI

    async def main() -> tuple[str, list[str]]:
        async with httpx.AsyncClient() as client:
            chat = ChatOpenAI(model="gpt-5.4", http_async_client=client, **at_the_gateway)
            answer = await chat.ainvoke("hi")
            said = "".join([str(piece.content) async for piece in chat.astream("hi")])
            return answer.text, [said, *(each.text for each in await chat.abatch(["a", "b"]))]

    assert asyncio.run(main()) == ("You said: hi", ["You said: hi", "You said: a", "You said: b"])


def test_texts_become_vectors(at_the_gateway: dict[str, Any]) -> None:
    from langchain_openai import OpenAIEmbeddings

    # Counting tokens before sending would load OpenAI's tokenizer from the network.
    embedder = OpenAIEmbeddings(model="text-embedding-3-large", check_embedding_ctx_length=False, **at_the_gateway)
    assert embedder.embed_documents(["four", "a"]) == [[4.0, 0.5, 0.5, 0.5], [1.0, 0.5, 0.5, 0.5]]
