"""Failures as the openai SDK reports them: errors of every status, an interrupted stream, retries."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.gateway.servers import Upstream, gateway_server, make_card

MESSAGES: list = [{"role": "user", "content": "hi"}]


@pytest.fixture
def base_url(scripted: Upstream) -> Iterator[str]:
    models = ("ok", "cut", "status-400", "status-401", "status-404", "status-429", "status-500")
    with gateway_server(
        *(make_card(model, scripted.url, model, api_key_env="OPENAI_API_KEY") for model in models)
    ) as url:
        yield f"{url}/v1"


@pytest.fixture
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key="client-key") as client:
        yield client


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("nothing-like-it", openai.NotFoundError),
        ("auto[sise<7B]", openai.BadRequestError),
        ("status-400", openai.BadRequestError),
        ("status-401", openai.InternalServerError),
        ("status-404", openai.NotFoundError),
        ("status-429", openai.RateLimitError),
        ("status-500", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_raise_the_sdks_exceptions(
    client: openai.OpenAI, model: str, error: type[openai.APIStatusError], stream: bool
) -> None:
    with pytest.raises(error) as caught:
        client.with_options(max_retries=0).chat.completions.create(model=model, messages=MESSAGES, stream=stream)
    assert caught.value.request_id


def test_an_unknown_model_has_openais_code(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nothing-like-it", messages=MESSAGES)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_the_sdks_retries_are_not_multiplied(client: openai.OpenAI, scripted: Upstream) -> None:
    scripted.error_headers = {"retry-after-ms": "1"}
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="status-429", messages=MESSAGES)
    assert len(scripted.seen) == 3


def test_an_interrupted_stream_raises(client: openai.OpenAI) -> None:
    chunks = client.chat.completions.create(model="cut", messages=MESSAGES, stream=True)
    with chunks, pytest.raises(openai.APIError, match="closed the connection"):
        list(chunks)
