"""llama-index-llms-openai-like as a client of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.clients.conftest import CLIENT_KEY
from tests.clients.inputs import BOTH_CITIES, Person

pytestmark = pytest.mark.slow


@pytest.fixture
def connection(base_url: str) -> Iterator[dict[str, Any]]:
    # llama-index never closes the clients that it creates.
    with httpx.Client() as client:
        yield {"api_base": base_url, "api_key": CLIENT_KEY, "max_retries": 0, "http_client": client}


@pytest.fixture
def llm(connection: dict[str, Any]) -> Any:
    from llama_index.llms.openai_like import OpenAILike

    return OpenAILike(model="gpt-5.4", is_chat_model=True, is_function_calling_model=True, **connection)


def messages(content: str) -> Any:
    from llama_index.core.llms import ChatMessage

    return [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content=content)]


def test_an_answer_is_returned(llm: Any) -> None:
    assert llm.chat(messages("hi")).message.content == "You said: hi (system: Be brief.)"
    assert llm.complete("hi").text == "You said: hi"


def test_a_stream_is_returned(llm: Any) -> None:
    chunks = list(llm.stream_chat(messages("hi")))
    assert "".join(chunk.delta for chunk in chunks) == "You said: hi (system: Be brief.)"
    assert len(chunks) > 2


def test_a_completion_model_is_called_with_completions(connection: dict[str, Any]) -> None:
    from llama_index.llms.openai_like import OpenAILike

    llm = OpenAILike(model="gpt-3.5-turbo-instruct", is_chat_model=False, **connection)
    assert llm.complete("Once").text == "You said: Once"
    assert "".join(chunk.delta for chunk in llm.stream_complete("Once")) == "You said: Once"


def test_tools_are_called(llm: Any) -> None:
    from llama_index.core.tools import FunctionTool

    def get_weather(city: str) -> str:
        """The weather of a city."""
        return f"{city} is sunny"

    tools = [FunctionTool.from_defaults(get_weather)]
    response = llm.chat_with_tools(tools, user_msg=BOTH_CITIES, allow_parallel_tool_calls=True)
    calls = llm.get_tool_calls_from_response(response)
    assert [(call.tool_name, call.tool_kwargs) for call in calls] == [
        ("get_weather", {"city": "Oslo"}),
        ("get_weather", {"city": "Lima"}),
    ]


def test_a_structured_output_is_parsed(llm: Any) -> None:
    from llama_index.core.prompts import PromptTemplate

    assert isinstance(llm.structured_predict(Person, PromptTemplate("Ada")), Person)


def test_the_asynchronous_calls_work(connection: dict[str, Any]) -> None:
    from llama_index.llms.openai_like import OpenAILike

    async def main() -> tuple[str, str]:
        async with httpx.AsyncClient() as client:
            llm = OpenAILike(model="gpt-5.4", is_chat_model=True, async_http_client=client, **connection)
            answer = await llm.achat(messages("hi"))
            streamed = "".join([chunk.delta or "" async for chunk in await llm.astream_chat(messages("hi"))])
            return answer.message.content or "", streamed

    assert asyncio.run(main()) == ("You said: hi (system: Be brief.)",) * 2
