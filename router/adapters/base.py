"""The base model: what its `config.json` says about shapes, and its weights beside it; or a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from router.adapters.safetensors import Matrix, Tensor, read_header, read_tensor
from router.errors import FileError, MissingExtraError
from router.formats.json_file import read_json_object

Shape = tuple[int, int]
_GGUF_KEYS = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "num_hidden_layers": "block_count",
    "vocab_size": "vocab_size",
}


class Base(Struct, frozen=True):
    """A base model. `tensors` are its weights by name, each with its file; empty where the folder has only a config."""

    folder: Path
    shapes: Mapping[str, Shape]
    """Outputs and inputs by the last part of a module's name."""
    layers: int | None
    tensors: Mapping[str, tuple[Path, Tensor]]
    architecture: str | None = None
    """The class that `architectures` names, such as LlamaForCausalLM."""
    heads: int | None = None
    kv_heads: int | None = None
    ties_embeddings: bool = False
    """Whether the output layer is the embedding itself."""

    def shape(self, module: str) -> Shape | None:
        """The number of outputs and inputs of `module`: that of its weight, else what `config.json` implies."""
        weight = self._weight(module)
        if weight is not None and len(weight[1].shape) == 2:
            return weight[1].shape[0], weight[1].shape[1]
        return self.shapes.get(module.rpartition(".")[2])

    def weight(self, module: str) -> Matrix | None:
        """The weight of `module`, outputs × inputs; None where the folder has no weights. Raises FileError."""
        found = self._weight(module)
        return None if found is None else read_tensor(*found)

    def bias(self, module: str) -> Matrix | None:
        """The bias of `module`; None where it has none."""
        found = self.tensors.get(f"{module}.bias") or self.tensors.get(f"{module.removeprefix('model.')}.bias")
        return None if found is None else read_tensor(*found)

    def _weight(self, module: str) -> tuple[Path, Tensor] | None:
        return self.tensors.get(f"{module}.weight") or self.tensors.get(f"{module.removeprefix('model.')}.weight")


def read_base(folder: Path) -> Base:
    """The base model in `folder`, or in a GGUF file. Raises FileError naming file and key."""
    if folder.is_file():
        return _read_gguf(folder)
    file = folder / "config.json"
    document = read_json_object(file)
    inner = document.get("text_config")
    sizes = {**document, **inner} if isinstance(inner, dict) else document
    tensors = {
        name: (part, tensor)
        for part in sorted(folder.glob("*.safetensors"))
        for name, tensor in read_header(part).items()
    }
    heads = _size(file, sizes, "num_attention_heads")
    architectures = document.get("architectures")
    return Base(
        folder,
        _shapes(file, sizes),
        _size(file, sizes, "num_hidden_layers"),
        tensors,
        architecture=str(architectures[0]) if isinstance(architectures, list) and architectures else None,
        heads=heads,
        kv_heads=_size(file, sizes, "num_key_value_heads") or heads,
        ties_embeddings=document.get("tie_word_embeddings", "GemmaFor" in str(architectures)) is True,
    )


def _read_gguf(file: Path) -> Base:
    """What a GGUF file says of its model; without its weights. Raises FileError, MissingExtraError."""
    try:
        import gguf
    except ImportError:
        raise MissingExtraError("gguf", "adapters", "reading GGUF") from None
    try:
        reader = gguf.GGUFReader(file)
        names = {tensor.name for tensor in reader.tensors}
        stated = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("tokenizer.")}
    except (ValueError, OSError, IndexError, KeyError) as error:
        raise FileError(str(file), None, f"is no GGUF file: {error}") from None
    architecture = stated.get("general.architecture")
    sizes = {key: stated.get(f"{architecture}.{name}") for key, name in _GGUF_KEYS.items()}
    # Lists have a value for each layer.
    sizes = {key: value for key, value in sizes.items() if type(value) is int}
    heads = _size(file, sizes, "num_attention_heads")
    return Base(
        file,
        _shapes(file, sizes),
        _size(file, sizes, "num_hidden_layers"),
        {},
        architecture=architecture if isinstance(architecture, str) else None,
        heads=heads,
        kv_heads=_size(file, sizes, "num_key_value_heads") or heads,
        ties_embeddings="output.weight" not in names,
    )


def _shapes(file: Path, sizes: Mapping[str, Any]) -> dict[str, Shape]:
    """What the usual keys of a decoder imply; modules whose sizes are not stated are left out."""
    hidden, inner, vocabulary, heads, kv_heads, head = (
        _size(file, sizes, key)
        for key in (
            "hidden_size",
            "intermediate_size",
            "vocab_size",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
        )
    )
    if hidden is None:
        return {}
    shapes: dict[str, Shape] = {}
    if heads is not None:
        head = head or hidden // heads
        queries, keys = heads * head, (kv_heads or heads) * head
        shapes |= {"q_proj": (queries, hidden), "k_proj": (keys, hidden), "v_proj": (keys, hidden)}
        shapes |= {"o_proj": (hidden, queries), "qkv_proj": (queries + 2 * keys, hidden)}
    if inner is not None:
        shapes |= {"gate_proj": (inner, hidden), "up_proj": (inner, hidden), "down_proj": (hidden, inner)}
        shapes |= {"gate_up_proj": (2 * inner, hidden)}
    if vocabulary is not None:
        shapes |= {"lm_head": (vocabulary, hidden), "embed_tokens": (vocabulary, hidden)}
    return shapes


def _size(file: Path, sizes: Mapping[str, Any], key: str) -> int | None:
    value = sizes.get(key)
    if value is not None and (type(value) is not int or value < 1):
        raise FileError(str(file), None, f"{key}: must be a whole number above 0, not {value!r}")
    return msgspec.convert(value, int | None)
