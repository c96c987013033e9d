"""What an adapter adds to each weight: ΔW as a product of two matrices, for every type where it is one.

| type | ΔW (s is the scale, ⊙ the product by entries, ⊗ that of Kronecker) |
|---|---|
| LoRA, rsLoRA | s·B·A |
| LoRA-XS, LoRA-SB | s·B·R·A, with R of rank × rank |
| AdaLoRA | s·B·diag(E)·A |
| LoLDU | P·L·diag(f·z - s·z₀)·U, with z₀ the diagonal of the base's weight and f the trained factor |
| several B on one A (HydraLoRA) | s·(Σ wᵢ·Bᵢ)·A |
| Hydra | s·(B₁·A₁ + B₂·A₂·W), with the base's weight W: one branch beside the layer, one behind it |
| VeRA | diag(b)·B·diag(d)·A, with A and B shared by all modules |
| LoHa | s·(B₁·A₁)⊙(B₂·A₂), of at most rank² |
| LoKr | s·(W₁⊗W₂) |
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from router.adapters.base import Base
from router.adapters.folder import Adapter
from router.adapters.safetensors import Matrix
from router.errors import ConfigurationError, FileError

_DORA_TOLERANCE = 1e-6
_READ_HIDDEN_STATES = frozenset({"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "query", "key", "value"})


class NotLowRankError(ConfigurationError):
    """The change of a module is no product of two small matrices, or the files do not say which."""


class Delta(Struct, frozen=True):
    """ΔW = `left` · `right`, in float64: outputs × k and k × inputs. The scale is part of `left`."""

    left: Matrix
    right: Matrix
    is_embedding: bool = False
    """Whether the changed weight is an embedding, which has ΔW transposed."""

    @property
    def rank(self) -> int:
        """The inner size k."""
        return int(self.left.shape[1])

    @property
    def norm(self) -> float:
        """The Frobenius norm of ΔW."""
        with np.errstate(all="ignore"):
            return float(np.sqrt(max(self.inner(self), 0.0)))

    def inner(self, other: Delta) -> float:
        """The sum of the products of the entries of two ΔW of one shape, without making either."""
        return float(np.sum((self.left.T @ other.left) * (self.right @ other.right.T)))

    def dense(self) -> Matrix:
        """ΔW itself."""
        return self.left @ self.right


def delta_of(
    adapter: Adapter, module: str, base: Base | None = None, expert_weights: Sequence[float] | None = None
) -> Delta:
    """ΔW of `module`. `base` is needed for LoLDU, for Hydra and to examine DoRA, `expert_weights` for routed experts.

    Raises NotLowRankError with the reason, and FileError where a tensor is missing or has the wrong shape.
    """
    parts = adapter.modules[module]
    for name in parts.values():
        if len(adapter.tensors[name].shape) > 2:
            raise NotLowRankError(f"{module}: is a convolution ({len(adapter.tensors[name].shape)} dimensions)")
    try:
        delta = _delta(adapter, module, base, expert_weights)
        if delta is not None and delta.left.ndim == delta.right.ndim == 2:
            # Raises ValueError where the inner sizes differ.
            np.matmul(delta.left[:1], delta.right)
    except ValueError as error:
        shapes = ", ".join(f"{part} {adapter.tensors[name].shape}" for part, name in sorted(parts.items()))
        raise FileError(str(adapter.weights), None, f"{module}: shapes do not fit: {shapes} ({error})") from None
    if delta is not None:
        if delta.left.ndim != 2 or delta.right.ndim != 2 or not delta.left.size or not delta.right.size:
            raise FileError(str(adapter.weights), None, f"{module}: its tensors are no matrices with values")
        return delta
    kinds = ", ".join(sorted(parts))
    raise NotLowRankError(f"{module}: {adapter.config.peft_type} ({kinds}) is no product of small matrices")


def _delta(adapter: Adapter, module: str, base: Base | None, expert_weights: Sequence[float] | None) -> Delta | None:
    parts = adapter.modules[module]
    delta = None
    if "lora_embedding_A" in parts or "lora_embedding_B" in parts:
        down, up = adapter.part(module, "lora_embedding_A"), adapter.part(module, "lora_embedding_B")
        delta = Delta(up * adapter.config.scale_of(module, len(down)), down, is_embedding=True)
    elif "vector_z" in parts:
        delta = _loldu(adapter, module, base)
    elif _experts(adapter, module):
        delta = _shared_a(adapter, module, expert_weights)
    elif any(part.startswith("hydra_") for part in parts):
        delta = _hydra(adapter, module, base)
    elif "lora_A" in parts or "lora_B" in parts:
        delta = _lora(adapter, module, base)
    elif any(part.startswith("vera_lambda") for part in parts):
        delta = _vera(adapter, module, base)
    elif any(part.startswith("hada_") for part in parts):
        delta = _loha(adapter, module)
    elif any(part.startswith("lokr_") for part in parts):
        delta = _lokr(adapter, module)
    return delta


def _experts(adapter: Adapter, module: str) -> list[str]:
    """The names of a module's several B (`lora_B0`, `lora_B1` …) in order."""
    numbered = (part for part in adapter.modules[module] if part.startswith("lora_B") and part != "lora_B")
    return sorted(numbered, key=lambda part: int(part[6:]))


