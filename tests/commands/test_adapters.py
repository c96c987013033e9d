from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from router import Router
from router.cards import load_catalog
from router.wire.chat.request import ChatRequest
from tests.adapters import folders
from tests.adapters.families import FAMILIES
from tests.adapters.folders import all_kinds, base_weights, write_adapter, write_base
from tests.adapters.test_import import HAS_DISPATCHABLE
from tests.commands.conftest import Run


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    """A folder with an adapter of every kind."""
    for kind, made in all_kinds().items():
        write_adapter(tmp_path / "adapters" / kind, made)
    return tmp_path / "adapters"


def test_imported_cards_and_their_base_are_a_catalogue(run: Run, adapters: Path, tmp_path: Path) -> None:
    ended = run("adapters", "import", str(adapters), "--out", str(tmp_path / "cards"))
    assert (ended.code, ended.err) == (0, "")
    catalog = load_catalog(tmp_path / "cards")
    served = {"lora", "rslora"}
    assert served <= set(catalog.ids)
    assert "tiny-llama" in catalog.ids
    card = catalog.named("lora")
    assert (card.kind, card.base, card.provider, card.model) == ("adapter", "tiny-llama", "hosted_vllm", "lora")
    assert card.lora is not None
    assert (card.lora.rank, card.lora.alpha, card.lora.targets) == (4, 8, ("down_proj", "q_proj", "v_proj"))


def test_what_nothing_serves_as_it_is_never_becomes_a_candidate(run: Run, adapters: Path, tmp_path: Path) -> None:
    run("adapters", "import", str(adapters), "--out", str(tmp_path / "cards"))
    catalog = load_catalog(tmp_path / "cards")
    for kind in set(all_kinds()) - {"lora", "rslora"}:
        if HAS_DISPATCHABLE:
            assert catalog.named(kind).dispatchable is False
        else:
            assert kind not in catalog.ids


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_that_no_chat_server_runs_are_cards_that_are_never_candidates(
    run: Run, tmp_path: Path, family: str
) -> None:
    FAMILIES[family](tmp_path / "adapters" / family)
    write_adapter(tmp_path / "adapters" / "chat", all_kinds()["lora"])
    ended = run("adapters", "import", str(tmp_path / "adapters"), "--out", str(tmp_path / "cards"))
    assert (ended.code, ended.err) == (0, "")
    catalog = load_catalog(tmp_path / "cards")
    assert catalog.named(family).dispatchable is False
    base = catalog.named(str(catalog.named(family).base))
    # A classifier's base may be a chat model, and the other adapter's is.
    assert base.dispatchable is (base.id == "tiny-llama")
    router = Router.default(cards=tmp_path / "cards")
    for prompt in ("Draw a house at night", "What is 3 + 4?"):
        decision = router.route(ChatRequest.from_prompt(prompt)).decision
        assert {candidate.card for candidate in decision.candidates} <= {"chat", "tiny-llama"}
        assert family in decision.rejections


def test_an_image_models_adapter_without_a_stated_base_needs_only_a_name(run: Run, tmp_path: Path) -> None:
    FAMILIES["resolution"](tmp_path / "adapters" / "resolution")
    (tmp_path / "adapters" / "resolution" / "README.md").unlink()
    arguments = ("adapters", "import", str(tmp_path / "adapters"), "--out", str(tmp_path / "cards"))
    assert "give --base-card ID" in run(*arguments).out
    assert run(*arguments, "--base-card", "diffusion").code == 0
    catalog = load_catalog(tmp_path / "cards")
    assert [card.dispatchable for card in catalog] == [False, False]


def test_the_bases_card_is_found_by_its_model(run: Run, adapters: Path, tmp_path: Path) -> None:
    cards = tmp_path / "cards"
    cards.mkdir()
    (cards / "own.yaml").write_text(f"id: own\nprovider: vllm\nmodel: {folders.BASE_NAME}\n")
    assert run("adapters", "import", str(adapters / "lora"), "--out", str(cards)).code == 0
    card = load_catalog(cards).named("lora")
    assert (card.base, card.provider) == ("own", "vllm")
    assert not (cards / "tiny-llama.yaml").exists()


