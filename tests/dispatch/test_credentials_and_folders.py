from pathlib import Path

import pytest

from router import settings
from router.cards import Card
from router.dispatch import providers
from router.dispatch.configured import missing_configuration
from router.formats.net import is_loopback


def card(provider: str = "openai", **facts: str) -> Card:
    return Card(id="a", provider=provider, model="m", **facts)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_API_KEY", "TOGETHER_API_KEY", "TOGETHERAI_API_KEY", "PULVINAR_CARDS"):
        monkeypatch.delenv(variable, raising=False)


def test_the_cards_variable_takes_precedence_over_the_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "default")
    monkeypatch.setenv("TEAM_KEY", "team")
    assert providers.api_key(card()) == "default"
    assert providers.api_key(card(api_key_env="TEAM_KEY")) == "team"


def test_the_reason_names_the_variable_of_a_missing_key() -> None:
    assert providers.missing_credentials(card()) == "OPENAI_API_KEY is not set"
    assert providers.missing_credentials(card("some-cloud")) == "SOME_CLOUD_API_KEY is not set"


def test_any_of_a_providers_variables_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert providers.missing_credentials(card("together_ai")) == "TOGETHER_API_KEY is not set"
    monkeypatch.setenv("TOGETHERAI_API_KEY", "k")
    assert providers.missing_credentials(card("together_ai")) is None


@pytest.mark.parametrize("value", ["", "  \n"])
def test_a_blank_key_counts_as_missing(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", value)
    assert providers.missing_credentials(card()) == "OPENAI_API_KEY is not set"


def test_a_line_break_after_a_key_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k\n")
    assert providers.api_key(card()) == "k"


@pytest.mark.parametrize("url", ["http://localhost:1/v1", "http://127.9.9.9/v1", "http://[::1]:80/v1"])
def test_a_server_on_this_machine_needs_no_key(url: str) -> None:
    assert providers.missing_credentials(card(base_url=url)) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.com/v1",
        "https://evil.example/v1",
        "https://api.openai.com.evil.example/v1",
        "https://api.openai.com:8443/v1",
    ],
)
def test_a_providers_default_key_is_sent_to_no_other_server(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "default")
    monkeypatch.setenv("TEAM_KEY", "team")
    assert providers.api_key(card(base_url=url)) is None
    assert providers.api_key(card(base_url=url, api_key_env="TEAM_KEY")) == "team"


def test_a_providers_default_key_is_sent_to_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "default")
    assert providers.api_key(card(base_url="https://API.openai.com:443/v1/")) == "default"
    monkeypatch.delenv("OPENAI_API_KEY")
    assert providers.missing_credentials(card(base_url="https://api.openai.com/v1")) == "OPENAI_API_KEY is not set"


@pytest.mark.parametrize("provider", ["openai", "anthropic", "custom_openai"])
def test_a_card_with_a_base_url_may_need_no_key(provider: str) -> None:
    assert providers.missing_credentials(card(provider, base_url="http://10.0.0.1/v1")) is None


def test_an_invalid_url_is_not_on_this_machine() -> None:
    assert not is_loopback("http://[::1")
    assert missing_configuration(card(base_url="http://a..é/v1")) == "base_url is not a valid URL"


def test_a_misspelt_provider_makes_a_card_uncallable() -> None:
    reason = 'unknown provider "hosted_vlm"; did you mean "hosted_vllm"?'
    assert missing_configuration(card("hosted_vlm", base_url="http://127.0.0.1:8000/v1")) == reason


@pytest.mark.parametrize("provider", ["vertex_ai_beta", "gemini", "bedrock", "text-completion-openai"])
def test_providers_that_litellm_supports_are_known(provider: str) -> None:
    assert providers.unknown_provider(card(provider)) is None


def test_a_self_hosted_server_needs_a_key_only_where_its_card_names_one() -> None:
    assert providers.missing_credentials(card("hosted_vllm", base_url="http://10.0.0.1/v1")) is None
    named = card("hosted_vllm", base_url="http://10.0.0.1/v1", api_key_env="NOT_SET_ANYWHERE")
    assert providers.missing_credentials(named) == "NOT_SET_ANYWHERE is not set"


def test_the_cards_folder_is_that_of_the_environment_else_of_the_current_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings.default_cards_folder().name == "model_cards"
    assert tmp_path not in settings.default_cards_folder().parents
    (tmp_path / "model_cards").mkdir()
    assert settings.default_cards_folder() == tmp_path / "model_cards"
    monkeypatch.setenv("PULVINAR_CARDS", "/elsewhere")
    assert settings.default_cards_folder() == Path("/elsewhere")
