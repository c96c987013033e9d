"""An adapter's folder: its configuration, and its tensors grouped by the module that they change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import regex
from msgspec import Struct

from router.adapters import config as configs
from router.adapters.config import AdapterConfig, read_config
from router.adapters.formats.packed import Packed, packed_of
from router.adapters.safetensors import Matrix, Tensor, read_header, read_metadata, read_tensor
from router.errors import ConfigurationError, FileError

WEIGHTS = "adapter_model.safetensors"
COLD_WEIGHTS = "adapter_model.quantised.safetensors"
"""Few bits a value, as `router.adapters.formats.cold` writes them."""
DIFFUSERS_WEIGHTS = "pytorch_lora_weights.safetensors"
_PICKLES = ("adapter_model.bin", "adapter_model.pt", "pytorch_lora_weights.bin")
_TOKENIZER_FILES = (
    "added_tokens.json", "merges.txt", "special_tokens_map.json", "tokenizer.json", "tokenizer.model",
    "tokenizer_config.json", "vocab.json", "vocab.txt",
)  # fmt: skip
_BASE_LINE = regex.compile(r"\A---\n(?:(?!---).*\n)*?base_model:\s*['\"]?(?P<base>[\w./-]+)['\"]?\s*\n")
_README_CHARACTERS = 4000
# The parts of one module, as the libraries that write adapters name them.
_PART = regex.compile(
    r"(?:base_model\.model\.)?(?P<module>.+?)\."
    r"(?P<part>lora_(?:A|B\d*|D|E|L|P|R|U|route|embedding_[AB]|magnitude_vector)|(?:default_)?lora_latent_mapping(?:_0)?"
    r"|hydra_(?:par|seq)\.hydra_[AB]"
    r"|vector_z(?:_init)?|scaling_factor|P|vera_lambda_[bd]|hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t2)"
    r"|ia3_l|oft_[rRs]|boft_[Rs]|hra_u|bone_block|fourierft_spectrum|ln_tuning_layers|vblora_logits_[AB]|randlora_\w+"
    r"|(?:lora|lora_linear_layer)\.(?:down|up))"
    r"(?:\.default)?(?:\.weight)?"
)
_PART_NAMES = {
    **dict.fromkeys(
        (
            "default_lora_latent_mapping",
            "lora_latent_mapping",
            "default_lora_latent_mapping_0",
            "lora_latent_mapping_0",
        ),
        "lora_R",
    ),
    **dict.fromkeys(("lora_U", "lora.down", "lora_linear_layer.down"), "lora_A"),
    **dict.fromkeys(("lora_L", "lora.up", "lora_linear_layer.up"), "lora_B"),
    "lora_P": "P",
    "lora_D": "vector_z",
}
# The classes of transformers that write text, and the first modules of models that do not.
_CHAT_CLASS = regex.compile(
    r"(?!Whisper|Speech|Musicgen|Bark)\w*(?:ForCausalLM|ForConditionalGeneration|LMHeadModel|ForImageTextToText)"
)
_FOREIGN = regex.compile(
    r"(?:model\.)?(?P<part>unet|text_encoder(?:_\d)?|transformer_blocks|single_transformer_blocks"
    r"|transformer\.(?:single_)?transformer_blocks|down_blocks|mid_block|up_blocks|vae|vit|deit|dinov2|swin|clip"
    r"|vision_model|audio_spectrogram_transformer|wav2vec2|hubert|wavlm|clap|point_encoder|pointnet)\."
)
_SHARED = regex.compile(
    r"(?:base_model\.(?:model\.)?)?(?P<part>(?:p?vera|randlora)_[AB]|vblora_vector_bank|prompt_embeddings|xlora.*)"
)


class Adapter(Struct, frozen=True):
    """One adapter. `modules` has the parts of each changed module (`lora_A` …) by module; `shared` those of all
    modules; `others` whole weights, such as those of `modules_to_save`; all by the name in the file.
    """

    folder: Path
    config: AdapterConfig
    weights: Path
    tensors: Mapping[str, Tensor]
    modules: Mapping[str, Mapping[str, str]]
    shared: Mapping[str, str]
    others: tuple[str, ...]
    packed: Mapping[str, tuple[Packed, Tensor, Tensor]] = {}
    """The codes and scales of the tensors that are quantised."""

    def values(self, name: str) -> Matrix:
        """The values of the tensor `name`."""
        if name not in self.packed:
            return read_tensor(self.weights, self.tensors[name])
        packed, codes, scales = self.packed[name]
        return packed.unpack(
            read_tensor(self.weights, codes).astype(np.uint8), read_tensor(self.weights, scales).astype(np.float32)
        )

    def part(self, module: str, part: str) -> Matrix:
        """The values of a part of `module`. Raises FileError where it is missing."""
        name = self.modules[module].get(part)
        if name is None:
            raise FileError(str(self.weights), None, f"{module}: {part} is missing")
        return self.values(name)

    @property
    def foreign(self) -> str | None:
        """What the adapter's base is, in words, where that is no model that a chat server runs; else None.

        That is known from peft's `auto_mapping`, the file's name, or the modules, of which all are of such a model.
        """
        base_class = self.config.base_class
        if base_class is not None and not _CHAT_CLASS.fullmatch(base_class):
            return f"a {base_class}"
        if self.weights.name == DIFFUSERS_WEIGHTS:
            return "an image model (diffusers)"
        if self.config.peft_type == configs.ADAPTER_HUB:
            return (
                f"changed by layers of its own (AdapterHub), {self.config.base_model or 'a model that is not stated'}"
            )
        kinds = [_FOREIGN.match(f"{module}.") for module in self.modules]
        if kinds and all(kinds):
            return f"a model with the part {kinds[0]['part']}" if kinds[0] else None
        return None

    @property
    def parameters(self) -> int:
        """The number of values of all tensors."""
        return sum(tensor.values for tensor in self.tensors.values())

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes of the tensors, each once."""
        return tuple(sorted({tensor.dtype for tensor in self.tensors.values()}))


