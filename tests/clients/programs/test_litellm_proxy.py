"""LiteLLM's proxy in front of the gateway and behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import anthropic
import msgspec
import openai
import pytest
import yaml

from bench.gateway.processes import Start, free_port, running
from router.cards import Card
from tests.clients.conftest import KEY_VARIABLE, UPSTREAM_KEY, cards
from tests.clients.docs_pages import adapted, blocks, section
from tests.clients.inputs import BOTH_CITIES, CHAT_TOOL
from tests.clients.packages import HEAVY, python_of
from tests.clients.programs.workplace import proxy_trap
from tests.clients.upstream import Upstream, upstream_server
from tests.faults.process import route_serve, served
from tests.gateway.servers import make_card

pytestmark = [pytest.mark.slow, HEAVY]

# The proxy refuses to start without a key that is hard to guess.
KEY = "sk-9f2c61d07be84a35a1c9e2b4"
_RUN = "from litellm import run_server; run_server()"


def proxy(folder: Path, port: int, gateway: str, upstream: str) -> Start:
    """A proxy that has the gateway's `auto`, as its page describes, and the fake provider's `open-model`."""
    (document,) = blocks(section("litellm", "LiteLLM's proxy in front of Pulvinar"), "yaml")
    in_front = yaml.safe_load(adapted(document, gateway, "open-model"))["model_list"]
    behind = {"model": "openai/open-model", "api_base": f"{upstream}/v1", "api_key": UPSTREAM_KEY}
    models = [
        {"model_name": "in-front", "litellm_params": in_front[0]["litellm_params"]},
        {"model_name": "behind", "litellm_params": behind},
    ]
    folder.mkdir()
    (folder / "config.yaml").write_text(json.dumps({"model_list": models}), encoding="utf-8")
    command = [str(python_of("litellm-proxy")), "-c", _RUN, "--config", "config.yaml", "--telemetry", "False"]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": KEY, "HOME": str(folder)}
    arguments = ("--host", "127.0.0.1", "--port", str(port))
    return Start((*command, *arguments), folder, port, ("/health/liveliness",), environment, limit_s=200.0)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Upstream, str, str]]:
    """The fake provider, the URL of the gateway and that of the proxy."""
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    behind = f"http://127.0.0.1:{port}"
    with upstream_server() as upstream, proxy_trap() as trap:
        through: Card = make_card(
            "through-litellm", behind, "behind", 1.0, api_key_env="PROXY_KEY", capabilities=("tools",)
        )
        own = [card for card in cards(upstream.url) if card.id == "open-model"]
        start = route_serve(folder / "gateway", [*own, through])
        keys = {KEY_VARIABLE: UPSTREAM_KEY, "PROXY_KEY": KEY}
        with served(msgspec.structs.replace(start, environment=start.environment | keys)) as (gateway, _):
            litellm = proxy(folder / "litellm", port, gateway, upstream.url)
            no_hosts = {"HTTPS_PROXY": f"http://127.0.0.1:{trap.port}", "NO_PROXY": "127.0.0.1"}
            environment = litellm.environment | no_hosts
            with running(msgspec.structs.replace(litellm, environment=environment), folder / "litellm.log"):
                yield upstream, gateway, behind
        assert trap.asked == []


@pytest.fixture(params=["in front", "behind"])
def client(request: pytest.FixtureRequest, chain: tuple[Upstream, str, str]) -> Iterator[tuple[openai.OpenAI, str]]:
    """A client whose requests pass through the proxy and the gateway, in either order; and the model to name."""
    _, gateway, litellm = chain
    url, model = (litellm, "in-front") if request.param == "in front" else (gateway, "through-litellm")
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as made:
        yield made, model


def test_a_tool_loop_passes_through_both(client: tuple[openai.OpenAI, str]) -> None:
    made, model = client
    messages: list[object] = [{"role": "user", "content": BOTH_CITIES}]
    called = made.chat.completions.create(model=model, messages=messages, tools=[CHAT_TOOL]).choices[0].message  # type: ignore[arg-type]
    assert [json.loads(call.function.arguments)["city"] for call in called.tool_calls or ()] == ["Oslo", "Lima"]  # type: ignore[union-attr]
    messages.append(called.model_dump(exclude_none=True))
    for call in called.tool_calls or ():
        city = json.loads(call.function.arguments)["city"]  # type: ignore[union-attr]
        messages.append({"role": "tool", "tool_call_id": call.id, "content": f"{city} is sunny"})
    answered = made.chat.completions.create(model=model, messages=messages, tools=[CHAT_TOOL])  # type: ignore[arg-type]
    assert answered.choices[0].message.content == "The tools returned: Oslo is sunny; Lima is sunny"


def test_a_stream_passes_through_both_with_its_usage(client: tuple[openai.OpenAI, str]) -> None:
    made, model = client
    stream = made.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == "You said: hi"
    assert sum(chunk.usage.completion_tokens for chunk in chunks if chunk.usage) == 3


def test_anthropics_protocol_passes_through_a_proxy_in_front(chain: tuple[Upstream, str, str]) -> None:
    with anthropic.Anthropic(base_url=chain[2], auth_token=KEY, max_retries=0) as client:
        message = client.messages.create(model="in-front", max_tokens=50, messages=[{"role": "user", "content": "hi"}])
    assert [block.text for block in message.content if block.type == "text"] == ["You said: hi"]
