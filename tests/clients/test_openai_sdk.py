"""The openai SDK against a gateway in a server of its own, in front of an upstream that has one too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import openai
import pytest

from tests.gateway.servers import Upstream, gateway_server, make_card

MESSAGES: list = [{"role": "user", "content": "hi"}]


@pytest.fixture
def base_url(upstream: Upstream) -> Iterator[str]:
    models = ("ok", "cut", "status-400", "status-401", "status-404", "status-429", "status-500")
    with gateway_server(
        *(make_card(model, upstream.url, model, api_key_env="OPENAI_API_KEY") for model in models)
    ) as url:
        yield f"{url}/v1"


@pytest.fixture
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key="client-key") as client:
        yield client


def test_a_completion_comes_back(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(model="auto[provider=openai]", messages=MESSAGES, max_tokens=5)
    assert completion.choices[0].message.content == "Hello"
    assert completion.model == "served"
    assert str(completion._request_id).startswith("req_")


def test_a_stream_comes_back(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model="ok", messages=MESSAGES, stream=True) as chunks:
        said = [chunk.choices[0] for chunk in chunks]
    assert "".join(choice.delta.content or "" for choice in said) == "Hello"
    assert [choice.finish_reason for choice in said] == [None, "stop"]


def test_the_asynchronous_client_works_too(base_url: str) -> None:
    async def main() -> tuple[str | None, str]:
        async with openai.AsyncOpenAI(base_url=base_url, api_key="client-key") as client:
            completion = await client.chat.completions.create(model="ok", messages=MESSAGES)
            chunks = await client.chat.completions.create(model="ok", messages=MESSAGES, stream=True)
            said = "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
            await chunks.close()
            return completion.choices[0].message.content, said

    assert asyncio.run(main()) == ("Hello", "Hello")


def test_the_raw_answer_shows_the_choice(client: openai.OpenAI) -> None:
    answer = client.chat.completions.with_raw_response.create(model="ok", messages=MESSAGES)
    assert answer.headers["x-route-card"] == "ok"


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("nothing-like-it", openai.NotFoundError),
        ("auto[sise<7B]", openai.BadRequestError),
        ("status-400", openai.BadRequestError),
        ("status-401", openai.AuthenticationError),
        ("status-404", openai.NotFoundError),
        ("status-429", openai.RateLimitError),
        ("status-500", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_those_of_the_sdk(
    client: openai.OpenAI, model: str, error: type[openai.APIStatusError], stream: bool
) -> None:
    with pytest.raises(error) as caught:
        client.with_options(max_retries=0).chat.completions.create(model=model, messages=MESSAGES, stream=stream)
    assert caught.value.request_id


def test_an_unknown_model_has_openais_code(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nothing-like-it", messages=MESSAGES)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_the_sdks_retries_are_not_multiplied(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.error_headers = {"retry-after-ms": "1"}
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="status-429", messages=MESSAGES)
    assert len(upstream.seen) == 3


def test_a_cut_stream_raises(client: openai.OpenAI) -> None:
    chunks = client.chat.completions.create(model="cut", messages=MESSAGES, stream=True)
    with chunks, pytest.raises(openai.APIError, match="hung up"):
        list(chunks)


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()][:2] == ["auto", "auto/alone"]
    assert client.models.retrieve("auto/alone").id == "auto/alone"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_the_clients_key_stays_here(client: openai.OpenAI, upstream: Upstream) -> None:
    client.chat.completions.create(model="ok", messages=MESSAGES)
    assert upstream.seen[0].headers["authorization"] == "Bearer sk-gateway-secret"
