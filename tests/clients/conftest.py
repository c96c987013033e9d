"""A fake provider and a gateway in front of it for all client tests; both are real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from router.cards import Card
from tests.clients.docs_pages import ADDRESS, page_blocks
from tests.clients.page_programs import outputs_of, written_in
from tests.clients.upstream import Upstream, upstream_server
from tests.gateway.servers import Upstream as ScriptedUpstream
from tests.gateway.servers import gateway_server, make_card
from tests.gateway.servers import upstream_server as scripted_server

CLIENT_KEY = "client-key"
UPSTREAM_KEY = "sk-of-the-upstream"
# The first such call in a process imports litellm, which takes seconds.
THROUGH_LITELLM = (
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Item .* is using the `ReadOnly` qualifier:UserWarning"),
)
KEY_VARIABLE = "PULVINAR_TEST_UPSTREAM_KEY"
_CAPABILITIES = ("tools", "parallel_tools", "json_schema", "logprobs", "reasoning")
# The models of endpoints beside chat, as openai-python's suite names them.
_MEDIA = ("gpt-4o-transcribe", "whisper-1", "gpt-image-1", "gpt-image-2", "omni-moderation-latest")


def cards(upstream: str) -> list[Card]:
    """Cards of four kinds of models, all served by the fake provider at `upstream`.

    `gpt-5.4` supports chat and responses, `open-model` the protocols of most OpenAI-compatible servers (no responses),
    `claude` Anthropic's messages; the completion and embedding models support one protocol each.
    """
    facts = {
        "api_key_env": KEY_VARIABLE,
        "context_tokens": 200_000,
        "modalities": ("text", "image"),
        "capabilities": _CAPABILITIES,
    }
    # The last ones are named by the suites of the SDKs.
    aliases = ("gpt-4o", "gpt-4o-mini", "gpt-5.1", "gpt-5.6-sol", "model")
    claude = {**facts, "provider": "anthropic", "base_url": upstream}
    return [
        make_card("gpt-5.4", upstream, "gpt-5.4", 2.0, aliases=aliases, apis=("chat", "responses"), **facts),
        make_card("open-model", upstream, "open-model", 3.0, provider="hosted_vllm", **facts),
        make_card("claude", upstream, "claude-opus-4-5", 4.0, aliases=("claude-opus-5-5", "model_id"), **claude),
        make_card("gpt-3.5-turbo-instruct", upstream, "gpt-3.5-turbo-instruct", 5.0, apis=("completions",), **facts),
        *(
            make_card(model, upstream, model, 6.0, apis=("embeddings",), **facts)
            for model in ("text-embedding-3-small", "text-embedding-3-large")
        ),
        *(
            make_card(model, upstream, model, 7.0, apis=("chat", "responses"), **facts)
            for model in ("cut", "status-400", "status-429")
        ),
        make_card("media", upstream, "media", 9.0, aliases=_MEDIA, **facts),
        make_card("cut-in-chat", upstream, "cut", 7.0, provider="hosted_vllm", **facts),
        *(
            make_card(f"claude-{model}", upstream, model, 8.0, **claude)
            for model in ("cut", "status-400", "status-429")
        ),
    ]


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[Upstream, str]]:
    """The fake provider, and the URL of the gateway in front of it."""
    with pytest.MonkeyPatch.context() as patch, upstream_server() as upstream:
        patch.setenv(KEY_VARIABLE, UPSTREAM_KEY)
        with gateway_server(*cards(upstream.url)) as url:
            yield upstream, url


@pytest.fixture
def upstream(servers: tuple[Upstream, str]) -> Upstream:
    """The fake provider, without earlier requests."""
    upstream, _ = servers
    upstream.seen.clear()
    return upstream


@pytest.fixture(scope="session")
def gateway(servers: tuple[Upstream, str]) -> str:
    """The gateway's URL, without /v1."""
    return servers[1]


@pytest.fixture(scope="session")
def base_url(gateway: str) -> str:
    """The gateway's URL for OpenAI's clients, with /v1."""
    return f"{gateway}/v1"


@pytest.fixture(scope="session")
def outputs(gateway: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The output of each page's Python, by the page's name, and of `litellm_client`.

    One process runs them all, since importing these libraries takes seconds; it is not the process of the gateway,
    which uses litellm too, and the two must not share clients and settings.
    """
    programs = {page.stem: "\n".join(page_blocks(page, "python")) for page in written_in("python")}
    client = f"from tests.clients.litellm_client import main\nprint(main({ADDRESS!r}, {CLIENT_KEY!r}))"
    return outputs_of(programs | {"litellm_client": client}, gateway, tmp_path_factory.mktemp("pages"))


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedUpstream]:
    """An upstream whose faults are selected by the model's name."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-gateway-secret")
    with scripted_server() as server:
        yield server
