"""Adapter folders of every kind, made with numpy as peft would write them, and their ΔW computed the long way.

`python -m tests.adapters.folders DIR` writes one folder a kind.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

HIDDEN, INNER, LAYERS, VOCABULARY = 24, 40, 3, 50
BASE_NAME = "example/Tiny-Llama"
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.v_proj": (HIDDEN // 2, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}
BASE_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": LAYERS,
    "vocab_size": VOCABULARY,
}
Tensors = dict[str, np.ndarray[Any, Any]]
Deltas = dict[str, np.ndarray[Any, Any]]
Made = tuple[dict[str, Any], Tensors, Deltas]
PREFIX = "base_model.model."


def modules() -> dict[str, tuple[int, int]]:
    """Outputs and inputs of every adapted module."""
    return {f"model.layers.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in SHAPES.items()}


def config(peft_type: str, **keys: Any) -> dict[str, Any]:
    """A configuration with the keys that all types have."""
    targets = [name.rpartition(".")[2] for name in SHAPES]
    common = {"peft_type": peft_type, "base_model_name_or_path": BASE_NAME, "revision": None, "task_type": "CAUSAL_LM"}
    return {
        **common,
        "target_modules": targets,
        "bias": "none",
        "modules_to_save": None,
        "inference_mode": True,
        **keys,
    }


def lora(random: np.random.Generator, rank: int = 4, alpha: float = 8, **keys: Any) -> Made:
    """Plain LoRA; with `use_rslora`, `rank_pattern` … as peft scales them."""
    tensors: Tensors = {}
    deltas: Deltas = {}
    for module, (outputs, inputs) in modules().items():
        leaf = module.rpartition(".")[2]
        r = keys.get("rank_pattern", {}).get(leaf, rank)
        a = keys.get("alpha_pattern", {}).get(leaf, alpha)
        down, up = random.standard_normal((r, inputs)), random.standard_normal((outputs, r)) * 0.1
        tensors[f"{PREFIX}{module}.lora_A.weight"], tensors[f"{PREFIX}{module}.lora_B.weight"] = down, up
        deltas[module] = a / (r**0.5 if keys.get("use_rslora") else r) * up @ down
    return config("LORA", r=rank, lora_alpha=alpha, **keys), tensors, deltas


def lora_xs(random: np.random.Generator) -> Made:
    """LoRA-XS, and LoRA-SB: a trained r × r between frozen A and B."""
    settings, tensors, _ = lora(random)
    deltas = {}
    for module in modules():
        core = random.standard_normal((4, 4))
        tensors[f"{PREFIX}{module}.default_lora_latent_mapping.weight"] = core
        up, down = tensors[f"{PREFIX}{module}.lora_B.weight"], tensors[f"{PREFIX}{module}.lora_A.weight"]
        deltas[module] = 2 * up @ core @ down
    return settings, tensors, deltas


def adalora(random: np.random.Generator) -> Made:
    settings, tensors, _ = lora(random)
    deltas = {}
    for module in modules():
        values = random.standard_normal((4, 1))
        tensors[f"{PREFIX}{module}.lora_E"] = values
        for part in ("lora_A", "lora_B"):
            tensors[f"{PREFIX}{module}.{part}"] = tensors.pop(f"{PREFIX}{module}.{part}.weight")
        up, down = tensors[f"{PREFIX}{module}.lora_B"], tensors[f"{PREFIX}{module}.lora_A"]
        deltas[module] = up @ (down * values) * 8 / (4 + 1e-5)
    return {**settings, "peft_type": "ADALORA", "init_r": 4, "target_r": 2}, tensors, deltas


def hydra(random: np.random.Generator, *, gate: bool = False) -> Made:
    """One A, three B."""
    settings, tensors, _ = lora(random)
    deltas = {}
    for module, (outputs, inputs) in modules().items():
        del tensors[f"{PREFIX}{module}.lora_B.weight"]
        ups = [random.standard_normal((outputs, 4)) for _ in range(3)]
        for n, up in enumerate(ups):
            tensors[f"{PREFIX}{module}.lora_B{n}.weight"] = up
        if gate:
            tensors[f"{PREFIX}{module}.lora_route.weight"] = random.standard_normal((3, inputs))
        deltas[module] = sum(2 * up @ tensors[f"{PREFIX}{module}.lora_A.weight"] for up in ups)
    return {**settings, "lora_nums": 3}, tensors, deltas


def hydra_branches(random: np.random.Generator, weights: Mapping[str, np.ndarray[Any, Any]]) -> Made:
    """A branch beside each layer and one behind it; ΔW is measured by such a layer's forward on the unit inputs."""
    tensors: Tensors = {}
    deltas: Deltas = {}
    for module, (outputs, inputs) in modules().items():
        shapes = {"par.hydra_A": (4, inputs), "par.hydra_B": (outputs, 4), "seq.hydra_A": (4, outputs)}
        parts = {name: random.standard_normal(shape) for name, shape in {**shapes, "seq.hydra_B": (outputs, 4)}.items()}
        tensors |= {f"{PREFIX}{module}.hydra_{name}.weight": values for name, values in parts.items()}
        written = weights[module] @ np.eye(inputs)
        beside = parts["par.hydra_B"] @ (parts["par.hydra_A"] @ np.eye(inputs))
        behind = parts["seq.hydra_B"] @ (parts["seq.hydra_A"] @ written)
        deltas[module] = 2 * (beside + behind)
    return config("HYDRA", r=4, lora_alpha=8), tensors, deltas


