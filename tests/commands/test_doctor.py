"""`route doctor` with servers on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from router.cards import load_catalog
from router.perceive.predictor import Predictor
from tests.commands.conftest import KEY_VARIABLES, Run
from tests.dispatch.calls import unused_address
from tests.dispatch.discovery.servers import ADAPTER, OLLAMA, VLLM, VLLM_SERVER, model_server
from tests.dispatch.discovery.test_key_check import RIGHT, VARIABLE, provider

OPENAI_CARDS = {"gpt-4o", "gpt-4o-mini"}


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, predictor: Predictor) -> Path:
    """A current folder without cards, a predictor, no key, and no server but those of the test."""
    monkeypatch.setattr("router.dispatch.availability._KNOWN_SERVERS", {})
    for variable in KEY_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    predictor.save(tmp_path / "artifact")
    monkeypatch.setenv("PULVINAR_ARTIFACT", str(tmp_path / "artifact"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def files_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def hosted_card(folder: Path, url: str) -> Path:
    folder.mkdir()
    card = f"id: hosted\nprovider: openai\nmodel: gpt\nbase_url: {url}/v1\napi_key_env: {VARIABLE}\n"
    (folder / "hosted.yaml").write_text(card)
    return folder


def test_a_card_of_each_model_that_ollama_has_is_written_and_can_be_called(run: Run, elsewhere: Path) -> None:
    with model_server(OLLAMA) as url:
        ended = run("doctor", "--write", "--server", url)
        ready = json.loads(run("doctor", "--json").out)["ready"]
    assert ended.code == 0
    assert f"found Ollama at {url}/v1/models: llama3.2:latest" in ended.out
    assert "wrote   model_cards: llama3.2 (3.213B, context 131072, tools, json_schema)" in ended.out
    assert 'Next: route ask "your prompt", or route serve' in ended.out
    assert yaml.safe_load((elsewhere / "model_cards" / "llama3.2.yaml").read_text())["base_url"] == f"{url}/v1"
    assert ready == ["llama3.2"]


def test_nothing_is_written_twice_and_no_file_is_overwritten(run: Run, elsewhere: Path) -> None:
    mine = elsewhere / "model_cards" / "llama3.2.yaml"
    mine.parent.mkdir()
    mine.write_text("id: mine\nprovider: openai\nmodel: mine\n")
    with model_server(OLLAMA) as url:
        first = json.loads(run("doctor", "--write", "--server", url, "--json").out)
        second = json.loads(run("doctor", "--write", "--server", url, "--json").out)
    assert mine.read_text().startswith("id: mine\n")
    assert (first["written"], first["present"]) == (["llama3.2"], [])
    assert (second["written"], second["present"]) == ([], ["llama3.2"])
    assert files_in(mine.parent) == ["llama3.2-2.yaml", "llama3.2.yaml"]


def test_a_card_whose_name_is_taken_is_named_after_its_server_and_so_is_the_base_of_an_adapter(
    run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "cards"
    folder.mkdir()
    (folder / "qwen.yaml").write_text("id: qwen2.5-7b-instruct\nprovider: openai\nmodel: qwen\n")
    with model_server(VLLM_SERVER) as url:
        assert run("doctor", "--write", folder, "--server", url).code == 0
    catalog = load_catalog(folder)
    assert catalog.ids == ("qwen2.5-7b-instruct", "qwen2.5-7b-instruct-vllm", "sql-lora")
    assert catalog.named("sql-lora").base == "qwen2.5-7b-instruct-vllm"


def test_an_adapter_gets_the_card_that_describes_its_base_already(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "cards"
    folder.mkdir()
    with model_server({"/v1/models": {"data": [VLLM, ADAPTER]}}) as url:
        card = f"id: mine\nprovider: hosted_vllm\nmodel: {VLLM['id']}\nbase_url: {url}\n"
        (folder / "mine.yaml").write_text(card)
        ended = run("doctor", "--write", folder, "--server", url)
    assert "present mine: a card describes the model already" in ended.out
    assert load_catalog(folder).named("sql-lora").base == "mine"


def test_a_new_folder_also_gets_the_shipped_cards_whose_key_is_set(
    run: Run, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    ended = run("doctor", "--write", "--offline")
    copied = set(load_catalog(elsewhere / "model_cards").ids)
    assert copied >= OPENAI_CARDS
    assert "claude-haiku-4-5" not in copied
    assert "(shipped cards whose key is set)" in ended.out


def test_a_folder_with_cards_only_gets_the_names_of_the_shipped_cards_whose_key_is_set(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    folder = hosted_card(tmp_path / "cards", unused_address())
    document = json.loads(run("doctor", "--write", folder, "--offline", "--json").out)
    assert set(document["matching"]) >= OPENAI_CARDS
    assert files_in(folder) == ["hosted.yaml"]


def test_where_nothing_is_found_nothing_is_written_and_the_next_steps_are_said(run: Run, elsewhere: Path) -> None:
    ended = run("doctor", "--write")
    assert "nothing to write" in ended.out
    assert "ollama serve" in ended.out
    assert files_in(elsewhere) == []


def test_a_folder_is_only_for_writing(run: Run) -> None:
    ended = run("doctor", "cards")
    assert ended.code == 2
    assert "route doctor --write cards" in ended.err


def test_a_server_must_be_a_url(run: Run) -> None:
    ended = run("doctor", "--server", "localhost")
    assert ended.code == 2
    assert "must be a URL such as http://127.0.0.1:8001" in ended.err


def test_a_key_that_is_refused_makes_its_cards_unavailable(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with provider("authorization", "/v1/models") as (url, _):
        folder = hosted_card(tmp_path / "cards", url)
        monkeypatch.setenv(VARIABLE, "wrong-key")
        refused = run("doctor", "--cards", folder)
        monkeypatch.setenv(VARIABLE, RIGHT)
        accepted = run("doctor", "--cards", folder)
    assert f"key refused {VARIABLE} for 127.0.0.1: HTTP 401 (1 card)" in refused.out
    assert "0 can be called now" in refused.out
    assert f"{VARIABLE} is refused by 127.0.0.1" in " ".join(refused.out.split())
    assert f"key ok {VARIABLE} for 127.0.0.1: accepted (1 card)" in accepted.out


def test_the_missing_key_of_a_card_is_named(run: Run) -> None:
    document = json.loads(run("doctor", "--json").out)
    assert document["unavailable"]["gpt-4o-mini"] == "OPENAI_API_KEY is not set"


def test_offline_tries_no_key(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    document = json.loads(run("doctor", "--offline", "--json").out)
    assert document["keys"] == []
    assert set(document["ready"]) >= OPENAI_CARDS
