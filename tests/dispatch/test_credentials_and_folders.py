from pathlib import Path

import pytest

from router import settings
from router.cards import Card


def card(provider: str = "openai", **facts: str) -> Card:
    return Card(id="a", provider=provider, model="m", **facts)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_API_KEY", "TOGETHER_API_KEY", "TOGETHERAI_API_KEY", "PULVINAR_CARDS"):
        monkeypatch.delenv(variable, raising=False)


def test_the_cards_own_variable_comes_before_the_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "usual")
    monkeypatch.setenv("TEAM_KEY", "own")
    assert settings.api_key(card()) == "usual"
    assert settings.api_key(card(api_key_env="TEAM_KEY")) == "own"


def test_a_key_that_is_not_set_is_named() -> None:
    assert settings.missing_credentials(card()) == "OPENAI_API_KEY is not set"
    assert settings.missing_credentials(card("some-cloud")) == "SOME_CLOUD_API_KEY is not set"


def test_any_of_a_providers_usual_variables_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.missing_credentials(card("together_ai")) == "TOGETHER_API_KEY is not set"
    monkeypatch.setenv("TOGETHERAI_API_KEY", "k")
    assert settings.missing_credentials(card("together_ai")) is None


@pytest.mark.parametrize("value", ["", "  \n"])
def test_a_blank_key_counts_as_none(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", value)
    assert settings.missing_credentials(card()) == "OPENAI_API_KEY is not set"


def test_a_line_break_after_a_key_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k\n")
    assert settings.api_key(card()) == "k"


@pytest.mark.parametrize("url", ["http://localhost:1/v1", "http://127.9.9.9/v1", "http://[::1]:80/v1"])
def test_a_server_on_this_machine_needs_no_key(url: str) -> None:
    assert settings.missing_credentials(card(base_url=url)) is None


@pytest.mark.parametrize("url", ["http://localhost.example.com/v1", "http://10.0.0.1/v1"])
def test_a_server_elsewhere_needs_one(url: str) -> None:
    assert settings.missing_credentials(card(base_url=url)) == "OPENAI_API_KEY is not set"


def test_a_self_hosted_server_needs_a_key_only_where_its_card_names_one() -> None:
    assert settings.missing_credentials(card("hosted_vllm", base_url="http://10.0.0.1/v1")) is None
    named = card("hosted_vllm", base_url="http://10.0.0.1/v1", api_key_env="NOT_SET_ANYWHERE")
    assert settings.missing_credentials(named) == "NOT_SET_ANYWHERE is not set"


def test_the_folder_in_the_environment_comes_first_then_the_current_directorys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings.default_cards_folder().name == "model_cards"
    assert tmp_path not in settings.default_cards_folder().parents
    (tmp_path / "model_cards").mkdir()
    assert settings.default_cards_folder() == tmp_path / "model_cards"
    monkeypatch.setenv("PULVINAR_CARDS", "/elsewhere")
    assert settings.default_cards_folder() == Path("/elsewhere")
