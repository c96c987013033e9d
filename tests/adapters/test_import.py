from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from router.adapters.back_ends import verdict
from router.adapters.cards import card_ids, describe
from router.adapters.folder import adapter_folders, read_adapter
from router.cards import Card
from router.errors import ConfigurationError, FileError
from tests.adapters import folders
from tests.adapters.folders import Made, all_kinds, write_adapter

HAS_DISPATCHABLE = "dispatchable" in {field.encode_name for field in msgspec.structs.fields(Card)}
TYPES = {
    "lora": "LORA", "rslora": "LORA", "patterns": "LORA", "lora-xs": "LORA", "hydra": "LORA", "dora": "LORA",
    "adalora": "ADALORA", "hydra-branches": "HYDRALORA",
    "loldu": "LOLDU", "vera": "VERA", "loha": "LOHA", "lokr": "LOKR", "ia3": "IA3", "oft": "OFT",
    "boft": "BOFT", "prompt-tuning": "PROMPT_TUNING", "fourierft": "FOURIERFT", "xlora": "XLORA",
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_type_parameters_and_dtype_of_every_type_are_read(tmp_path: Path, kind: str) -> None:
    made = all_kinds()[kind]
    facts = describe(read_adapter(write_adapter(tmp_path / "a", made, "BF16")), "a")
    assert facts.peft_type == TYPES[kind]
    assert facts.parameters == sum(values.size for values in made[1].values())
    assert facts.dtype == ("BF16" if made[1] else None)
    assert facts.base_model == folders.BASE_NAME


def test_shape_hash_and_revision_are_read(tmp_path: Path) -> None:
    settings, tensors, _ = all_kinds()["patterns"]
    folder = write_adapter(tmp_path / "a", ({**settings, "revision": "abc123"}, tensors, {}))
    (folder / "tokenizer.json").write_text("{}")
    facts = describe(read_adapter(folder), "a")
    assert (facts.rank, facts.ranks, facts.alpha) == (4, (2, 4), 8)
    assert facts.targets == ("down_proj", "q_proj", "v_proj")
    assert facts.revision == "abc123"
    assert facts.bytes == (folder / "adapter_model.safetensors").stat().st_size
    assert facts.sha256 is not None
    assert facts.tokenizer_sha256 is not None


def test_other_tokenizer_files_have_another_hash(tmp_path: Path) -> None:
    hashes = set()
    for n, text in enumerate(("{}", "{ }")):
        folder = write_adapter(tmp_path / str(n), all_kinds()["lora"])
        (folder / "tokenizer.json").write_text(text)
        hashes.add(describe(read_adapter(folder), "a").tokenizer_sha256)
    assert len(hashes) == 2


def changed(kind: str, dtype: str = "F32", **keys: Any) -> tuple[Made, str]:
    settings, tensors, deltas = all_kinds()[kind]
    return ({**settings, **keys}, tensors, deltas), dtype


@pytest.mark.parametrize(
    ("made", "servable", "servers"),
    [
        (changed("lora"), "adapter", ("vllm", "sglang", "llama.cpp", "lorax")),
        (changed("lora", "F64"), "adapter", ("vllm", "sglang", "lorax")),
        (changed("rslora"), "adapter", ("vllm", "lorax")),
        (changed("lora", rank_pattern={"q_proj": 2}), "adapter", ("llama.cpp",)),
        (changed("lora", rank_pattern={".*": 2}), "adapter", ("llama.cpp",)),
        (changed("lora", rank_pattern={".*": 4}), "adapter", ("vllm", "sglang", "llama.cpp", "lorax")),
        (changed("patterns"), "fold", ()),
        (changed("lora-xs"), "fold", ()),
        (changed("hydra"), "fold", ()),
        (changed("hydra-branches"), "fold", ()),
        (changed("loha"), "fold", ()),
        (changed("dora"), "merged-only", ()),
        (changed("lora", bias="all"), "merged-only", ()),
        (changed("lora", modules_to_save=["lm_head"]), "merged-only", ()),
        (changed("ia3"), "merged-only", ()),
        (changed("prompt-tuning"), "no", ()),
        (changed("lora", task_type="SEQ_CLS"), "no", ()),
    ],
)
def test_what_can_serve_an_adapter(
    tmp_path: Path, made: tuple[Made, str], servable: str, servers: tuple[str, ...]
) -> None:
    found = verdict(read_adapter(write_adapter(tmp_path / "a", *made)))
    assert (found.servable, found.servers) == (servable, servers)
    assert all(reason is None or len(reason) > 10 for reason in found.reasons.values())


def test_an_adapter_that_states_no_rank_has_no_pattern_that_servers_would_ignore(tmp_path: Path) -> None:
    settings, tensors, deltas = all_kinds()["lora"]
    del settings["r"]
    found = verdict(read_adapter(write_adapter(tmp_path / "a", (settings, tensors, deltas))))
    assert not any("rank_pattern" in (reason or "") for reason in found.reasons.values())


@pytest.mark.parametrize(
    ("rank", "pattern", "hint"), [(64, 64, "--max-lora-rank 64"), (200, 200, "--max-lora-rank 256"), (8, 8, None)]
)
def test_vllm_is_to_be_started_with_room_for_the_greatest_rank(
    tmp_path: Path, rank: int, pattern: int, hint: str | None
) -> None:
    made, dtype = changed("lora", r=rank, rank_pattern={"q_proj": pattern})
    hints = verdict(read_adapter(write_adapter(tmp_path / "a", made, dtype))).hints
    assert [text.rpartition("with ")[2] for text in hints if text.startswith("vllm")] == ([hint] if hint else [])


def test_a_stated_rank_that_no_module_has_is_no_rank_to_make_room_for(tmp_path: Path) -> None:
    made, dtype = changed("lora", r=1024, rank_pattern={".*": 16})
    found = verdict(read_adapter(write_adapter(tmp_path / "a", made, dtype)))
    assert found.servers == ("llama.cpp",)
    assert not any("--max-lora-rank" in hint for hint in found.hints)


def test_an_image_models_lora_is_served_by_nothing(tmp_path: Path) -> None:
    tensors = {"unet.down_blocks.0.attn.to_q.lora.down.weight": np.ones((2, 4))}
    (tmp_path / "a").mkdir()
    folders.write_safetensors(tmp_path / "a" / "pytorch_lora_weights.safetensors", tensors)
    facts = describe(read_adapter(tmp_path / "a"), "a")
    assert (facts.verdict.servable, facts.parameters) == ("no", 8)
    assert "image model" in (facts.verdict.why or "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not JSON"),
        ("[]", "must be a JSON object"),
        ("{}", 'the key "peft_type" is missing'),
        ('{"peft_typ": "LORA"}', 'did you mean "peft_typ"?'),
        ('{"peft_type": 3}', "peft_type: must be a text"),
        ('{"peft_type": "LORA", "r": 0}', "r: must be a whole number above 0, not 0"),
        ('{"peft_type": "LORA", "r": "16"}', "r: must be a whole number"),
        ('{"peft_type": "LORA", "lora_alpha": "x"}', "lora_alpha: must be a number"),
        ('{"peft_type": "LORA", "use_rslora": "yes"}', "use_rslora: must be true or false"),
        ('{"peft_type": "LORA", "target_modules": [1]}', "target_modules: must be a list of names"),
        ('{"peft_type": "LORA", "modules_to_save": "lm_head"}', "modules_to_save: must be a list of names"),
        ('{"peft_type": "LORA", "rank_pattern": {"q": 1.5}}', "rank_pattern.q: must be a whole number"),
        ('{"peft_type": "LORA", "base_model_name_or_path": []}', "base_model_name_or_path: must be a text"),
    ],
)
def test_an_error_names_file_and_key(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(FileError) as caught:
        read_adapter(tmp_path)
    assert str(tmp_path / "adapter_config.json") in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize("pattern", ["(", "(x|x|xx)+$z"])
def test_a_pattern_that_is_no_expression_or_takes_too_long_is_an_error(tmp_path: Path, pattern: str) -> None:
    settings, tensors, _ = all_kinds()["lora"]
    folder = write_adapter(tmp_path, ({**settings, "target_modules": pattern}, tensors, {}))
    config = read_adapter(folder).config
    with pytest.raises(FileError, match="target_modules: the regular expression"):
        config.targets("x" * 60)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    settings, _, _ = all_kinds()["lora"]
    folder = write_adapter(tmp_path, (settings, {}, {}))
    (folder / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(FileError, match="is a pickle"):
        read_adapter(folder)


def test_missing_weights_are_an_error(tmp_path: Path) -> None:
    settings, _, _ = all_kinds()["lora"]
    with pytest.raises(FileError, match=r"adapter_model\.safetensors: does not exist"):
        read_adapter(write_adapter(tmp_path, (settings, {}, {})))


def test_folders_at_any_depth_are_found_but_no_checkpoints_inside_one(tmp_path: Path) -> None:
    for name in ("a", "x/b", "a/checkpoint-10", "x/run/checkpoint-2"):
        write_adapter(tmp_path / name, all_kinds()["lora"])
    found = [str(path.relative_to(tmp_path)) for path in adapter_folders(tmp_path)]
    assert found == ["a", "x/b", "x/run/checkpoint-2"]


def test_ids_are_names_with_the_folders_above_where_names_repeat(tmp_path: Path) -> None:
    paths = [tmp_path / "one" / "final", tmp_path / "two" / "final", tmp_path / "my adapter!"]
    assert list(card_ids(paths, tmp_path).values()) == ["one-final", "two-final", "my-adapter"]


def test_two_folders_of_one_id_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the card id a-b would be that of"):
        card_ids([tmp_path / "a b", tmp_path / "a!b"], tmp_path)


def test_a_folder_without_adapters_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has no adapter_config\.json"):
        adapter_folders(tmp_path)


def test_the_configuration_of_the_newest_peft_is_read(tmp_path: Path) -> None:
    settings, tensors, _ = all_kinds()["lora"]
    new = {"peft_version": "0.21.2", "loftq_config": {}, "rank_pattern": {}, "alpha_pattern": {}, "use_dora": False}
    folder = write_adapter(tmp_path, ({**settings, **new}, tensors, {}))
    assert json.loads((folder / "adapter_config.json").read_text())["peft_version"] == "0.21.2"
    assert verdict(read_adapter(folder)).servable == "adapter"
