from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from router.cards import Card, load_catalog
from router.cards.catalog import load_card
from router.cards.schema import json_schema, to_plain
from router.formats.quantities import Size, read_quantity

CARDS = [card for card in load_catalog(Path(__file__).parents[2] / "model_cards") if card.effort_of is None]
REQUIRED = {"id": "a", "provider": "p", "model": "m"}


def convert(plain: dict[str, Any]) -> Card:
    return msgspec.convert(plain, Card, dec_hook=read_quantity, strict=True)


def test_quantities_become_plain_numbers() -> None:
    card = convert(
        {
            **REQUIRED,
            "size": {"total": "46.7B", "active": "12.9B"},
            "context": "128k",
            "max_output": 8192,
            "released": "2025-03",
            "knowledge_cutoff": 2024,
            "price": {"input": "0.15$", "output": 0.6},
            "latency": {"ttft": "1.5s", "tpot": "20ms"},
        }
    )
    assert card.size == Size(46.7e9, 12.9e9)
    assert (card.context_tokens, card.max_output_tokens) == (128_000, 8192)
    assert (card.released, card.knowledge_cutoff) == (datetime.date(2025, 3, 1), datetime.date(2024, 1, 1))
    assert card.price is not None
    assert (card.price.input_usd, card.price.output_usd, card.price.cached_input_usd) == (0.15, 0.6, None)
    assert card.latency is not None
    assert (card.latency.ttft_ms, card.latency.tpot_ms) == (1500.0, 20.0)


def test_a_dense_model_uses_all_its_parameters() -> None:
    assert convert({**REQUIRED, "size": "7B"}).size == Size(7e9, 7e9)


def test_a_fact_that_is_not_stated_is_unknown() -> None:
    card = convert(REQUIRED)
    assert (card.size, card.price, card.released, card.capabilities, card.privacy) == (None,) * 5
    assert card.modalities == ("text",)


def test_a_printed_card_has_only_known_facts() -> None:
    card = convert({**REQUIRED, "price": {"input": "1$", "output": "2$"}, "capabilities": []})
    assert to_plain(card) == {**REQUIRED, "price": {"input": "1$", "output": "2$"}, "capabilities": []}


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_every_printed_default_card_is_read_back_equal(card: Card) -> None:
    assert convert(to_plain(card)) == card


def test_a_printed_card_is_a_valid_card_file(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    for card in CARDS:
        file.write_text(yaml.safe_dump(to_plain(card), sort_keys=False, allow_unicode=True), encoding="utf-8")
        assert load_card(file) == card


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.org/v1",
        "http://127.0.0.1:8000/v1",
        "http://[::1]:8000/v1",
        "HTTP://localhost",
        "https://host/a@b",
    ],
)
def test_a_base_url_is_an_http_or_https_url(url: str) -> None:
    assert convert({**REQUIRED, "base_url": url}).base_url == url


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000",
        "localhost:8000/v1",
        "api.example.org",
        "//api.example.org",
        "http://[::1",
        "http://",
        "http:///v1",
        "http://:8000",
        "http://host:0",
        "http://host:65536",
        "http://host:port",
        "ftp://x",
        "file:///etc/passwd",
        "http://user@x",
        "http://user:password@x",
        "http://ho st/v1",
        " http://host",
        "http://host/v1\n",
        "http://host/\t",
        "",
    ],
)
def test_an_invalid_base_url_is_rejected(url: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="base_url: must be an http or https URL such as https://host/v1"):
        convert({**REQUIRED, "base_url": url})


def test_an_error_about_a_key_does_not_repeat_the_key() -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        convert({**REQUIRED, "api_key_env": "sk-secret"})
    assert "sk-secret" not in str(caught.value)


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=10)
names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,8}\Z")
counts = st.integers(1, 10**13)
dollars = st.floats(0, 1e4)
days = st.dates(datetime.date(2015, 1, 1), datetime.date(2030, 1, 1)).map(str)
plain_cards = st.fixed_dictionaries(
    {"id": names, "provider": words, "model": words},
    optional={
        "description": words,
        "aliases": st.lists(words, max_size=2),
        "size": st.one_of(
            counts.map(lambda count: f"{count}e-3K"),
            st.tuples(counts, counts).map(lambda pair: {"total": f"{max(pair)}e-3K", "active": f"{min(pair)}e-3K"}),
        ),
        "context": st.integers(1, 10**8),
        "max_output": st.integers(1, 10**6),
        "released": days,
        "privacy": st.sampled_from(["local", "private", "public"]),
        "modalities": st.sampled_from([["text"], ["text", "image"]]),
        "capabilities": st.lists(st.sampled_from(["tools", "reasoning"]), max_size=2),
        "languages": st.lists(words, max_size=2),
        "price": st.fixed_dictionaries({"input": dollars, "output": dollars}, optional={"cached_input": dollars}),
        "latency": st.fixed_dictionaries({}, optional={"ttft": dollars.map(lambda ms: f"{ms!r}ms")}),
        "benchmarks": st.dictionaries(
            words, st.fixed_dictionaries({"score": dollars, "source": words}, optional={"date": days}), max_size=2
        ),
        "limits": st.fixed_dictionaries({}, optional={"rpm": st.integers(1, 1000)}),
        "lora": st.fixed_dictionaries({"rank": st.integers(1, 256)}, optional={"alpha": dollars}),
        "lineage": st.fixed_dictionaries({}, optional={"parents": st.lists(names, max_size=2), "note": words}),
    },
)


@given(plain_cards)
def test_any_printed_card_is_read_back_equal(plain: dict[str, Any]) -> None:
    card = convert(plain)
    assert convert(to_plain(card)) == card
    assert to_plain(convert(to_plain(card))) == to_plain(card)


def test_a_printed_card_can_be_sent_as_json() -> None:
    assert all(msgspec.json.decode(msgspec.json.encode(to_plain(card))) == to_plain(card) for card in CARDS)


def test_the_json_schema_has_every_field() -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(Card)}
    assert set(json_schema()["properties"]) == fields
    assert {"context", "max_output", "limits"} <= fields


def test_the_json_schema_rejects_unknown_keys_everywhere() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert all(inner["additionalProperties"] is False for inner in schema["$defs"].values())


def test_the_json_schema_requires_what_the_reader_requires() -> None:
    assert sorted(json_schema()["required"]) == ["id", "model", "provider"]


def test_the_json_schema_refers_only_to_its_definitions() -> None:
    text = msgspec.json.encode(json_schema()).decode()
    references = {part.split('"')[0] for part in text.split("#/$defs/")[1:]}
    assert references == set(json_schema()["$defs"])