def loldu(random: np.random.Generator, weights: Mapping[str, np.ndarray[Any, Any]]) -> Made:
    """P, the first columns of L and rows of U of the base's weight, and a trained diagonal."""
    tensors: Tensors = {}
    deltas: Deltas = {}
    for module in modules():
        weight = weights[module]
        permutation, lower, diagonal, upper = ldu(weight)
        r, trained, factor = 4, random.standard_normal(4), 1.7
        tensors |= {
            f"{PREFIX}{module}.lora_A": upper[:r],
            f"{PREFIX}{module}.lora_B": lower[:, :r],
            f"{PREFIX}{module}.P": permutation,
            f"{PREFIX}{module}.vector_z": trained,
            f"{PREFIX}{module}.scaling_factor": np.array(factor),
        }
        part = permutation @ lower[:, :r]
        residual = weight - 2 * part @ np.diag(diagonal[:r]) @ upper[:r]
        deltas[module] = residual + factor * part @ np.diag(trained) @ upper[:r] - weight
    return config("LOLDU", r=4, lora_alpha=8), tensors, deltas


def ldu(weight: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
    """P, L, the diagonal and U of `weight` = P·L·diag(d)·U, with partial pivoting."""
    from scipy.linalg import lu

    permutation, lower, upper = lu(weight)
    diagonal = np.diagonal(upper).copy()
    return permutation, lower, diagonal, upper / diagonal[:, None]


def dora(random: np.random.Generator, weights: Mapping[str, np.ndarray[Any, Any]] | None = None) -> Made:
    """DoRA; with `weights`, its magnitudes are those of W + ΔW, so that it changes no more than LoRA."""
    settings, tensors, deltas = lora(random)
    for module, (outputs, _) in modules().items():
        exact = None if weights is None else np.linalg.norm(weights[module] + deltas[module], axis=1)
        magnitude = random.uniform(0.5, 2, outputs) if exact is None else exact
        tensors[f"{PREFIX}{module}.lora_magnitude_vector.weight"] = magnitude
    return {**settings, "use_dora": True}, tensors, deltas if weights else {}


def vera(random: np.random.Generator) -> Made:
    tensors: Tensors = {
        "base_model.vera_A": random.standard_normal((8, HIDDEN)),
        "base_model.vera_B": random.standard_normal((HIDDEN, 8)),
    }
    deltas: Deltas = {}
    for module, (outputs, inputs) in modules().items():
        if "down_proj" in module:
            continue
        d, b = random.standard_normal(8), random.standard_normal(outputs)
        tensors[f"{PREFIX}{module}.vera_lambda_d"], tensors[f"{PREFIX}{module}.vera_lambda_b"] = d, b
        shared_down, shared_up = tensors["base_model.vera_A"], tensors["base_model.vera_B"]
        deltas[module] = np.diag(b) @ shared_up[:outputs] @ np.diag(d) @ shared_down[:, :inputs]
    return config("VERA", r=8, target_modules=["q_proj", "v_proj"], save_projection=True), tensors, deltas


def loha(random: np.random.Generator) -> Made:
    tensors: Tensors = {}
    deltas: Deltas = {}
    for module, (outputs, inputs) in modules().items():
        b1, b2 = random.standard_normal((outputs, 2)), random.standard_normal((outputs, 2))
        a1, a2 = random.standard_normal((2, inputs)), random.standard_normal((2, inputs))
        parts = {"hada_w1_a": b1, "hada_w1_b": a1, "hada_w2_a": b2, "hada_w2_b": a2}
        tensors |= {f"{PREFIX}{module}.{part}": values for part, values in parts.items()}
        deltas[module] = (b1 @ a1) * (b2 @ a2) * 4 / 2
    return config("LOHA", r=2, alpha=4), tensors, deltas


def lokr(random: np.random.Generator) -> Made:
    tensors: Tensors = {}
    deltas: Deltas = {}
    for module, (outputs, inputs) in modules().items():
        w1 = random.standard_normal((4, 4))
        w2a, w2b = random.standard_normal((outputs // 4, 2)), random.standard_normal((2, inputs // 4))
        parts = {"lokr_w1": w1, "lokr_w2_a": w2a, "lokr_w2_b": w2b}
        tensors |= {f"{PREFIX}{module}.{part}": values for part, values in parts.items()}
        deltas[module] = np.kron(w1, w2a @ w2b) * 4 / 2
    return config("LOKR", r=2, alpha=4), tensors, deltas


def _others(random: np.random.Generator) -> dict[str, Made]:
    """Types that are no product of small matrices."""
    inputs = {module: shape[1] for module, shape in modules().items()}
    ia3 = {f"{PREFIX}{module}.ia3_l": random.standard_normal((1, size)) for module, size in inputs.items()}
    oft = {f"{PREFIX}{module}.oft_R.weight": random.standard_normal((size // 4, 6)) for module, size in inputs.items()}
    boft = {f"{PREFIX}{module}.boft_R": random.standard_normal((1, size // 4, 4, 4)) for module, size in inputs.items()}
    prompt = {"prompt_embeddings": random.standard_normal((10, HIDDEN))}
    fourier = {f"{PREFIX}{module}.fourierft_spectrum": random.standard_normal(12) for module in inputs}
    return {
        "ia3": (config("IA3", feedforward_modules=["down_proj"]), ia3, {}),
        "oft": (config("OFT", oft_block_size=4), oft, {}),
        "boft": (config("BOFT", boft_block_size=4), boft, {}),
        "prompt-tuning": (config("PROMPT_TUNING", num_virtual_tokens=10, target_modules=None), prompt, {}),
        "fourierft": (config("FOURIERFT", n_frequency=12), fourier, {}),
        "xlora": (config("XLORA", adapters={"0": "somewhere"}, target_modules=None), {}, {}),
    }


def all_kinds(seed: int = 0) -> dict[str, Made]:
    """One adapter of every kind by name: configuration, tensors, and ΔW by module where it is known."""
    random = np.random.default_rng(seed)
    weights = base_weights()
    return {
        "lora": lora(random),
        "rslora": lora(random, use_rslora=True),
        "patterns": lora(random, rank_pattern={"v_proj": 2}, alpha_pattern={"down_proj": 32}),
        "lora-xs": lora_xs(random),
        "adalora": adalora(random),
        "hydra": hydra(random),
        "loldu": loldu(random, weights),
        "hydra-branches": hydra_branches(np.random.default_rng(seed + 1), weights),
        "dora": dora(random),
        "vera": vera(random),
        "loha": loha(random),
        "lokr": lokr(random),
        **_others(random),
    }


def base_weights(seed: int = 9) -> dict[str, np.ndarray[Any, Any]]:
    """The weights of a base model by module."""
    random = np.random.default_rng(seed)
    return {module: random.standard_normal(shape) for module, shape in modules().items()}


def write_adapter(folder: Path, made: Made, dtype: str = "F32") -> Path:
    """Write an adapter's folder."""
    settings, tensors, _ = made
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    if tensors:
        write_safetensors(folder / "adapter_model.safetensors", tensors, dtype)
    return folder


def write_base(
    folder: Path,
    weights: Mapping[str, np.ndarray[Any, Any]] | None = None,
    dtype: str = "F64",
    biases: Mapping[str, np.ndarray[Any, Any]] | None = None,
) -> Path:
    """Write a base model's folder: its configuration, and `weights` and `biases` by module."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(BASE_CONFIG), encoding="utf-8")
    if weights is not None:
        named = {f"{module}.weight": values for module, values in weights.items()}
        named |= {f"{module}.bias": values for module, values in (biases or {}).items()}
        write_safetensors(folder / "model.safetensors", named, dtype)
    return folder


_AS_BYTES: dict[str, Callable[[np.ndarray[Any, Any]], bytes]] = {
    "F64": lambda values: values.astype("<f8").tobytes(),
    "F32": lambda values: values.astype("<f4").tobytes(),
    "F16": lambda values: values.astype("<f2").tobytes(),
    "BF16": lambda values: (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes(),
    "I8": lambda values: values.astype("i1").tobytes(),
}


def write_safetensors(file: Path, tensors: Mapping[str, np.ndarray[Any, Any]], dtype: str = "F32") -> None:
    """Write a safetensors file, without the code that is tested."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, values in tensors.items():
        raw = _AS_BYTES[dtype](np.ascontiguousarray(values))
        header[name] = {"dtype": dtype, "shape": values.shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(head)) + head + data)


if __name__ == "__main__":
    for kind, adapter in all_kinds().items():
        write_adapter(Path(sys.argv[1]) / kind, adapter)
