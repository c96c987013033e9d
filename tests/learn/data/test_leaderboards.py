from __future__ import annotations

from pathlib import Path

import pytest

from router.errors import CallerError, FileError
from router.learn.data.leaderboards import facts_from_name, family_of, is_pretrained_only, model_key, read_leaderboards


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (
            ("claude-opus-4-5-20251101-thinking-64k-high-effort", "claude-opus-4-5-high", "Claude Opus 4.5 (high)"),
            ("claude-opus-4.5", "high"),
        ),
        (
            ("claude-opus-4-1-thinking-20250805", "claude-opus-4-1@16k", "claude-opus-4-1-20250805 (32k thinking)"),
            ("claude-opus-4.1", "thinking"),
        ),
        (
            ("claude-sonnet-4-20250514 (no thinking)", "claude-sonnet-4-base", "claude-sonnet-4@0k"),
            ("claude-sonnet-4", "none"),
        ),
        (
            ("anthropic__claude-3.5-haiku-20241022", "claude-3-5-haiku", "anthropic/claude-3.5-haiku"),
            ("claude-haiku-3.5", ""),
        ),
        (("openai/gpt-5.2-high-2025-12-11", "gpt-5.2-HIGH"), ("gpt-5.2", "high")),
        (("gpt-5.3-chat-latest-2026-03-05", "gpt-5.3-instant"), ("gpt-5.3", "none")),
        (("gpt-5.1-codex-max-high",), ("gpt-5.1-codex-max", "high")),
        (("gemini-3-flash-preview-nothink", "google/gemini-3-flash-non-thinking"), ("gemini-3-flash", "none")),
        (("gemini-2.5-pro-preview-06-05-thinkhigh", "gemini-2.5-pro-highthinking"), ("gemini-2.5-pro", "high")),
        (("grok-4.20-0309-non-reasoning", "grok-4.20-experimental-beta-0304-non-reasoning"), ("grok-4.20", "none")),
        (("moonshotai/kimi-k2-thinking", "kimi-k2-thinking-turbo"), ("kimi-k2", "thinking")),
        (("qwen3-235b-a22b-no-thinking", "Qwen__Qwen3-235B-A22B-nothink"), ("qwen3-235b-a22b", "none")),
        (("qwen__qwen-2.5-72b-instruct", "qwen2.5-72b-instruct"), ("qwen2.5-72b", "")),
        (("qwen-14b-chat",), ("qwen-14b", "")),
        (("qwen3-max-preview", "qwenqwen3-max", "qwen/qwen3-max"), ("qwen3-max", "")),
        (("qwen/qwen3.6-plus-preview:free", "qwenqwen3.6-plusfree"), ("qwen3.6-plus", "")),
        (("amazon-nova-pro-v1.0", "amazon/nova-pro-v1:0", "nova-pro-v1", "amazonnova-pro"), ("nova-pro", "")),
        (
            ("meta-llama__Llama-4-Maverick-17B-128E-Instruct-FP8", "meta-llamallama-4-maverick"),
            ("llama-4-maverick", ""),
        ),
        (("mistral-large-3", "mistralai/mistral-large-2512", "mistral-3-large-2512"), ("mistral-large-2512", "")),
        (("mistralai/ministral-3-8b-2512", "ministral-8b-2512"), ("ministral-8b-2512", "")),
        (("mistral-medium", "mistral-medium-chat"), ("mistral-medium", "")),
        (("MiniMaxAI/minimax-m2p5", "minimaxminimax-m2.5"), ("minimax-m2.5", "")),
        (("DeepSeek R1 (0528)", "deepseek/deepseek-r1-0528:free"), ("deepseek-r1-0528", "")),
        (("gpt-4o-2024-08-06", "gpt-4o"), ("gpt-4o", "")),
        (("google_gemini-1.5-pro-preview-0409", "gemini-1.5-pro-001"), ("gemini-1.5-pro-001", "")),
        (("nvidiaNVIDIA-Nemotron-3-Super-120B-A12B", "Nemotron-3-Super"), ("nemotron-3-super-120b-a12b", "")),
        (("arcee-trinity-large-preview", "arcee-ai/trinity-large-preview:free"), ("trinity-large", "")),
    ],
)
def test_the_names_of_a_model_have_one_key(names: tuple[str, ...], key: tuple[str, str]) -> None:
    assert {name: model_key(name) for name in names} == dict.fromkeys(names, key)


