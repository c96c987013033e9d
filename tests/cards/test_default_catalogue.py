import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from router.cards import Card, Catalog, load_catalog
from router.cards.benchmarks import BENCHMARKS, near_miss
from router.cards.catalog import load_card
from router.cards.price import Price
from router.cards.sources import litellm_map
from router.formats.quantities import Dollars, read_quantity
from router.formats.yaml.file import read_yaml
from router.learn.data.facts import load_facts

ROOT = Path(__file__).parents[2]
CARDS = ROOT / "model_cards"
EXAMPLES = CARDS / "examples"
FACTS = ROOT / "router" / "shipped" / "facts.yaml"
FILES = sorted([*CARDS.glob("*.yaml"), *EXAMPLES.glob("*.yaml")])
CATALOG = load_catalog(CARDS)
HOSTED = [card for card in CATALOG if card.privacy == "public" and card.effort_of is None]
LOCAL = [card for card in CATALOG if card.privacy == "local"]
# Hosted cards without a latency, and why. A card with one does not belong here.
NO_LATENCY = {
    "deepseek-v4-flash": "Artificial Analysis measures its successor, which answers by the same name",
    "gemini-2.5-flash": "no longer measured by Artificial Analysis",
    "gemini-3.5-flash": "no longer measured by Artificial Analysis",
    "gemini-4-argon": "not measured by Artificial Analysis",
    "glm-5.2": "no longer measured by Artificial Analysis",
    "gpt-4o": "found in no source",
    "gpt-4o-mini": "found in no source",
    "gpt-5.5": "no longer measured by Artificial Analysis",
    "kimi-k2.6": "found in no source",
    "ministral-8b-2512": "found in no source",
    "mistral-large-4": "found in no source",
    "qwen3.7-max": "found in no source",
}


def map_name(card: Card) -> str:
    assert card.source is not None
    found = re.match(r"litellm (\S+) bundled map: ([^\s;]+)", card.source)
    assert found is not None, f"{card.id} does not name its entry of litellm's map"
    version, name = found.groups()
    if version != litellm_map.version():
        pytest.skip(f"the card is from litellm {version}, installed is {litellm_map.version()}")
    return name


def test_the_default_catalogue_has_hosted_and_local_models() -> None:
    assert len(HOSTED) >= 32
    assert len(LOCAL) >= 20
    assert {"gpt-4o", "gpt-4o-mini", "llama-3.1-8b-instruct"} <= set(CATALOG.ids)


@pytest.mark.parametrize("card", HOSTED, ids=lambda card: card.id)
def test_a_hosted_card_agrees_with_litellms_map(card: Card) -> None:
    facts = litellm_map.card_facts(map_name(card))
    mapped = msgspec.convert({"id": card.id, **facts}, Card, dec_hook=read_quantity)
    for fact in (
        "provider",
        "model",
        "price",
        "context_tokens",
        "max_output_tokens",
        "modalities",
        "outputs",
    ):
        assert getattr(card, fact) == getattr(mapped, fact), fact
    # The map has no word for most built-in tools, which the vendors document.
    assert set(mapped.capabilities or ()) <= set(card.capabilities or ())


def test_a_hosted_card_has_a_price_a_context_and_a_key() -> None:
    assert [card.id for card in HOSTED if None in (card.price, card.context_tokens, card.api_key_env)] == []


def test_a_hosted_card_states_its_release_date_and_benchmarks() -> None:
    assert [card.id for card in HOSTED if card.released is None] == []
    assert [card.id for card in HOSTED if not set(card.benchmarks) & set(BENCHMARKS)] == []


def test_a_hosted_card_states_a_latency_or_the_reason_is_known() -> None:
    assert {card.id for card in HOSTED if card.latency is None} == set(NO_LATENCY)


def test_a_closed_model_states_no_size() -> None:
    assert [card.id for card in HOSTED if card.weights != "open" and card.size is not None] == []


def test_a_local_card_is_an_open_model_of_known_size_with_a_token_price_of_zero() -> None:
    free = Price(input_usd=Dollars(0), output_usd=Dollars(0))
    for card in LOCAL:
        assert (card.provider, card.weights, card.price) == ("hosted_vllm", "open", free), card.id
        assert card.size is not None, card.id