def test_a_card_is_only_replaced_when_asked(run: Run, adapters: Path, tmp_path: Path) -> None:
    cards = tmp_path / "cards"
    arguments = ("adapters", "import", str(adapters / "lora"), "--out", str(cards))
    run(*arguments)
    edited = (cards / "lora.yaml").read_text() + "tags: [mine]\n"
    (cards / "lora.yaml").write_text(edited)
    assert "already exists" in run(*arguments).out
    assert (cards / "lora.yaml").read_text() == edited
    run(*arguments, "--overwrite")
    assert "mine" not in (cards / "lora.yaml").read_text()


def test_a_broken_adapter_is_reported_and_the_others_are_imported(run: Run, adapters: Path, tmp_path: Path) -> None:
    (adapters / "oft" / "adapter_config.json").write_text('{"r": 1}')
    ended = run("adapters", "import", str(adapters), "--out", str(tmp_path / "cards"))
    assert ended.code == 3
    assert str(adapters / "oft" / "adapter_config.json") in ended.err
    assert "peft_type" in ended.err
    assert "lora" in load_catalog(tmp_path / "cards").ids


def test_the_import_as_json_has_the_verdict(run: Run, adapters: Path) -> None:
    (facts,) = json.loads(run("adapters", "import", str(adapters / "rslora"), "--json").out)
    assert facts["use_rslora"] is True
    assert facts["verdict"]["reasons"]["vllm"] is None
    assert "use_rslora" in facts["verdict"]["reasons"]["sglang"]


def test_without_a_stated_base_the_card_needs_one(run: Run, tmp_path: Path) -> None:
    settings, tensors, deltas = all_kinds()["lora"]
    write_adapter(tmp_path / "a", ({**settings, "base_model_name_or_path": None}, tensors, deltas))
    arguments = ("adapters", "import", str(tmp_path / "a"), "--out", str(tmp_path / "cards"))
    assert "--base-card" in run(*arguments).out
    assert not (tmp_path / "cards").exists()
    assert run(*arguments, "--base-card", "x").code == 2