def test_different_models_have_different_keys() -> None:
    versions = (
        "gpt-4-0314",
        "gpt-4-0613",
        "gpt-4-1106-preview",
        "deepseek-r1",
        "deepseek-r1-0528",
    )
    assert len({model_key(name) for name in versions}) == len(versions)
    names = ("phi-3-mini-4k-instruct", "phi-3-mini-128k-instruct", "gpt-5", "gpt-5-chat", "gpt-5-codex", "qwen-max")
    assert len({model_key(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Llama-2-7b-hf", True),
        ("Llama-2-7b-chat-hf", False),
        ("mistralai_mixtral-8x22b-v0.1", True),
        ("Mixtral-8x7B-Instruct-v0.1", False),
        ("gemma-2-9b-it", False),
        ("Yi-34B", True),
        ("gpt-4o", False),
        ("qwen2.5-7b", False),
    ],
)
def test_open_weights_without_instruction_training_are_known_by_their_names(name: str, expected: bool) -> None:
    assert is_pretrained_only(name) is expected


def test_scores_of_all_leaderboards_are_shares_by_model_effort_and_benchmark(tmp_path: Path) -> None:
    (tmp_path / "arena_text_2025.csv").write_text("model,full,german,other\nlarge-1-high,1300,1400,7\nlarge-1,1150,,\n")
    (tmp_path / "livebench_categories.csv").write_text(
        "model,Coding\nlarge-1-high,80\nlarge-1 [2026-01-08 release],60\n"
    )
    (tmp_path / "openhands_index_scores.csv").write_text("model,benchmark,score\nLarge-1,gaia,50\nLarge-1,unknown,1\n")
    (tmp_path / "notes.csv").write_text("model,full\nlarge-1,9999\n")
    assert read_leaderboards(tmp_path) == {
        ("large-1", "high"): {"lmarena_text": 0.5, "lmarena_german": 800 / 1400, "livebench_2026_06_coding": 0.8},
        ("large-1", ""): {
            "lmarena_text": 550 / 1400,
            "livebench_2026_01_coding": 0.6,
            "openhands_gaia": 0.5,
        },
    }


def test_of_two_versions_with_the_same_key_the_better_score_counts(tmp_path: Path) -> None:
    (tmp_path / "arena_text.csv").write_text("model,full\nlarge-1-0301,1100\nlarge-1-0613,1160\n")
    assert read_leaderboards(tmp_path) == {("large-1", ""): {"lmarena_text": 0.4}}


def test_a_score_outside_its_scale_is_an_error_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "arena_text.csv").write_text("model,full\nlarge-1,1300\nlarge-2,13\n")
    with pytest.raises(FileError, match=r"arena_text\.csv:3: large-2: lmarena_text: expected a score from 600 to 2000"):
        read_leaderboards(tmp_path)


def test_a_folder_without_leaderboards_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="expected files named arena_text"):
        read_leaderboards(tmp_path)


def test_a_name_states_the_size() -> None:
    facts = facts_from_name("large-1-120b-a12b")
    assert (facts.total_parameters, facts.active_parameters) == (120e9, 12e9)
    experts = facts_from_name("large-8x7b")
    assert (experts.total_parameters, experts.active_parameters) == (56e9, 7e9)


@pytest.mark.parametrize(
    ("key", "family"),
    [
        ("o4-mini", "gpt"),
        ("chatgpt-4o", "gpt"),
        ("gpt-oss-120b", "gpt-oss"),
        ("magistral-medium-2506", "mistral"),
        ("mixtral-8x7b-v0.1", "mistral"),
        ("qwq-32b", "qwen"),
        ("llama-3.3-nemotron-super-49b", "nemotron"),
        ("claude-opus-4.5", "claude"),
        ("olmo-3-7b", "olmo"),
    ],
)
def test_the_family_of_a_model_is_read_from_its_name(key: str, family: str) -> None:
    assert family_of(key) == family
    assert facts_from_name(key).family == family
