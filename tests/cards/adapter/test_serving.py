"""The keys `adapters` of a base's card and `tenant` of an adapter's."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.cards import Catalog, load_catalog
from router.cards.lint import lint
from router.errors import ConfigurationError

ADDRESS = "base_url: http://127.0.0.1:1/v1"


def folder_of(tmp_path: Path, *of_base: str, adapters: tuple[str, ...] = ("sql", "chat"), extra: str = "") -> Path:
    """A base, whose own lines begin on line 4, and adapters of it."""
    lines = ("id: base", "provider: hosted_vllm", "model: m", *of_base)
    (tmp_path / "base.yaml").write_text("\n".join(lines) + "\n")
    for name in adapters:
        text = f"id: {name}\nprovider: hosted_vllm\nmodel: {name}\nkind: adapter\nbase: base\n{extra}"
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def load(tmp_path: Path, *of_base: str, extra: str = "") -> Catalog:
    return load_catalog(folder_of(tmp_path, *of_base, extra=extra))


def test_an_adapter_inherits_how_its_base_holds_adapters(tmp_path: Path) -> None:
    catalog = load(tmp_path, ADDRESS, "adapters: {server: vllm, slots: 8, load_timeout: 1m, pinned: [sql]}")
    stated = catalog.named("chat").adapters
    assert stated is not None
    assert (stated.server, stated.slots, stated.load_timeout_s, stated.manage) == ("vllm", 8, 60.0, True)
    assert stated.pinned == ("sql",)


def test_an_adapter_on_another_server_inherits_nothing_of_the_sort(tmp_path: Path) -> None:
    extra = "base_url: http://127.0.0.1:2/v1\n"
    assert load(tmp_path, ADDRESS, "adapters: {server: vllm, slots: 8}", extra=extra).named("sql").adapters is None


def test_a_load_may_take_thirty_seconds_unless_stated(tmp_path: Path) -> None:
    stated = load(tmp_path, ADDRESS, "adapters: {server: sglang, slots: 2}").named("sql").adapters
    assert stated is not None
    assert (stated.load_timeout_s, stated.loads) == (30.0, True)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            (ADDRESS, "adapters: {server: vlm, slots: 8}"),
            '5: adapters.server: unknown value "vlm"; did you mean "vllm"?',
        ),
        ((ADDRESS, "adapters: {server: vllm, slot: 8}"), 'unknown key "slot"; did you mean "slots"?'),
        ((ADDRESS, "adapters: {server: vllm}"), '5: adapters: the key "slots" is missing'),
        ((ADDRESS, "adapters: {server: vllm, slots: 0}"), "5: adapters.slots: "),
        ((ADDRESS, "adapters: {server: vllm, slots: 8, load_timeout: 30}"), "5: adapters.load_timeout: expected"),
        (
            (ADDRESS, "adapters: {server: vllm, slots: 8, pinned: [sqll]}"),
            'there is no card "sqll"; did you mean "sql"?',
        ),
        ((ADDRESS, "adapters: {server: vllm, slots: 8, pinned: [base]}"), '"base" is not an adapter of base'),
        ((ADDRESS, "adapters: {server: vllm, slots: 1, pinned: [sql]}"), "adapters.pinned: takes all 1 slots"),
        ((ADDRESS, "adapters: {server: vllm, slots: 1, pinned: [sql, chat]}"), "pinned: names 2 adapters"),
        ((ADDRESS, "adapters: {server: llama.cpp}"), "adapters.server: a llama.cpp server needs `lora_slots`"),
        (
            (ADDRESS, "lora_slots: [sql, chat]", "adapters: {server: vllm, slots: 2}"),
            "adapters.server: `lora_slots` are those of llama.cpp, and this is vllm",
        ),
        (
            (ADDRESS, "lora_slots: [sql, chat]", "adapters: {server: llama.cpp, slots: 2}"),
            "slots: a llama.cpp server holds all adapters of `lora_slots`",
        ),
        (("adapters: {server: vllm, slots: 8}",), "adapters: needs the address of the server"),
        ((ADDRESS, "tenant: acme"), "tenant: only an adapter has this"),
    ],
)
def test_a_wrong_key_is_reported_with_file_line_and_the_likely_intention(
    tmp_path: Path, lines: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, *lines)
    assert "base.yaml:" in str(caught.value)
    assert problem in str(caught.value)


def test_an_adapters_card_does_not_state_what_its_server_holds(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, ADDRESS, extra="base_url: http://127.0.0.1:1/v1\nadapters: {server: vllm, slots: 8}\n")
    assert "only the base model's card states what its servers hold: move it to base" in str(caught.value)


def test_the_adapters_of_a_llama_cpp_server_are_those_of_its_slots(tmp_path: Path) -> None:
    stated = load(tmp_path, ADDRESS, "lora_slots: [sql, chat]", "adapters: {server: llama.cpp}").named("sql").adapters
    assert stated is not None
    assert not stated.loads


@pytest.mark.parametrize(
    ("extra", "manage", "hinted"),
    [("", "true", True), ("lora: {rank: 4, path: /srv/sql}\n", "true", False), ("", "false", False)],
)
def test_lint_reports_an_adapter_whose_weights_the_gateway_cannot_name(
    tmp_path: Path, extra: str, manage: str, hinted: bool
) -> None:
    catalog = load(tmp_path, ADDRESS, f"adapters: {{server: vllm, slots: 8, manage: {manage}}}", extra=extra)
    hints = lint(catalog.named("sql")).hints
    assert any(hint.startswith("lora.path is missing") for hint in hints) is hinted


def test_lint_reports_a_dialect_of_another_server(tmp_path: Path) -> None:
    base = load(tmp_path, ADDRESS, "dialect: sglang", "adapters: {server: vllm, slots: 8}").named("base")
    assert "adapters.server is vllm, and `dialect` is sglang; is one of them wrong?" in lint(base).hints