def test_lint_ends_with_an_error_code_only_for_faults(run: Run, adapters: Path, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", base_weights())
    ended = run("adapters", "lint", str(adapters), "--base", str(base))
    assert (ended.code, ended.out.count(": sound")) == (0, len(all_kinds()))
    settings, tensors, deltas = all_kinds()["lora"]
    next(iter(tensors.values()))[0, 0] = np.nan
    write_adapter(adapters / "lora", (settings, tensors, deltas))
    ended = run("adapters", "lint", str(adapters))
    assert ended.code == 3
    assert "error: values: base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight: 1 of 96" in ended.out


def test_lint_names_near_duplicates(run: Run, adapters: Path) -> None:
    write_adapter(adapters / "twin", all_kinds()["loha"])
    ended = run("adapters", "lint", str(adapters))
    assert ended.code == 0
    assert f"nearly the same: {adapters / 'loha'} and {adapters / 'twin'} (cosine 1.0000" in ended.out


def test_fold_prints_what_it_wrote_and_the_result_is_served_by_all(run: Run, adapters: Path, tmp_path: Path) -> None:
    ended = run("adapters", "fold", str(adapters / "lora-xs"), str(tmp_path / "out"))
    assert "plain LoRA of rank 4, 1,920 -> 1,776 values" in ended.out
    (facts,) = json.loads(run("adapters", "import", str(tmp_path / "out"), "--json").out)
    assert set(facts["verdict"]["reasons"].values()) == {None}


def test_fold_says_why_it_refuses(run: Run, adapters: Path, tmp_path: Path) -> None:
    ended = run("adapters", "fold", str(adapters / "dora"), str(tmp_path / "out"))
    assert ended.code == 3
    assert "DoRA scales each row" in ended.err


def test_truncate_prints_the_kept_energy(run: Run, adapters: Path, tmp_path: Path) -> None:
    ended = run("adapters", "truncate", str(adapters / "lora"), str(tmp_path / "out"), "--rank", "2")
    assert ended.code == 0
    assert "plain LoRA of rank 2" in ended.out
    assert "kept energy: " in ended.out


def with_base(name: str) -> folders.Made:
    settings, tensors, deltas = all_kinds()["lora"]
    return {**settings, "base_model_name_or_path": name}, tensors, deltas


def test_two_bases_of_one_name_are_two_cards(run: Run, tmp_path: Path) -> None:
    write_adapter(tmp_path / "in" / "one", with_base("first/Tiny"))
    write_adapter(tmp_path / "in" / "two", with_base("second/tiny"))
    run("adapters", "import", str(tmp_path / "in"), "--out", str(tmp_path / "cards"))
    catalog = load_catalog(tmp_path / "cards")
    assert [catalog.named(name).base for name in ("one", "two")] == ["tiny", "second-tiny"]
    assert [catalog.named(name).model for name in ("tiny", "second-tiny")] == ["first/Tiny", "second/tiny"]


def test_an_adapter_named_like_its_base_has_another_id(run: Run, tmp_path: Path) -> None:
    write_adapter(tmp_path / "in" / "tiny", with_base("org/Tiny"))
    run("adapters", "import", str(tmp_path / "in"), "--out", str(tmp_path / "cards"))
    assert load_catalog(tmp_path / "cards").named("tiny").base == "org-tiny"


def test_the_name_of_another_card_is_not_taken(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "other.yaml").write_text("id: other\naliases: [mine]\nprovider: openai\nmodel: x\n")
    write_adapter(tmp_path / "in" / "mine", with_base("org/Tiny"))
    assert "is named mine" in run("adapters", "import", str(tmp_path / "in"), "--out", str(tmp_path / "cards")).out
    assert load_catalog(tmp_path / "cards").ids == ("other",)


def test_a_base_that_is_an_adapter_is_refused(run: Run, adapters: Path, tmp_path: Path) -> None:
    run("adapters", "import", str(adapters / "lora"), "--out", str(tmp_path / "cards"))
    ended = run("adapters", "import", str(adapters / "rslora"), "--out", str(tmp_path / "cards"), "--base-card", "lora")
    assert (ended.code, "is an adapter" in ended.err) == (2, True)


@pytest.mark.parametrize("line_break", ["\n", "\r", "\x85", "\u2028"])
def test_a_line_break_in_a_name_adds_no_key_to_the_card(run: Run, tmp_path: Path, line_break: str) -> None:
    settings, tensors, deltas = with_base(f"org/Tiny{line_break}tags: [planted]")
    write_adapter(tmp_path / "in" / "a", ({**settings, "revision": f"1{line_break}tags: [planted]"}, tensors, deltas))
    run("adapters", "import", str(tmp_path / "in"), "--out", str(tmp_path / "cards"))
    assert [card.tags for card in load_catalog(tmp_path / "cards")] == [(), ()]


def test_a_base_name_too_long_for_a_card_leaves_no_files(run: Run, tmp_path: Path) -> None:
    write_adapter(tmp_path / "in" / "a", with_base("org/" + "x" * 300))
    ended = run("adapters", "import", str(tmp_path / "in"), "--out", str(tmp_path / "cards"))
    assert ended.code == 3
    assert "model: " in ended.err
    assert not (tmp_path / "cards").exists()


def test_convert_writes_gguf_for_llama_cpp(run: Run, adapters: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    base = write_base(tmp_path / "base")
    arguments = ("adapters", "convert", str(adapters / "rslora"), str(tmp_path / "a.gguf"), "--to", "gguf")
    ended = run(*arguments, "--base", str(base), "--precision", "f16")
    size = (tmp_path / "a.gguf").stat().st_size
    assert ended.out == f"{tmp_path / 'a.gguf'}: llama, rank 4, alpha 16, 18 tensors, {size:,} bytes\n"
    assert "already exists" in run(*arguments, "--base", str(base)).err


def test_convert_says_what_it_needs_to_know_of_the_base(run: Run, adapters: Path, tmp_path: Path) -> None:
    ended = run("adapters", "convert", str(adapters / "lora"), str(tmp_path / "a.gguf"))
    assert ended.code == 3
    assert "give --base DIR (its config.json) or --base MODEL.gguf" in ended.err


def test_what_is_quantised_is_restored_and_folded(run: Run, adapters: Path, tmp_path: Path) -> None:
    cold = str(tmp_path / "cold")
    ended = run("adapters", "quantise", str(adapters / "lora"), cold, "--bits", "8")
    assert "8 bits a value" in ended.out
    assert "of their norm" in ended.out
    assert run("adapters", "restore", cold, str(tmp_path / "whole")).code == 0
    assert run("adapters", "fold", cold, str(tmp_path / "folded")).code == 0
    for name in ("whole", "folded"):
        (imported,) = json.loads(run("adapters", "import", str(tmp_path / name), "--json").out)
        assert imported["verdict"]["servable"] == "adapter"


def test_other_numbers_of_bits_are_refused(run: Run, adapters: Path, tmp_path: Path) -> None:
    ended = run("adapters", "quantise", str(adapters / "lora"), str(tmp_path / "cold"), "--bits", "3")
    assert ended.code != 0
    assert "--bits: must be 8, 4, 2 or 1, not 3" in ended.err


def test_interference_ends_with_an_error_code_only_beyond_the_limit(run: Run, tmp_path: Path) -> None:
    for n in range(2):
        write_adapter(tmp_path / str(n), folders.lora(np.random.default_rng(n)))
    ended = run("adapters", "interference", str(tmp_path / "0"), str(tmp_path / "1"))
    assert ended.code == 0
    assert "can be added up" in ended.out
    same = run("adapters", "interference", str(tmp_path / "0"), str(tmp_path / "0"))
    assert same.code == 3
    assert "beyond 0.2: do not add them up" in same.out
    assert "needs two adapters" in run("adapters", "interference", str(tmp_path / "0")).err


URL = "http://127.0.0.1:8080/v1"


def served_by_llama_cpp(run: Run, tmp_path: Path, *names: str) -> None:
    """Import these adapters for a llama.cpp server, whose GGUF files exist."""
    for name in names:
        write_adapter(tmp_path / "in" / name, all_kinds()["lora"])
        (tmp_path / "gguf").mkdir(exist_ok=True)
        (tmp_path / "gguf" / f"{name}.gguf").write_bytes(b"GGUF")
    arguments = ("adapters", "import", str(tmp_path / "in"), "--out", str(tmp_path / "cards"), "--base-url", URL)
    ended = run(*arguments, "--server", "llama.cpp", "--gguf", str(tmp_path / "gguf"))
    assert (ended.code, ended.err) == (0, "")


def test_an_import_for_llama_cpp_says_what_the_server_has(run: Run, tmp_path: Path) -> None:
    served_by_llama_cpp(run, tmp_path, "b", "a")
    catalog = load_catalog(tmp_path / "cards")
    base = catalog.named("tiny-llama")
    assert (base.base_url, base.lora_slots) == (URL, ("a", "b"))
    assert base.adapters is not None
    assert base.adapters.server == "llama.cpp"
    card = catalog.named("a")
    assert card.model == base.model
    assert card.lora is not None
    assert card.lora.path == str(tmp_path / "gguf" / "a.gguf")


def test_a_later_import_adds_adapters_after_those_that_the_server_has(run: Run, tmp_path: Path) -> None:
    served_by_llama_cpp(run, tmp_path, "c", "b")
    file = tmp_path / "cards" / "tiny-llama.yaml"
    file.write_text(f"# mine\n{file.read_text()}context: 2k # checked\n")
    served_by_llama_cpp(run, tmp_path, "a")
    assert load_catalog(tmp_path / "cards").named("tiny-llama").lora_slots == ("b", "c", "a")
    assert file.read_text().startswith("# mine\n")
    assert "context: 2k # checked\n" in file.read_text()


def test_the_command_of_a_llama_cpp_server_has_the_adapters_in_the_order_of_the_card(run: Run, tmp_path: Path) -> None:
    served_by_llama_cpp(run, tmp_path, "b")
    served_by_llama_cpp(run, tmp_path, "a")
    arguments = ("adapters", "command", "--cards", str(tmp_path / "cards"))
    words = run(*arguments, "--model", "base.gguf").out.replace("\\\n", "").split()
    files = [words[number + 1] for number, word in enumerate(words) if word == "--lora"]
    assert files == [str(tmp_path / "gguf" / f"{name}.gguf") for name in ("b", "a")]
    assert "--lora-init-without-apply" in words
    assert words[words.index("--port") + 1] == "8080"
    assert "--model: give the GGUF file" in run(*arguments).err


def test_an_adapter_without_its_gguf_file_gets_no_card(run: Run, tmp_path: Path) -> None:
    served_by_llama_cpp(run, tmp_path, "a")
    write_adapter(tmp_path / "in" / "b", all_kinds()["lora"])
    arguments = ("adapters", "import", str(tmp_path / "in"), "--out", str(tmp_path / "cards"))
    ended = run(*arguments, "--server", "llama.cpp", "--gguf", str(tmp_path / "gguf"))
    assert ended.code == 3
    assert "b.gguf does not exist; run `route adapters convert` first" in ended.err
    assert load_catalog(tmp_path / "cards").named("tiny-llama").lora_slots == ("a",)


def test_an_import_for_vllm_states_slots_and_what_vllm_cannot_serve(run: Run, adapters: Path, tmp_path: Path) -> None:
    arguments = ("adapters", "import", str(adapters), "--out", str(tmp_path / "cards"), "--base-url", URL)
    assert run(*arguments, "--server", "vllm", "--slots", "3").code == 0
    catalog = load_catalog(tmp_path / "cards")
    base = catalog.named("tiny-llama")
    assert base.adapters is not None
    assert (base.adapters.server, base.adapters.slots, base.lora_slots) == ("vllm", 3, None)
    assert catalog.named("lora").dispatchable
    assert not catalog.named("vera").dispatchable
    command = run("adapters", "command", "--cards", str(tmp_path / "cards")).out
    assert "--max-loras 3 --max-cpu-loras 6 --max-lora-rank 8" in command


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--base-url", URL), "--server: say which server"),
        (("--server", "vllm"), "--slots: how many"),
        (("--server", "llama.cpp"), "--gguf: give the folder"),
        (("--server", "vllm", "--slots", "2", "--base-url", "gpu-1:8000"), "--base-url: must be an http"),
    ],
)
def test_an_import_says_which_option_is_missing_or_wrong(
    run: Run, adapters: Path, tmp_path: Path, options: tuple[str, ...], problem: str
) -> None:
    ended = run("adapters", "import", str(adapters), "--out", str(tmp_path / "cards"), *options)
    assert problem in ended.err
    assert not (tmp_path / "cards").exists()


def test_a_folder_of_many_is_converted_to_a_folder_of_files(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    for name in ("a", "b"):
        write_adapter(tmp_path / "in" / name, all_kinds()["lora"])
    arguments = ("adapters", "convert", str(tmp_path / "in"), str(tmp_path / "out"), "--base")
    base = str(write_base(tmp_path / "base"))
    assert run(*arguments, base).code == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a.gguf", "b.gguf"]
    assert run(*arguments, base).out.count("already exists") == 2
