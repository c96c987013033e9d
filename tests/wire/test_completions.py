"""Chat completions, converted to legacy completions and read by OpenAI's SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from router.errors import FieldError
from router.wire import CONVERSIONS, Dialect
from router.wire.dialect import adapt
from tests.wire.chats import USAGE, ConversionGateway, chunk, completion, events, streamed, usage_chunk


@pytest.fixture(scope="module")
def client(one_server: ConversionGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="k", base_url=f"{one_server.url}/v1", max_retries=0) as client:
        yield client


COMMON = Dialect()


def chat(dialect: Dialect = COMMON, /, **fields: Any) -> dict[str, Any]:
    return dict(
        adapt(CONVERSIONS["completions"].to_chat({"model": "auto", "prompt": "Say hi.", **fields}), dialect).body
    )


def logprobs_of(*tokens: str) -> dict[str, Any]:
    top = [{"token": "other", "logprob": -2.0}]
    return {"content": [{"token": token, "logprob": -0.5, "top_logprobs": top} for token in tokens]}


def test_the_prompt_becomes_a_user_message() -> None:
    assert chat() == {"model": "auto", "messages": [{"role": "user", "content": "Say hi."}]}
    assert chat(prompt=["Say hi."]) == chat()


def test_fields_that_chat_supports_are_passed_on() -> None:
    assert chat(n=2, seed=1, stop="END", logit_bias={"1": 2}, best_of=2) == {
        **chat(),
        "n": 2,
        "seed": 1,
        "stop": "END",
        "logit_bias": {"1": 2},
    }


def test_the_output_limit_depends_on_the_upstreams_dialect() -> None:
    assert chat(max_tokens=5)["max_tokens"] == 5
    assert chat(Dialect(output_limit="max_completion_tokens"), max_tokens=5)["max_completion_tokens"] == 5


def test_a_number_of_logprobs_becomes_chats_two_fields() -> None:
    assert chat(logprobs=3) == {**chat(), "logprobs": True, "top_logprobs": 3}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": True}, "logprobs"),
    ],
)
def test_what_chat_does_not_support_is_rejected(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(FieldError) as raised:
        chat(**fields)

    assert raised.value.param == param


def test_the_sdk_reads_a_whole_answer(gateway: ConversionGateway, client: openai.OpenAI) -> None:
    gateway.chat = completion("length", content="Hi", reasoning_content="Hmm.")
    gateway.chat["choices"][0]["logprobs"] = logprobs_of("H", "i")

    answer: Any = client.completions.create(model="auto", prompt="Say hi.", logprobs=1)

    [choice] = answer.choices
    assert (answer.id, answer.object, answer.model) == ("cmpl-1", "text_completion", "served")
    assert (choice.text, choice.finish_reason) == ("Hi", "length")
    assert choice.logprobs.tokens == ["H", "i"]
    assert choice.logprobs.text_offset == [0, 1]
    assert choice.logprobs.top_logprobs == [{"other": -2.0}, {"other": -2.0}]
    assert answer.usage.total_tokens == USAGE["total_tokens"]


def test_the_sdk_reads_a_stream(gateway: ConversionGateway, client: openai.OpenAI) -> None:
    gateway.chunks = [chunk(role="assistant"), chunk(content="Hel"), chunk(content="lo"), chunk("stop"), usage_chunk()]

    chunks = list(client.completions.create(model="auto", prompt="Say hi.", stream=True))

    assert [chunk.choices[0].text for chunk in chunks] == ["Hel", "lo", ""]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, "stop"]


def test_usage_is_streamed_only_if_the_client_requests_it(gateway: ConversionGateway, client: openai.OpenAI) -> None:
    gateway.chunks = [chunk(content="Hi"), chunk("stop"), usage_chunk()]

    with_usage: Any = list(
        client.completions.create(model="auto", prompt="x", stream=True, stream_options={"include_usage": True})
    )
    without_usage: Any = list(client.completions.create(model="auto", prompt="x", stream=True))

    assert (with_usage[-1].choices, with_usage[-1].usage.total_tokens) == ([], 120)
    assert all(chunk.usage is None for chunk in without_usage)


def test_several_answers_keep_their_index() -> None:
    second = chunk(content="B")
    second["choices"][0]["index"] = 1
    last = chunk("stop")
    last["choices"].append({"index": 1, "delta": {}, "finish_reason": "length"})

    choices = [event["choices"][0] for event in events(streamed("completions", [chunk(content="A"), second, last]))]

    assert [(choice["index"], choice["text"], choice["finish_reason"]) for choice in choices] == [
        (0, "A", None),
        (1, "B", None),
        (0, "", "stop"),
        (1, "", "length"),
    ]


def test_text_offsets_continue_from_chunk_to_chunk() -> None:
    first, second = chunk(content="Hel"), chunk(content="lo")
    first["choices"][0]["logprobs"], second["choices"][0]["logprobs"] = logprobs_of("Hel"), logprobs_of("lo")

    stream = events(streamed("completions", [first, second, chunk("stop")]))

    assert [event["choices"][0]["logprobs"]["text_offset"] for event in stream[:2]] == [[0], [3]]


@pytest.mark.parametrize(
    "broken",
    [
        [],
        [{"error": {"message": "boom"}}],
        [{**chunk("stop"), "choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}],
    ],
    ids=["cut", "error chunk", "another answer cut"],
)
def test_the_sdk_raises_if_the_stream_breaks_off(
    gateway: ConversionGateway, client: openai.OpenAI, broken: list[dict[str, Any]]
) -> None:
    gateway.chunks = [chunk(content="Hel"), *broken]

    with pytest.raises(openai.APIError, match="the upstream"):
        list(client.completions.create(model="auto", prompt="x", stream=True))
