"""Adapters of models that no chat server runs, as their libraries write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.adapters import folders

_PAIR = {"lora_A.weight": np.ones((2, 4)), "lora_B.weight": np.ones((4, 2))}


def _peft(folder: Path, base_class: str | None, base: str, modules: tuple[str, ...], **keys: Any) -> None:
    """What peft writes for a model whose task it does not know."""
    mapping = base_class and {"base_model_class": base_class, "parent_library": "transformers.models"}
    settings = {**folders.config("LORA", r=2, lora_alpha=2), "task_type": None, "base_model_name_or_path": base}
    tensors = {f"{folders.PREFIX}{module}.{part}": values for module in modules for part, values in _PAIR.items()}
    folders.write_adapter(folder, ({**settings, "auto_mapping": mapping, **keys}, tensors, {}))


def _diffusers(folder: Path, name: str, base: str | None) -> None:
    folder.mkdir(parents=True)
    folders.write_safetensors(
        folder / "pytorch_lora_weights.safetensors",
        {f"{name}.lora.down.weight": np.ones((2, 4)), f"{name}.lora.up.weight": np.ones((4, 2))},
    )
    if base is not None:
        (folder / "README.md").write_text(f"---\ntags:\n- lora\nbase_model: {base}\n---\n# A LoRA\n", encoding="utf-8")


def _adapter_hub(folder: Path, base: str, model_type: str, model_class: str) -> None:
    """What AdapterHub's library writes: a bottleneck after each layer, by default as a pickle."""
    folder.mkdir(parents=True)
    settings = {
        "config": {"architecture": None, "reduction_factor": 16, "non_linearity": "relu"},
        "hidden_size": 768,
        "model_class": model_class,
        "model_name": base,
        "model_type": model_type,
        "name": folder.name,
        "version": "adapters.1.2.0",
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "pytorch_adapter.bin").write_bytes(b"a pickle")


_VIT = ("vit.encoder.layer.0.attention.attention.query",)
FAMILIES: dict[str, Callable[[Path], None]] = {
    "split-merge-vision": lambda folder: _peft(folder, "ViTForImageClassification", "google/vit-base", _VIT),
    "split-merge-unnamed": lambda folder: _peft(folder, None, "google/vit-base", _VIT),
    "audio-spectrogram": lambda folder: _peft(
        folder,
        "ASTForAudioClassification",
        "MIT/ast-finetuned-audioset",
        ("audio_spectrogram_transformer.encoder.layer.0.attention.attention.query",),
    ),
    "audio-bottleneck": lambda folder: _adapter_hub(folder, "MIT/ast", "audio-spectrogram-transformer", "ASTModel"),
    "speech": lambda folder: _peft(
        folder, "WhisperForConditionalGeneration", "openai/whisper-tiny", ("model.decoder.layers.0.self_attn.q_proj",)
    ),
    "resolution": lambda folder: _diffusers(folder, "unet.down_blocks.0.attentions.0.to_q", "example/diffusion"),
    "any-to-point": lambda folder: _peft(folder, "PointTransformer", "example/points", ("blocks.0.attn.qkv",)),
    "multi-view": lambda folder: _diffusers(folder, "unet.mid_block.attentions.0.to_q_mv", "example/diffusion"),
    "multi-view-peft": lambda folder: _peft(
        folder, "UNet2DConditionModel", "example/diffusion", ("down_blocks.0.attentions.0.to_q",)
    ),
    "video": lambda folder: _diffusers(folder, "transformer.transformer_blocks.0.attn1.to_k", "example/video"),
    "classifier": lambda folder: _peft(
        folder, None, "example/Tiny-Llama", ("model.layers.0.self_attn.q_proj",), task_type="SEQ_CLS"
    ),
}
"""By name: writes one adapter to a folder."""
