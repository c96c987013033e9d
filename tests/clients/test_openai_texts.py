"""The openai SDK's completions and embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.clients.conftest import CLIENT_KEY
from tests.clients.upstream import Upstream

INSTRUCT, EMBEDDER = "gpt-3.5-turbo-instruct", "text-embedding-3-large"


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


def test_a_text_is_completed(client: openai.OpenAI) -> None:
    completion = client.completions.create(model=INSTRUCT, prompt="Once", suffix=" end.")
    assert completion.object == "text_completion"
    assert completion.choices[0].text == "You said: Once end."


def test_several_texts_are_completed_at_once(client: openai.OpenAI) -> None:
    completion = client.completions.create(model=INSTRUCT, prompt=["Once", "Twice"], n=2)
    assert [choice.text for choice in completion.choices] == ["You said: Once"] * 2 + ["You said: Twice"] * 2


def test_a_text_is_completed_in_a_stream(client: openai.OpenAI) -> None:
    with client.completions.create(model=INSTRUCT, prompt="Once", stream=True) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks) == "You said: Once"
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_usage_of_a_completion_is_returned_if_requested(client: openai.OpenAI) -> None:
    options: Any = {"include_usage": True}
    with client.completions.create(model=INSTRUCT, prompt="Once", stream=True, stream_options=options) as stream:
        *_, last = stream
    assert last.usage is not None
    assert last.usage.completion_tokens == 3


def test_every_request_field_reaches_the_upstream(client: openai.OpenAI, upstream: Upstream) -> None:
    fields: dict[str, Any] = {
        "best_of": 2,
        "echo": True,
        "logit_bias": {"42": -100},
        "logprobs": 1,
        "max_tokens": 16,
        "prompt": [[1, 2, 3]],
        "seed": 0,
        "stop": ["\n"],
        "temperature": 0.125,
    }
    client.completions.create(model=INSTRUCT, **fields, extra_body={"min_p": 0.05})
    assert upstream.last.path == "/v1/completions"
    assert upstream.last.body == {**fields, "min_p": 0.05, "model": INSTRUCT}


def test_a_text_is_embedded(client: openai.OpenAI, upstream: Upstream) -> None:
    # The SDK requests base64 by default, and decodes it.
    response = client.embeddings.create(model=EMBEDDER, input="four")
    assert response.data[0].embedding == [4.0, 0.5, 0.5, 0.5]
    assert upstream.last.body == {"model": EMBEDDER, "input": "four", "encoding_format": "base64"}


def test_several_texts_are_embedded_with_the_requested_dimensions(client: openai.OpenAI) -> None:
    response = client.embeddings.create(model=EMBEDDER, input=["a", "bcd"], dimensions=2, encoding_format="float")
    assert [(item.index, item.embedding) for item in response.data] == [(0, [1.0, 0.5]), (1, [3.0, 0.5])]


def test_the_asynchronous_client_works(base_url: str) -> None:
    async def main() -> tuple[str, list[float]]:
        async with openai.AsyncOpenAI(base_url=base_url, api_key=CLIENT_KEY) as client:
            completion = await client.completions.create(model=INSTRUCT, prompt="Once")
            embedding = await client.embeddings.create(model=EMBEDDER, input="four")
            return completion.choices[0].text, embedding.data[0].embedding

    assert asyncio.run(main()) == ("You said: Once", [4.0, 0.5, 0.5, 0.5])


def test_a_model_that_does_not_support_the_protocol_is_a_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="claude", input="hi")


@pytest.mark.parametrize(
    ("model", "path"), [("auto", "/v1/chat/completions"), (f"auto[card={INSTRUCT}]", "/v1/completions")]
)
def test_auto_works_with_this_protocol(client: openai.OpenAI, upstream: Upstream, model: str, path: str) -> None:
    """The cheapest model supports only chat, so the request is converted for it."""
    assert client.completions.create(model=model, prompt="Once").choices[0].text == "You said: Once"
    with client.completions.create(model=model, prompt="Once", stream=True) as stream:
        assert "".join(chunk.choices[0].text for chunk in stream) == "You said: Once"
    assert [seen.path for seen in upstream.seen] == [path, path]


def test_embeddings_require_a_named_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="vectors"):
        client.embeddings.create(model="auto", input="four")