def compressed(delta: Delta, rank: int | None = None) -> tuple[Delta, float]:
    """The best approximation of ΔW of at most `rank`, by singular values, and the share of Σσ² that it keeps.

    Without `rank`, the exact ΔW with the smallest inner size. Both factors have the same norm.
    """
    q_left, r_left = np.linalg.qr(delta.left)
    q_right, r_right = np.linalg.qr(delta.right.T)
    u, sigma, v = np.linalg.svd(r_left @ r_right.T)
    total = float(np.sum(sigma**2))
    kept = int(np.sum(sigma > sigma[0] * 1e-14)) if rank is None else rank
    kept = max(1, min(kept, len(sigma)))
    root = np.sqrt(sigma[:kept])
    left, right = (q_left @ u[:, : len(sigma)])[:, :kept] * root, root[:, None] * (v[: len(sigma)] @ q_right.T)[:kept]
    energy = 1.0 if total == 0 else float(np.sum(sigma[:kept] ** 2)) / total
    return Delta(left, right, delta.is_embedding), energy


def _lora(adapter: Adapter, module: str, base: Base | None) -> Delta:
    """LoRA, and what puts a matrix or a diagonal between A and B."""
    parts = adapter.modules[module]
    down, up = adapter.part(module, "lora_A"), adapter.part(module, "lora_B")
    if "lora_R" in parts:
        up = up @ adapter.part(module, "lora_R")
    if "lora_E" in parts:
        down = down * adapter.part(module, "lora_E").reshape(-1, 1)
    left = up * adapter.config.scale_of(module, len(down))
    if "lora_magnitude_vector" in parts or adapter.config.use_dora:
        _check_dora(adapter, module, left, down, base)
    return Delta(left, down)


def _check_dora(adapter: Adapter, module: str, left: Matrix, right: Matrix, base: Base | None) -> None:
    """Raise NotLowRankError unless DoRA's magnitudes are those of W + ΔW, so that DoRA is LoRA."""
    weight = None if base is None else base.weight(module)
    if weight is None:
        raise NotLowRankError(
            f"{module}: DoRA scales each row of the base's weight, a change of full rank; merge it into the base, "
            "or give the base's weights with --base to examine whether its magnitudes change anything"
        )
    magnitude = adapter.part(module, "lora_magnitude_vector").reshape(-1)
    ratio = magnitude / np.linalg.norm(weight + left @ right, axis=1)
    farthest = ratio[np.argmax(np.abs(ratio - 1))]
    if abs(farthest - 1) > _DORA_TOLERANCE:
        raise NotLowRankError(
            f"{module}: DoRA scales rows of the base's weight (one of them by {farthest:.4g}), a change of full rank; "
            "merge it into the base"
        )


