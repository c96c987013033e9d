"""What only cards of adapters state, and cards that are never called."""

from __future__ import annotations

import httpx
import msgspec
import pytest

from router.cards import Catalog
from router.cards.schema import Card, to_plain
from router.errors import NoCandidateError
from router.formats.quantities import read_quantity
from tests.decide.cards import card, choose
from tests.gateway.servers import gateway_server, make_card, upstream_server

STATED = {
    "lora": {"rank": 8, "alpha": 16.0, "format": "peft", "bytes": 13_000_000},
    "axis": "language",
    "stackable": True,
    "ttl": "1800s",
    "dispatchable": False,
    "lineage": {"derived_from": "sql-1", "state": "ported"},
}


def test_what_an_adapter_states_is_read_and_printed() -> None:
    stated = card("sql", kind="adapter", base="llama", **STATED)
    assert stated.ttl_s == 1800.0
    plain = to_plain(stated)
    assert {key: plain[key] for key in STATED} == STATED
    assert msgspec.convert(plain, Card, dec_hook=read_quantity) == stated


@pytest.mark.parametrize("fact", [{"axis": "task"}, {"stackable": True}, {"ttl": "1h"}])
def test_a_model_states_nothing_that_only_adapters_have(fact: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"{next(iter(fact))}: only an adapter has this"):
        card("llama", **fact)


@pytest.mark.parametrize("fact", [{"axis": "mood"}, {"lineage": {"state": "new"}}, {"lora": {"rank": 0}}])
def test_unknown_words_and_ranks_are_rejected(fact: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        card("sql", kind="adapter", base="llama", **fact)


def test_weights_without_a_rank_have_a_format_and_bytes_only() -> None:
    assert card("soft", kind="adapter", base="llama", lora={"format": "peft", "bytes": 9}).lora is not None
    with pytest.raises(msgspec.ValidationError, match='the key "rank" is missing'):
        card("soft", kind="adapter", base="llama", lora={"alpha": 16})


def test_a_card_that_is_not_dispatchable_is_rejected_with_the_reason() -> None:
    decision = choose([card("a", dispatchable=False), card("b")], [0.9, 0.1])
    assert decision.plan.card == "b"
    assert decision.rejections["a"].reason == "states dispatchable: false"
    assert "a" not in decision.candidates.cards


def test_no_flag_makes_a_card_that_is_not_dispatchable_a_candidate() -> None:
    with pytest.raises(NoCandidateError, match="states dispatchable: false"):
        choose([card("a", dispatchable=False), card("b")], flags="card=a")


def test_an_adapter_of_a_base_that_is_not_dispatchable_is_a_candidate() -> None:
    cards = [card("llama", dispatchable=False), card("sql", kind="adapter", base="llama")]
    assert choose(cards).plan.card == "sql"
    assert set(Catalog(cards).withheld) == {"llama"}


def test_the_gateway_neither_lists_nor_calls_a_card_that_is_not_dispatchable() -> None:
    with upstream_server() as upstream:
        cards = (make_card("cheap", upstream.url), make_card("vision-lora", upstream.url, dispatchable=False))
        with gateway_server(*cards) as url, httpx.Client(base_url=url) as client:
            listed = [model["id"] for model in client.get("/v1/models").json()["data"]]
            body = {"model": "vision-lora", "messages": [{"role": "user", "content": "hi"}]}
            named = client.post("/v1/chat/completions", json=body)
            routed = client.post("/v1/chat/completions", json={**body, "model": "auto"})
    assert "vision-lora" not in listed
    assert named.status_code == 400
    assert "states dispatchable: false" in named.json()["error"]["message"]
    assert routed.headers["x-route-card"] == "cheap"
