from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest

from router import settings
from router.cards import load_catalog
from router.formats import units
from tests.commands.conftest import Run
from tests.gateway.servers import upstream_server

pytestmark = pytest.mark.usefixtures("bare_machine")


def pipe_in(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))


def test_a_prompt_needs_no_command_word(run: Run) -> None:
    ended = run("What is the capital of Peru?")
    assert ended.code == 0
    assert "quality" in ended.out
    assert run("prompt", "What is the capital of Peru?").out == ended.out


CATALOG = load_catalog(settings.shipped_cards_folder())
CALLABLE = sorted(card.id for card in CATALOG if card.api_key_env == "XAI_API_KEY")
"""The cards that can be called where only the key of xAI is set."""
LEFT_OUT = f"{len(CALLABLE)} of {len(CATALOG)} cards can be called here; --all for the whole catalogue\n"


def test_where_no_card_can_be_called_all_are_compared_and_a_line_says_so(run: Run) -> None:
    ended = run("hello", "--json")
    assert ended.err == f"no card can be called here (route doctor shows why): all {len(CATALOG)} are compared\n"
    assert len(json.loads(ended.out)["candidates"]) == len(CATALOG)


def test_where_a_card_can_be_called_the_others_are_left_out_and_a_line_says_how_many(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_API_KEY", "sk-test")
    ended = run("hello", "--json")
    assert ended.err == LEFT_OUT
    document = json.loads(ended.out)
    assert sorted(candidate["card"] for candidate in document["candidates"]) == CALLABLE
    assert document["rejections"]["gpt-4o"] == {"limit": "available", "reason": "OPENAI_API_KEY is not set"}


def test_all_takes_the_whole_catalogue(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_API_KEY", "sk-test")
    ended = run("hello", "--all", "--json")
    assert ended.err == ""
    assert len(json.loads(ended.out)["candidates"]) == len(CATALOG)


def test_limits_that_no_callable_card_meets_are_an_error_that_mentions_the_other_cards(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_API_KEY", "sk-test")
    ended = run("hello", "--flags", "size<9B")
    assert ended.code == 2
    assert ended.err.endswith(f"\n  {LEFT_OUT}")


def test_reachable_compares_no_other_card_even_where_none_can_be_called(run: Run) -> None:
    ended = run("hello", "--reachable")
    assert ended.code == 2
    assert f"available (rejects {len(CATALOG)} of {len(CATALOG)})" in ended.err
    assert run("hello", "--reachable", "--all").code == 2


def test_a_server_on_this_machine_makes_its_cards_callable(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.commands.reach._TIMEOUT_S", 5)
    with upstream_server() as upstream:
        for name in ("ok", "unlisted"):
            facts = f"provider: hosted_vllm\nbase_url: {upstream.url}/v1\n"
            (tmp_path / f"{name}.yaml").write_text(f"id: {name}\nmodel: {name}\n{facts}")
        ended = run("hello", "--cards", tmp_path, "--json")
    assert json.loads(ended.out)["card"] == "ok"
    assert ended.err == "1 of 2 cards can be called here; --all for the whole catalogue\n"


def test_the_json_has_the_agreed_keys(run: Run) -> None:
    document = json.loads(run("What is 17*23?", "--flags", "size<9B", "--json").out)
    assert {"card", "plan", "candidates", "rejections", "policy", "artifact"} <= set(document)
    first = document["candidates"][0]
    assert set(first) == {"card", "score", "quality", "quality_std", "cost_usd", "latency_ms", "parts", "assumed"}
    assert first["card"] == document["card"] == document["plan"]["card"]
    assert document["rejections"]["llama-3-70b-instruct"] == {"limit": "size<9B", "reason": "size 70B > 9B"}


def test_every_score_in_the_json_is_the_sum_of_its_parts(run: Run) -> None:
    document = json.loads(run("Write a haiku", "--flags", "smallest*0.3,fastest", "--json").out)
    for candidate in document["candidates"]:
        assert candidate["score"] == pytest.approx(sum(candidate["parts"].values()))


def cards(folder: Path, **facts: str) -> Path:
    """A folder with a dear card and the card `mine`, which states nothing but `facts`."""
    dear = {"price": "{input: 10$, output: 40$}"}
    for name, of_card in (("dear", dear), ("mine", facts)):
        lines = {"id": name, "provider": "p", "model": name, "base_url": "https://example.org/v1", **of_card}
        text = "".join(f"{key}: {value}\n" for key, value in lines.items())
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def test_costs_are_shown_for_one_request_and_for_a_thousand(run: Run, tmp_path: Path) -> None:
    shown = run("hello", "--cards", cards(tmp_path), "--policy", "best").out
    assert re.search(r"^card +score +quality +± +cost +per 1,000 +latency$", shown, re.MULTILINE)
    document = json.loads(run("hello", "--cards", tmp_path, "--policy", "best", "--json").out)
    (dear,) = (one for one in document["candidates"] if one["card"] == "dear")
    once, thousand = units.show_usd(round(dear["cost_usd"], 7)), units.show_usd_per_1000(dear["cost_usd"])
    assert re.search(rf"^dear .* {re.escape(once)} +{re.escape(thousand)} ", shown, re.MULTILINE)


def test_an_unknown_cost_is_shown_as_unknown_with_what_it_counts_as(run: Run, tmp_path: Path) -> None:
    shown = run("hello", "--cards", cards(tmp_path, size="8B"), "--flags", "cheapest*0.3", "--explain").out
    assert re.search(r"^mine: cost unknown; counted as \S+\$ \(\S+\$ per 1,000 requests\), usual for 8B$", shown, re.M)
    assert re.search(r"^mine +\S+ +\S+ +\S+ +\? +\? ", shown, re.MULTILINE)


def test_shell_safe_flags_mean_the_same(run: Run) -> None:
    quoted = json.loads(run("hello", "--flags", "size<9B", "--json").out)
    safe = json.loads(run("hello", "--flags", "size.lt=9B", "--json").out)
    assert quoted["candidates"] == safe["candidates"]


def test_a_flag_in_the_prompt_counts_and_is_reported(run: Run) -> None:
    prompt_flag = json.loads(run("[Flag: size<9B] hello", "--json").out)
    assert prompt_flag["flags"] == "size<9B"
    assert prompt_flag["candidates"] == json.loads(run("hello", "--flags", "size<9B", "--json").out)["candidates"]


def test_the_prompt_comes_from_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe_in(monkeypatch, b"What is the capital of Peru?\n")
    piped = run("--json")
    assert json.loads(piped.out)["card"]


def test_messages_are_read_from_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "messages.json"
    file.write_text(json.dumps([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi there"}]))
    assert run("--messages", file).code == 0


def test_a_whole_chat_request_is_read_from_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    tool = {"type": "function", "function": {"name": "clock", "parameters": {}}}
    body = {"model": "auto", "messages": [{"role": "user", "content": "What time is it?"}], "tools": [tool]}
    file.write_text(json.dumps(body))
    document = json.loads(run("--messages", file, "--json").out)
    assert document["rejections"]["mathstral-7b"]["limit"] == "capability=tools"


def test_explain_shows_parts_and_rejections(run: Run) -> None:
    out = run("What is 17*23?", "--flags", "size<9B", "--explain").out
    assert "+loss" in out
    assert "size 70B > 9B" in out


def policy_folder(folder: Path, guard: str, *lines: str) -> Path:
    policy = "\n".join(("id: default", "description: d", f"guard: {guard}", *lines))
    (folder / "default.yaml").write_text(f"{policy}\n", encoding="utf-8")
    return folder


NO_NOVELTY_ALLOWED = "{novelty: 0}"
"""Every prompt is more novel than this guard allows."""


def test_the_json_has_the_reason_why_the_guard_held(run: Run, tmp_path: Path) -> None:
    policies = policy_folder(tmp_path, NO_NOVELTY_ALLOWED, "default: phi-3-mini-4k")
    document = json.loads(run("What is 17*23?", "--policies", policies, "--json").out)
    guard = document["guard"]
    assert (guard["state"], guard["default"]) == ("held", "phi-3-mini-4k")
    assert document["card"] == document["candidates"][0]["card"] == "phi-3-mini-4k"
    assert guard["best"] in document["plan"]["fallbacks"]
    assert guard["reason"]
    assert {"advantage", "advantage_std", "confidence", "confidence_needed", "novelty", "novelty_allowed"} <= set(guard)


def test_without_a_guard_its_state_in_the_json_is_off(run: Run, tmp_path: Path) -> None:
    document = json.loads(run("What is 17*23?", "--policies", policy_folder(tmp_path, "off"), "--json").out)
    assert document["guard"] == {"state": "off"}


def test_a_held_decision_is_reported_without_explain(run: Run, tmp_path: Path) -> None:
    policies = policy_folder(tmp_path, NO_NOVELTY_ALLOWED, "default: phi-3-mini-4k")
    first, second, *_ = run("What is 17*23?", "--policies", policies).out.splitlines()
    assert first.startswith("phi-3-mini-4k")
    assert second.startswith("guard     held: ")


def test_explain_reports_a_released_decision_too(run: Run, tmp_path: Path) -> None:
    policies = policy_folder(tmp_path, "{confidence: 0.5, novelty: 1}", "default: phi-3-mini-4k")
    assert "guard " not in run("What is 17*23?", "--policies", policies).out
    assert "guard     released: " in run("What is 17*23?", "--policies", policies, "--explain").out
    assert "guard " not in run("What is 17*23?", "--policies", policy_folder(tmp_path, "off"), "--explain").out


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "the prompt is empty"),
        (b" \n\t ", "the prompt is empty"),
        (b"caf\xe9", "not UTF-8 text (byte 3 is 0xe9)"),
        (b"\x7fELF\x00\x01", "is binary"),
    ],
)
def test_input_that_is_not_a_prompt_is_a_caller_error(
    run: Run, monkeypatch: pytest.MonkeyPatch, raw: bytes, expected: str
) -> None:
    pipe_in(monkeypatch, raw)
    ended = run("-")
    assert ended.code == 2
    assert expected in ended.err


def test_a_prompt_of_a_megabyte_is_routed_to_a_card_whose_context_is_large_enough(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe_in(monkeypatch, b"lorem ipsum dolor " * 60_000)
    document = json.loads(run("--json").out)
    assert document["rejections"]["mixtral-8x7b-instruct"]["limit"].startswith("context>=")


def test_a_lone_surrogate_in_messages_is_accepted(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "messages.json"
    file.write_text('[{"role": "user", "content": "broken \\ud83d emoji"}]')
    assert run("--messages", file, "--json").code == 0


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("siz<7B", 'did you mean "size"?'),
        ("size<7B,size>70B", "no card can meet both size<7B and size>70B"),
        ("size<1B", "nearest is phi-3-mini-4k: size 3.8B > 1B"),
        ("size<", "expected a value"),
    ],
)
def test_flags_that_cannot_be_met_end_with_code_2_and_the_reason(run: Run, flags: str, expected: str) -> None:
    ended = run("hello", "--flags", flags)
    assert ended.code == 2
    assert expected in ended.err


def test_an_unknown_policy_is_reported_with_the_most_similar_one(run: Run) -> None:
    ended = run("hello", "--policy", "cheep")
    assert ended.code == 2
    assert 'did you mean "cheap"?' in ended.err


def test_an_invalid_card_ends_with_code_3_and_file_line_and_key(run: Run, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("id: good\nprovider: openai\nmodel: good\n")
    (tmp_path / "bad.yaml").write_text("id: bad\nprovider: openai\nmodel: bad\nprise: {input: 1$, output: 2$}\n")
    ended = run("hello", "--cards", tmp_path)
    assert ended.code == 3
    assert f'{tmp_path / "bad.yaml"}:4: unknown key "prise"; did you mean "price"?' in ended.err


def test_a_missing_artifact_ends_with_code_3(run: Run, tmp_path: Path) -> None:
    ended = run("hello", "--artifact", tmp_path / "nowhere")
    assert ended.code == 3
    assert "there is no artifact folder" in ended.err


def test_a_misspelt_command_is_not_read_as_a_prompt(run: Run) -> None:
    ended = run("trian", "some-set")
    assert ended.code == 2
    assert 'did you mean "train"?' in ended.err


def test_a_prompt_that_is_the_name_of_a_command_can_be_given(run: Run) -> None:
    assert run("prompt", "train").code == 0