def _loldu(adapter: Adapter, module: str, base: Base | None) -> Delta:
    """The trained model has W - s·P·L·diag(z₀)·U + f·P·L·diag(z)·U, with P·L·diag(d)·U the base's W."""
    parts = adapter.modules[module]
    upper, lower = adapter.part(module, "lora_A"), adapter.part(module, "lora_B")
    trained = adapter.part(module, "vector_z").reshape(-1)
    scale = adapter.config.scale_of(module, len(upper))
    factor = float(adapter.part(module, "scaling_factor").reshape(-1)[0]) if "scaling_factor" in parts else scale
    permutation = adapter.part(module, "P") if "P" in parts else None
    if "vector_z_init" in parts:
        initial = adapter.part(module, "vector_z_init").reshape(-1)
    else:
        weight = None if base is None else base.weight(module)
        if weight is None:
            raise NotLowRankError(f"{module}: LoLDU's initial diagonal is that of the base's weight; give --base DIR")
        initial = _diagonal(weight if permutation is None else permutation.T @ weight, lower, upper)
    left = lower * (factor * trained - scale * initial)
    return Delta(left if permutation is None else permutation @ left, upper)


def _diagonal(weight: Matrix, lower: Matrix, upper: Matrix) -> Matrix:
    """The first entries of D where `weight` = L·D·U, with the first columns of L and rows of U, both of diagonal 1."""
    diagonal = np.zeros(len(upper))
    for n in range(len(upper)):
        diagonal[n] = weight[n, n] - np.sum(lower[n, :n] * diagonal[:n] * upper[:n, n])
    return diagonal


def _shared_a(adapter: Adapter, module: str, weights: Sequence[float] | None) -> Delta:
    """Several B on one A. With a gate, the weights depend on the prompt, and only fixed ones can be folded."""
    parts = adapter.modules[module]
    experts = _experts(adapter, module)
    if "lora_route" in parts and weights is None:
        raise NotLowRankError(
            f"{module}: a gate (lora_route) weights its {len(experts)} B by the prompt, which no single LoRA can; "
            "state fixed weights with --expert-weights"
        )
    fixed = [1.0] * len(experts) if weights is None else weights
    if len(fixed) != len(experts):
        raise ConfigurationError(f"{module}: has {len(experts)} B, but --expert-weights states {len(fixed)}")
    down = adapter.part(module, "lora_A")
    up = sum(weight * adapter.part(module, part) for weight, part in zip(fixed, experts, strict=True))
    left = np.asarray(up) * adapter.config.scale_of(module, len(down))
    return Delta(left, down)


def _hydra(adapter: Adapter, module: str, base: Base | None) -> Delta:
    """The layer gives y = W·x + s·B₁·A₁·x + s·B₂·A₂·(W·x): a branch beside it and one behind it, of which the second is
    a change of W, too (Kim et al. 2023). Where the layer has a bias, the second adds B₂·A₂·bias, which no LoRA does.
    """
    parts = adapter.modules[module]
    ups: list[Matrix] = []
    downs: list[Matrix] = []
    if any(part.startswith("hydra_par") for part in parts):
        ups.append(adapter.part(module, "hydra_par.hydra_B"))
        downs.append(adapter.part(module, "hydra_par.hydra_A"))
    if any(part.startswith("hydra_seq") for part in parts):
        up, down = adapter.part(module, "hydra_seq.hydra_B"), adapter.part(module, "hydra_seq.hydra_A")
        weight = None if base is None else base.weight(module)
        if base is None or weight is None:
            raise NotLowRankError(
                f"{module}: Hydra's sequential branch reads what the base's layer writes, so its weight is needed; "
                "give --base DIR"
            )
        bias = base.bias(module)
        if bias is not None and np.any(up @ (down @ bias.reshape(-1))):
            raise NotLowRankError(
                f"{module}: Hydra's sequential branch reads the bias of the base's layer, too, and LoRA adds no bias; "
                "merge it into the base"
            )
        ups.append(up)
        downs.append(down @ weight)
    return Delta(np.hstack(ups) * adapter.config.scale_of(module, len(downs[0])), np.vstack(downs))


