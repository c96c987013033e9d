"""The base model's folder: what its `config.json` says about shapes, and its weights where they lie beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from router.adapters.safetensors import Matrix, Tensor, read_header, read_tensor
from router.errors import FileError
from router.formats.json_file import read_json_object

Shape = tuple[int, int]


class Base(Struct, frozen=True):
    """A base model. `tensors` are its weights by name, each with its file; empty where the folder has only a config."""

    folder: Path
    shapes: Mapping[str, Shape]
    """Outputs and inputs by the last part of a module's name."""
    layers: int | None
    tensors: Mapping[str, tuple[Path, Tensor]]

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

    def _weight(self, module: str) -> tuple[Path, Tensor] | None:
        return self.tensors.get(f"{module}.weight") or self.tensors.get(f"{module.removeprefix('model.')}.weight")


def read_base(folder: Path) -> Base:
    """The base model in `folder`. Raises FileError naming file and key."""
    file = folder / "config.json"
    document = read_json_object(file)
    inner = document.get("text_config")
    sizes = {**document, **inner} if isinstance(inner, dict) else document
    tensors = {
        name: (part, tensor)
        for part in sorted(folder.glob("*.safetensors"))
        for name, tensor in read_header(part).items()
    }
    return Base(folder, _shapes(file, sizes), _size(file, sizes, "num_hidden_layers"), tensors)


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
