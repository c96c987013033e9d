"""Which servers can serve an adapter beside its base, and why others cannot. Read from the servers' sources.

vLLM reads `r`, `lora_alpha`, `use_rslora` and `target_modules`, and refuses DoRA, biases and `modules_to_save`. SGLang
multiplies by lora_alpha / r. LoRAX reads `use_rslora` and one `r`. llama.cpp's converter writes `lora_alpha`, and its
server divides by the rank of each tensor. All but llama.cpp ignore `rank_pattern`; all ignore `alpha_pattern`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from router.adapters.config import RANKED
from router.adapters.folder import Adapter

NAMES = ("vllm", "sglang", "llama.cpp", "lorax")
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM accepts for `--max-lora-rank`."""
_VLLM_DEFAULT_RANK = 16
_CHAT_TASKS = (None, "CAUSAL_LM")
# Types that are merged into the base's weights (peft's own merge gives the same answers), but that are not folded.
_MERGEABLE = frozenset({
    "BOFT", "BONE", "C3A", "DEFT", "DELORA", "FOURIERFT", "FROD", "GLORA", "GRALORA", "HIRA", "HRA", "IA3", "LN_TUNING",
    "MISS", "OFT", "OSF", "PEANUT", "PSOFT", "PVERA", "RANDLORA", "ROAD", "SHIRA", "SUPERTUNING", "TINYLORA",
    "TRAINABLE_TOKENS", "UNILORA", "VBLORA", "WAVEFT",
})  # fmt: skip

Servable = Literal["adapter", "fold", "merged-only", "no"]


class Verdict(Struct, frozen=True):
    """`servable`: `adapter` (by a server in `reasons` without a reason), `fold` (after `route adapters fold`),
    `merged-only` (after merging it into the base), `no`. `reasons` says by server why it cannot serve the adapter as it
    is, with None where it can; `hints` what to set.
    """

    servable: Servable
    reasons: Mapping[str, str | None]
    hints: tuple[str, ...] = ()
    why: str | None = None
    is_chat: bool = True
    """Whether the adapter's base may be a model that a chat server runs."""

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers that can serve the adapter as it is."""
        return tuple(name for name in NAMES if self.reasons.get(name, "") is None)


def verdict(adapter: Adapter) -> Verdict:
    """What can serve `adapter`, from its configuration and header."""
    config = adapter.config
    if adapter.foreign is not None:
        return _nowhere("no", f"its base is {adapter.foreign}, which no chat server runs", is_chat=False)
    if config.task_type not in _CHAT_TASKS:
        return _nowhere("no", f"its task_type is {config.task_type}, not text generation")
    if config.peft_type not in RANKED:
        if config.peft_type in _MERGEABLE:
            why = f"{config.peft_type} is no product of small matrices; merge it into the base"
            return _nowhere("merged-only", why)
        return _nowhere("no", f"no chat server loads {config.peft_type}")
    common = _common(adapter)
    if common is not None:
        kind, why = common
        return _nowhere(kind, why)
    reasons = {name: _for_server(adapter, name) for name in NAMES}
    servable: Servable = "adapter" if None in reasons.values() else "fold"
    return Verdict(servable, reasons, _hints(adapter, reasons))


def _nowhere(servable: Servable, why: str, *, is_chat: bool = True) -> Verdict:
    return Verdict(servable, dict.fromkeys(NAMES, why), why=why, is_chat=is_chat)


def _common(adapter: Adapter) -> tuple[Servable, str] | None:
    """Why no server can serve it as it is, and what would help; None where at least one may."""
    config = adapter.config
    parts = {part for of_module in adapter.modules.values() for part in of_module}
    if why := _more_than_matrices(adapter, parts):
        return "merged-only", f"{why}; merge it into the base"
    if adapter.packed:
        return "fold", "it is quantised for storage; `route adapters fold` restores it"
    if "lora_route" in parts:
        return "fold", "a gate weights its parts by the prompt; fold it with fixed weights (--expert-weights)"
    extra = parts - {"lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B"}
    if config.peft_type != "LORA" or extra:
        kinds = config.peft_type if config.peft_type != "LORA" else ", ".join(sorted(extra))
        return "fold", f"servers load plain LoRA only, not {kinds}; `route adapters fold` makes it plain"
    return None


def _more_than_matrices(adapter: Adapter, parts: set[str]) -> str | None:
    """What the adapter changes beside products of its matrices, in words; None where that is nothing."""
    config = adapter.config
    why = config.changes_more
    if config.modules_to_save or adapter.others:
        names = ", ".join(config.modules_to_save or adapter.others[:3])
        why = f"it replaces whole weights (modules_to_save: {names})"
    elif config.bias != "none":
        why = f"it trains biases (bias: {config.bias})"
    elif config.use_dora or "lora_magnitude_vector" in parts:
        why = "DoRA scales the base's own weights"
    elif config.peft_type == "VERA" and not {"vera_A", "vera_B"} <= set(adapter.shared):
        why = "its shared matrices are not in the file (save_projection: false)"
    return why


def _for_server(adapter: Adapter, server: str) -> str | None:
    config, ranks = adapter.config, _ranks(adapter)
    problem = None
    if config.alpha_pattern:
        problem = "ignores alpha_pattern, and would scale modules wrongly"
    elif ranks - {config.rank} and server != "llama.cpp":
        problem = "ignores rank_pattern, and would scale modules wrongly"
    elif config.use_rslora and server in ("sglang", "llama.cpp"):
        problem = "ignores use_rslora, and would scale by alpha / r"
    elif server == "llama.cpp" and "F64" in adapter.dtypes:
        problem = "crashes on F64 tensors"
    elif server == "vllm" and max(ranks, default=0) > VLLM_RANKS[-1]:
        problem = f"takes ranks up to {VLLM_RANKS[-1]}"
    return None if problem is None else f"{problem}; `route adapters fold` mends it"


def _ranks(adapter: Adapter) -> set[int]:
    """The stated ranks of the modules, each once."""
    return {rank for module in adapter.modules if (rank := adapter.config.rank_of(module)) is not None}


def _hints(adapter: Adapter, reasons: Mapping[str, str | None]) -> tuple[str, ...]:
    hints = []
    rank = max(_ranks(adapter), default=0)
    if reasons["vllm"] is None and rank > _VLLM_DEFAULT_RANK:
        hints.append(f"vllm: start it with --max-lora-rank {next(size for size in VLLM_RANKS if size >= rank)}")
    if reasons["llama.cpp"] is None:
        hints.append("llama.cpp: convert it first: `route adapters convert FOLDER OUT.gguf --to gguf`")
    return tuple(hints)
