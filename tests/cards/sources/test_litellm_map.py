import subprocess
import sys
from importlib.metadata import version
from typing import Any

import msgspec
import pytest

from router.cards import Card
from router.cards.sources import litellm_map
from router.errors import UnknownModelError
from router.formats.quantities import read_quantity


def card_from(name: str) -> Card:
    return msgspec.convert({"id": "any", **litellm_map.card_facts(name)}, Card, dec_hook=read_quantity)


def test_prices_are_dollars_per_million_tokens_written_without_binary_noise(a_map: Any) -> None:
    a_map(
        {
            "m": {
                "litellm_provider": "p",
                "mode": "chat",
                "input_cost_per_token": 9.499999999999999e-07,
                "cache_read_input_token_cost": 3.125e-09,
                "output_cost_per_token": 0.0006,
            }
        }
    )
    assert litellm_map.card_facts("m")["price"] == {
        "input": "0.95$",
        "cached_input": "0.003125$",
        "output": "600$",
    }


def test_the_rates_of_long_prompts_are_tiers(a_map: Any) -> None:
    fields = {"input_cost_per_token": 2e-06, "output_cost_per_token": 1e-05}
    long = {f"{field}_above_272k_tokens": 2 * cost for field, cost in fields.items()}
    batches = {f"{field}_above_272k_tokens_batches": cost for field, cost in fields.items()}
    a_map({"m": {"litellm_provider": "p", "mode": "chat", **fields, **long, **batches}})
    above = {"272k": {"input": "4$", "output": "20$"}}
    assert litellm_map.card_facts("m")["price"] == {"input": "2$", "output": "10$", "above": above}


def test_caches_and_audio_have_prices_of_their_own(a_map: Any) -> None:
    a_map(
        {
            "m": {
                "litellm_provider": "p",
                "mode": "chat",
                "input_cost_per_token": 3e-06,
                "output_cost_per_token": 1.5e-05,
                "cache_read_input_token_cost": 3e-07,
                "cache_creation_input_token_cost": 3.75e-06,
                "cache_creation_input_token_cost_above_1hr": 6e-06,
                "input_cost_per_audio_token": 1e-05,
                "output_cost_per_audio_token": 2e-05,
            }
        }
    )
    assert litellm_map.card_facts("m")["price"] == {
        "input": "3$",
        "cached_input": "0.3$",
        "cache_write": "3.75$",
        "cache_write_1h": "6$",
        "output": "15$",
        "audio_input": "10$",
        "audio_output": "20$",
    }