def adapter_folders(folder: Path) -> list[Path]:
    """The adapter folders in `folder`, at any depth, sorted; `folder` itself where it is one.

    Raises ConfigurationError where there are none.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: there is no such folder")
    names = (configs.FILE_NAME, DIFFUSERS_WEIGHTS)
    if any((folder / name).is_file() for name in names):
        return [folder]
    found = sorted({file.parent for name in names for file in folder.rglob(name)})
    if not found:
        raise ConfigurationError(f"{folder}: has no {configs.FILE_NAME}, and none of its folders has one")
    # A checkpoint inside an adapter's folder is an earlier state of it.
    return [path for path in found if not any(other != path and other in path.parents for other in found)]


def read_adapter(folder: Path) -> Adapter:
    """The adapter in `folder`: of its weights, only the header is read. Raises FileError naming file and key."""
    weights = folder / WEIGHTS
    if not weights.is_file() and (folder / COLD_WEIGHTS).is_file():
        weights = folder / COLD_WEIGHTS
    if (folder / DIFFUSERS_WEIGHTS).is_file() and not (folder / configs.FILE_NAME).is_file():
        weights = folder / DIFFUSERS_WEIGHTS
        config = _diffusers_config(weights)
    else:
        config = read_config(folder)
    if not weights.is_file():
        for name in _PICKLES:
            if (folder / name).is_file() and config.peft_type != configs.ADAPTER_HUB:
                why = "is a pickle, which can run code when it is read; save it as safetensors"
                raise FileError(str(folder / name), None, why)
        if config.peft_type not in ("XLORA", configs.ADAPTER_HUB):
            raise FileError(str(weights), None, "does not exist")
        return Adapter(folder, config, weights, {}, {}, {}, ())
    tensors, packed = _quantised(weights) if weights.name == COLD_WEIGHTS else (read_header(weights), {})
    modules: dict[str, dict[str, str]] = {}
    shared: dict[str, str] = {}
    others = []
    for name in tensors:
        if match := _SHARED.fullmatch(name):
            shared[match["part"]] = name
        elif match := _PART.fullmatch(name):
            parts = modules.setdefault(match["module"], {})
            part = _PART_NAMES.get(match["part"], match["part"])
            if part in parts:
                raise FileError(str(weights), None, f"{name}: {part} of this module occurs twice")
            parts[part] = name
        else:
            others.append(name)
    return Adapter(folder, config, weights, tensors, modules, shared, tuple(others), packed)


def _quantised(file: Path) -> tuple[dict[str, Tensor], dict[str, tuple[Packed, Tensor, Tensor]]]:
    """The tensors of a quantised file by the names that they had, and how the matrices among them are stored."""
    tensors = read_header(file)
    try:
        stated = msgspec.json.decode(str(read_metadata(file).get("packed", "{}")), type=dict[str, list[int]])
        packed = {}
        for name, how in packed_of(stated).items():
            codes, scales = tensors.pop(f"{name}.codes"), tensors.pop(f"{name}.scales")
            lines, _ = how.lines
            if (codes.dtype, codes.shape, scales.dtype, scales.shape) != (
                "U8", (lines, how.bytes_a_line), "F32", (lines,),
            ):  # fmt: skip
                raise ValueError(f"{name}: its codes and scales are not those of a matrix of {how.shape}")
            packed[name] = how, codes, scales
            tensors[name] = Tensor("F32", how.shape, codes.begin, codes.end)
    except (msgspec.MsgspecError, ValueError) as error:
        raise FileError(str(file), None, f"packed: {error}") from None
    except KeyError as error:
        raise FileError(str(file), None, f"packed: there is no tensor {error}") from None
    return dict(sorted(tensors.items())), packed


def file_hash(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def tokenizer_hash(folder: Path) -> str | None:
    """The SHA-256 of the tokenizer's files in `folder`, names included; None where there are none."""
    digest = hashlib.sha256()
    present = [name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    for name in present:
        digest.update(f"{name}\0{file_hash(folder / name)}\n".encode())
    return digest.hexdigest() if present else None


def _diffusers_config(weights: Path) -> AdapterConfig:
    raw: dict[str, Any] = {}
    base = _model_card_base(weights.with_name("README.md"))
    return AdapterConfig(weights, "LORA", raw, None, None, base, None, None, (), (), {}, {}, False, False, "none")


def _model_card_base(file: Path) -> str | None:
    """What the first lines of a README say that the adapter was trained on, as the scripts of diffusers write it."""
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            found = _BASE_LINE.search(opened.read(_README_CHARACTERS))
    except OSError:
        return None
    return None if found is None else found["base"]