def test_every_card_states_the_source_of_its_facts() -> None:
    assert [card.id for card in CATALOG if card.source is None] == []


def test_a_benchmark_on_a_card_is_evidence_and_dated() -> None:
    for card in CATALOG:
        assert {name: near_miss(name) for name in card.benchmarks if name not in BENCHMARKS} == {}, card.id
        assert [name for name, benchmark in card.benchmarks.items() if benchmark.date is None] == [], card.id


def test_the_source_of_a_benchmark_can_be_found_by_a_reader() -> None:
    sources = {(card.id, name): benchmark.source for card in CATALOG for name, benchmark in card.benchmarks.items()}
    assert {place: source for place, source in sources.items() if len(source) < 10 or "stored id" in source} == {}


def test_a_card_states_its_capabilities_and_languages_by_iso_code() -> None:
    assert [card.id for card in CATALOG if card.capabilities is None] == []
    languages = [(card.id, language) for card in CATALOG for language in card.languages]
    assert [(card, language) for card, language in languages if not re.fullmatch("[a-z]{2,3}", language)] == []


def test_a_card_lists_its_benchmarks_one_a_line_in_the_order_of_the_registry() -> None:
    for file in FILES:
        lines = file.read_text(encoding="utf-8").splitlines()
        names = [match[1] for line in lines if (match := re.match(r"  (\w+): \{score:", line))]
        assert names == [name for name in BENCHMARKS if name in names], file.name
        assert [line for line in lines if len(line) > 200] == [], file.name


def test_most_local_cards_state_benchmarks() -> None:
    stated = [card for card in LOCAL if card.benchmarks]
    assert len(stated) >= 0.9 * len(LOCAL)


def test_the_facts_of_a_measured_model_are_in_one_place() -> None:
    facts, _ = read_yaml(FACTS)
    names = {name for model, entry in facts.items() for name in (model, *entry.get("aliases", ()))}
    assert names & {name for card in CATALOG for name in card.names} == set()


def test_every_shipped_fact_is_read_and_dated() -> None:
    facts, _ = read_yaml(FACTS)
    assert set(facts) <= set(load_facts(FACTS, CATALOG))
    undated = [name for name, entry in facts.items() for b in entry.get("benchmarks", {}).values() if "date" not in b]
    assert undated == []


def test_a_shipped_open_model_states_its_size_and_a_closed_one_none() -> None:
    facts = load_facts(FACTS, CATALOG).values()
    assert [model.name for model in facts if model.weights == "open" and model.total_parameters is None] == []
    assert [model.name for model in facts if model.weights == "closed" and model.total_parameters is not None] == []


def test_the_examples_load_on_top_of_the_default_catalogue() -> None:
    examples = [load_card(file) for file in sorted(EXAMPLES.glob("*.yaml"))]
    together = Catalog([*CATALOG, *examples])
    assert len(together) == len(CATALOG) + 3
    assert all(card.kind == "adapter" and card.lora is not None for card in examples)


def test_the_examples_are_not_part_of_the_default_catalogue() -> None:
    assert not {load_card(file).id for file in EXAMPLES.glob("*.yaml")} & set(CATALOG.ids)


def test_a_card_file_is_named_after_its_id() -> None:
    assert {file.stem for file in FILES if file.stem != re.sub("[/:]", "-", load_card(file).id)} == set()


def test_a_card_file_begins_with_its_schema() -> None:
    firsts = {file.name: file.read_text(encoding="utf-8").splitlines()[0] for file in FILES}
    assert set(firsts.values()) == {"# yaml-language-server: $schema=card.schema.json"}, firsts


def test_a_base_url_is_https_or_on_this_machine() -> None:
    urls = {card.id: urlsplit(card.base_url) for card in CATALOG if card.base_url}
    assert urls
    assert [card for card, url in urls.items() if url.scheme != "https" and url.hostname != "127.0.0.1"] == []


def test_a_local_card_is_reached_on_this_machine() -> None:
    hosts = {urlsplit(card.base_url or "").hostname for card in LOCAL}
    assert hosts == {"127.0.0.1"}