def test_a_price_of_nothing_for_cache_writes_means_that_they_are_not_charged_apart(a_map: Any) -> None:
    fields = {"input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05, "cache_creation_input_token_cost": 0.0}
    a_map({"m": {"litellm_provider": "p", "mode": "chat", **fields}})
    assert litellm_map.card_facts("m")["price"] == {"input": "3$", "output": "15$"}


@pytest.mark.parametrize(
    ("batch_output", "expected"),
    [(5e-06, 0.5), (6e-06, {"input": "1$", "output": "6$"}), (None, None)],
    ids=["one-factor", "own-rates", "one-direction"],
)
def test_a_service_tier_is_a_factor_where_all_its_rates_are_the_same_multiple(
    a_map: Any, batch_output: float | None, expected: Any
) -> None:
    fields = {"input_cost_per_token": 2e-06, "output_cost_per_token": 1e-05}
    batch = {"input_cost_per_token_batches": 1e-06, "output_cost_per_token_batches": batch_output}
    a_map({"m": {"litellm_provider": "p", "mode": "chat", **fields, **batch}})
    assert litellm_map.card_facts("m")["price"].get("batch") == expected


def test_a_tier_without_both_directions_is_left_out(a_map: Any) -> None:
    fields = {
        "input_cost_per_token": 2e-06,
        "output_cost_per_token": 1e-05,
        "input_cost_per_token_above_272k_tokens": 4e-06,
    }
    a_map({"m": {"litellm_provider": "p", "mode": "chat", **fields}})
    assert litellm_map.card_facts("m")["price"] == {"input": "2$", "output": "10$"}


def test_a_price_without_both_directions_is_left_out(a_map: Any) -> None:
    a_map({"m": {"litellm_provider": "p", "mode": "chat", "input_cost_per_token": 1e-06}})
    assert "price" not in litellm_map.card_facts("m")


def test_facts_that_the_map_does_not_state_are_left_out(a_map: Any) -> None:
    a_map({"m": {"litellm_provider": "p", "mode": "chat"}})
    assert litellm_map.card_facts("m") == {
        "provider": "p",
        "model": "m",
        "modalities": ["text"],
        "source": f"litellm {version('litellm')} bundled map: m",
    }


def test_a_missing_capability_differs_from_unknown_capabilities(a_map: Any) -> None:
    a_map({"m": {"litellm_provider": "p", "mode": "chat", "supports_function_calling": False}})
    assert litellm_map.card_facts("m")["capabilities"] == []


def test_token_limits_are_exact(a_map: Any) -> None:
    a_map(
        {
            "m": {
                "litellm_provider": "p",
                "mode": "chat",
                "max_input_tokens": 10_485_760,
                "max_output_tokens": 64_000,
            }
        }
    )
    card = card_from("m")
    assert (card.context_tokens, card.max_output_tokens) == (10_485_760, 64_000)
    assert litellm_map.card_facts("m")["max_output"] == "64k"


@pytest.mark.parametrize(
    ("name", "listed_provider", "provider", "model"),
    [
        ("gpt-x", "openai", "openai", "gpt-x"),
        ("groq/openai/gpt-oss", "groq", "groq", "openai/gpt-oss"),
        ("vertex_ai/claude-x", "vertex_ai-anthropic_models", "vertex_ai", "claude-x"),
        ("amazon-nova/nova-x", "amazon_nova", "amazon_nova", "nova-x"),
        ("anthropic.claude-x-v1:0", "bedrock_converse", "bedrock", "anthropic.claude-x-v1:0"),
    ],
)
def test_provider_and_model_are_litellms_names(
    a_map: Any, name: str, listed_provider: str, provider: str, model: str
) -> None:
    a_map({name: {"litellm_provider": listed_provider, "mode": "chat"}})
    facts = litellm_map.card_facts(name)
    assert (facts["provider"], facts["model"]) == (provider, model)


@pytest.mark.parametrize(
    ("name", "released"),
    [
        ("claude-haiku-4-5-20251001", "2025-10-01"),
        ("gpt-5.5-2026-04-23", "2026-04-23"),
        ("claude-haiku-4-5@20251001", "2025-10-01"),
        ("mistral-large-2512", None),
        ("model-20259999", None),
    ],
)
def test_only_a_date_in_a_snapshots_name_is_a_release_date(a_map: Any, name: str, released: str | None) -> None:
    a_map({name: {"litellm_provider": "p", "mode": "chat"}})
    assert litellm_map.card_facts(name).get("released") == released


def test_gpt_4o_mini_has_the_facts_of_the_installed_map() -> None:
    facts = litellm_map.card_facts("gpt-4o-mini")
    assert facts["price"] == {
        "input": "0.15$",
        "cached_input": "0.075$",
        "output": "0.6$",
        "batch": {"input": "0.075$", "output": "0.3$"},
        "priority": {"input": "0.25$", "cached_input": "0.125$", "output": "1$"},
    }
    assert (facts["provider"], facts["model"], facts["context"]) == ("openai", "gpt-4o-mini", "128k")
    assert facts["modalities"] == ["text", "image", "pdf"]
    assert {"tools", "json_schema"} <= set(facts["capabilities"])


def test_a_name_that_the_map_lists_without_provider_may_have_it_as_prefix() -> None:
    assert litellm_map.card_facts("openai/gpt-4o-mini") == litellm_map.card_facts("gpt-4o-mini")


def test_every_chat_model_of_the_installed_map_makes_a_card() -> None:
    for name in litellm_map.names():
        card_from(name)


def test_an_unknown_model_is_reported_with_the_most_similar_name() -> None:
    with pytest.raises(UnknownModelError, match='did you mean "gpt-4o-mini"'):
        litellm_map.card_facts("gpt-4o-mni")


@pytest.mark.parametrize("name", ["text-embedding-3-small", "sample_spec"])
def test_an_entry_that_is_not_a_chat_model_is_rejected(name: str) -> None:
    assert name not in litellm_map.names()
    with pytest.raises(UnknownModelError, match="not as a chat model"):
        litellm_map.card_facts(name)


def test_reading_the_map_does_not_import_litellm() -> None:
    code = (
        "import sys; from router.cards.sources import litellm_map; litellm_map.names(); "
        "litellm_map.card_facts('gpt-4o-mini'); sys.exit('litellm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