def _vera(adapter: Adapter, module: str, base: Base | None) -> Delta:
    if not {"vera_A", "vera_B"} <= set(adapter.shared):
        raise NotLowRankError(
            f"{module}: VeRA's shared matrices are not in the file (save_projection: false); torch's random numbers "
            "would be needed to make them again"
        )
    diagonal, scales = adapter.part(module, "vera_lambda_d"), adapter.part(module, "vera_lambda_b")
    down, up = adapter.values(adapter.shared["vera_A"]), adapter.values(adapter.shared["vera_B"])
    inputs = _vera_inputs(adapter, module, base, down.shape[1])
    return Delta(scales[:, None] * up[: len(scales)], diagonal[:, None] * down[:, :inputs])


def _vera_inputs(adapter: Adapter, module: str, base: Base | None, widest: int) -> int:
    """The inputs of `module`, which the file does not say: the shared A is as wide as the widest module."""
    if base is not None and (shape := base.shape(module)) is not None:
        return shape[1]
    kinds = {name.rpartition(".")[2] for name in adapter.modules}
    if len(kinds) == 1 or kinds <= _READ_HIDDEN_STATES:
        return widest
    raise NotLowRankError(
        f"{module}: VeRA's file does not say how many inputs each kind of module has; give --base DIR"
    )


def _loha(adapter: Adapter, module: str) -> Delta:
    """(B₁A₁)⊙(B₂A₂) = Σᵢⱼ (b₁ᵢ⊙b₂ⱼ)(a₁ᵢ⊙a₂ⱼ)ᵀ."""
    b1, a1, b2, a2 = (adapter.part(module, f"hada_{name}") for name in ("w1_a", "w1_b", "w2_a", "w2_b"))
    left = (b1[:, :, None] * b2[:, None, :]).reshape(len(b1), -1)
    right = (a1[:, None, :] * a2[None, :, :]).reshape(-1, a1.shape[1])
    scaled = Delta(left * adapter.config.scale_of(module, len(a1)), right)
    return compressed(scaled)[0] if scaled.rank > min(len(left), right.shape[1]) else scaled


def _lokr(adapter: Adapter, module: str) -> Delta:
    """W₁⊗(B₂·A₂) = (W₁⊗B₂)·(I⊗A₂), and likewise for W₁. The rank of the scale is the stated one, as in peft."""
    b1, a1 = _kronecker_half(adapter, module, "w1")
    b2, a2 = _kronecker_half(adapter, module, "w2")
    rank = adapter.config.rank_of(module) or len(a2)
    scale = adapter.config.scale_of(module, rank)
    delta = Delta(np.asarray(np.kron(b1, b2) * scale, np.float64), np.asarray(np.kron(a1, a2), np.float64))
    return compressed(delta)[0] if delta.rank > min(len(delta.left), delta.right.shape[1]) else delta


def _kronecker_half(adapter: Adapter, module: str, name: str) -> tuple[Matrix, Matrix]:
    """One of the two matrices as a product with the smallest inner size."""
    if f"lokr_{name}" in adapter.modules[module]:
        whole = adapter.part(module, f"lokr_{name}")
        outputs, inputs = whole.shape
        return (np.eye(outputs), whole) if outputs <= inputs else (whole, np.eye(inputs))
    return adapter.part(module, f"lokr_{name}_a"), adapter.part(module, f"lokr_{name}_b")
