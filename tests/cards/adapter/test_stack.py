"""Adapters of two axes that a server adds up: which stacks are cards."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from router.cards import Card, Catalog
from router.cards.catalog import CatalogError

SLOTS = ("german", "sql", "terse")


def adapter(name: str, **facts: Any) -> Card:
    return Card(name, "hosted_vllm", "m", kind="adapter", base="base", **{"stackable": True, **facts})


def catalog(
    *, stack: tuple[str, ...] = ("german", "sql"), slots: tuple[str, ...] | None = SLOTS, **facts: Any
) -> Catalog:
    """A base, adapters of three axes, and a stack of two."""
    others: dict[str, Card] = {
        "german": adapter("german", axis="language"),
        "sql": adapter("sql", axis="task"),
        "terse": adapter("terse", axis="style"),
    }
    both = adapter("both", stackable=False, stack=stack)
    changed = {name: msgspec.structs.replace(others[name], **facts[name]) for name in facts if name in others}
    base = Card("base", "hosted_vllm", "m", base_url="http://127.0.0.1:1/v1", lora_slots=slots)
    rest = facts.get("rest", ())
    return Catalog(
        [base, *{**others, **changed}.values(), msgspec.structs.replace(both, **facts.get("both", {})), *rest]
    )


def test_a_stack_is_a_card_of_its_own() -> None:
    both = catalog().named("both")
    assert (both.applied, both.lora_slots) == (("german", "sql"), SLOTS)
    assert catalog(stack=SLOTS).named("both").applied == SLOTS


def test_a_card_without_a_stack_applies_itself_and_a_base_nothing() -> None:
    assert (catalog().named("sql").applied, catalog().named("base").applied) == (("sql",), ())


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        ({"stack": ("german",)}, "must name at least two adapters, each once"),
        ({"stack": ("german", "german")}, "must name at least two adapters, each once"),
        ({"stack": ("german", "sqI")}, 'there is no card "sqI"; did you mean "sql"?'),
        ({"stack": ("german", "base")}, '"base" is not an adapter of base'),
        ({"sql": {"stackable": False}}, '"sql" does not state `stackable: true`'),
        ({"sql": {"axis": None}}, '"sql" states no `axis`'),
        ({"sql": {"axis": "language"}}, "german and sql are of the same axis (language)"),
        ({"sql": {"dispatchable": False}}, '"sql" states dispatchable: false, and a stack calls it'),
        ({"sql": {"tenant": "acme"}}, '"sql" exists for the key acme only, and a stack of it must too'),
        ({"sql": {"tenant": "acme"}, "both": {"tenant": "other"}}, '"sql" exists for the key acme only'),
        ({"slots": None}, "vLLM, SGLang and LoRAX apply one adapter to a request"),
        ({"stack": ("both", "sql")}, '"both" is a stack itself'),
        (
            {"both": {"base_url": "http://127.0.0.1:2/v1"}},
            "its server must add adapters up in one request, which llama.cpp alone does",
        ),
        (
            {"stack": ("german", "x"), "rest": (adapter("x", axis="task", base_url="http://127.0.0.1:2/v1"),)},
            '"x" is not among the `lora_slots` of base',
        ),
    ],
)
def test_a_stack_that_cannot_be_served_is_refused_with_the_reason(made: dict[str, Any], problem: str) -> None:
    with pytest.raises(CatalogError) as caught:
        catalog(**made)
    assert str(caught.value).startswith("both: stack: ")
    assert problem in str(caught.value)


def test_a_stack_of_one_keys_adapter_is_that_keys_alone() -> None:
    assert catalog(sql={"tenant": "acme"}, both={"tenant": "acme"}).named("both").tenant == "acme"


def test_a_stack_has_no_slot_of_its_own() -> None:
    with pytest.raises(CatalogError, match=r'base: lora_slots: "both" is a stack; name the adapters that it adds up'):
        catalog(slots=(*SLOTS, "both"))


def test_only_an_adapter_has_a_stack() -> None:
    with pytest.raises(ValueError, match="stack: only an adapter has this"):
        Card("x", "hosted_vllm", "m", stack=("a", "b"))


def test_a_stack_that_is_never_called_needs_no_server() -> None:
    assert catalog(slots=None, both={"dispatchable": False}).named("both").withheld
