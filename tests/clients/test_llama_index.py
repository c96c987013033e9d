"""llama-index-llms-openai-like as a client of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.clients.asks import BOTH_CITIES, Person
from tests.clients.conftest import CLIENT_KEY

pytestmark = pytest.mark.slow


@pytest.fixture
def at_the_gateway(base_url: str) -> Iterator[dict[str, Any]]:
    # llama-index never closes the clients that it makes itself.
    with httpx.Client() as client:
        yield {"api_base": base_url, "api_key": CLIENT_KEY, "max_retries": 0, "http_client": client}


@pytest.fixture
def llm(at_the_gateway: dict[str, Any]) -> Any:
    from llama_index.llms.openai_like import OpenAILike

    return OpenAILike(model="gpt-5.4", is_chat_model=True, is_function_calling_model=True, **at_the_gateway)


def messages(words: str) -> Any:
    from llama_index.core.llms import ChatMessage

    return [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content=words)]


def test_an_answer_comes_back(llm: Any) -> None:
    assert llm.chat(messages("hi")).message.content == "You said: hi (told: Be brief.)"
    assert llm.complete("hi").text == "You said: hi"


def test_a_stream_comes_back(llm: Any) -> None:
    pieces = list(llm.stream_chat(messages("hi")))
    assert "".join(piece.delta for piece in pieces) == "You said: hi (told: Be brief.)"
    assert len(pieces) > 2


def test_a_model_of_texts_goes_to_completions(at_the_gateway: dict[str, Any]) -> None:
    from llama_index.llms.openai_like import OpenAILike

    llm = OpenAILike(model="gpt-3.5-turbo-instruct", is_chat_model=False, **at_the_gateway)
    assert llm.complete("Once").text == "You said: Once"
    assert "".join(piece.delta for piece in llm.stream_complete("Once")) == "You said: Once"


def test_tools_are_called(llm: Any) -> None:
    from llama_index.core.tools import FunctionTool

    def get_weather(city: str) -> str:
        """The weather of a city."""
        return f"{city} is sunny"

    tools = [FunctionTool.from_defaults(get_weather)]
    asked = llm.chat_with_tools(tools, user_msg=BOTH_CITIES, allow_parallel_tool_calls=True)
    calls = llm.get_tool_calls_from_response(asked)
    assert [(call.tool_name, call.tool_kwargs) for call in calls] == [
        ("get_weather", {"city": "Oslo"}),
        ("get_weather", {"city": "Lima"}),
    ]


def test_a_structured_answer_comes_back(llm: Any) -> None:
    from llama_index.core.prompts import PromptTemplate

    assert isinstance(llm.structured_predict(Person, PromptTemplate("Ada")), Person)


def test_the_asynchronous_calls_work_too(at_the_gateway: dict[str, Any]) -> None:
    from llama_index.llms.openai_like import OpenAILike

    async def main() -> tuple[str, str]:
        async with httpx.AsyncClient() as client:
            llm = OpenAILike(model="gpt-5.4", is_chat_model=True, async_http_client=client, **at_the_gateway)
            answer = await llm.achat(messages("hi"))
            said = "".join([piece.delta or "" async for piece in await llm.astream_chat(messages("hi"))])
            return answer.message.content or "", said

    assert asyncio.run(main()) == ("You said: hi (told: Be brief.)",) * 2
