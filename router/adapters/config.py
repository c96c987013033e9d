"""`adapter_config.json`: the type of an adapter, its ranks and scales, and what it was trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import regex
from msgspec import Struct

from router.errors import FileError, did_you_mean
from router.formats.json_file import read_json_object

FILE_NAME = "adapter_config.json"
_MATCH_TIMEOUT_S = 1.0
# The types whose delta is a product of a small number of matrices, and the keys that state rank and alpha.
RANKED = {
    "LORA": ("r", "lora_alpha"),
    "LORA_XS": ("r", "lora_alpha"),
    "LORA_SB": ("r", "lora_alpha"),
    "LOLDU": ("r", "lora_alpha"),
    "HYDRALORA": ("r", "lora_alpha"),
    "ADALORA": ("init_r", "lora_alpha"),
    "LOHA": ("r", "alpha"),
    "LOKR": ("r", "alpha"),
    "VERA": ("r", None),
}
ADAPTER_HUB = "ADAPTERS"
"""The type of what the library `adapters` (AdapterHub) writes: bottlenecks and others, without a `peft_type`."""
# Initialisations that take a part out of the base's weights.
_CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_VARIANTS = ("use_bdlora", "use_qalora", "arrow_config", "kasa_config", "monteclora_config")
_KNOWN_KEYS = (
    "peft_type", "base_model_name_or_path", "revision", "task_type", "r", "lora_alpha", "alpha", "target_modules",
    "modules_to_save", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "bias", "fan_in_fan_out",
    "lora_dropout", "layers_to_transform", "layers_pattern", "exclude_modules", "init_lora_weights", "inference_mode",
    "lora_bias", "target_parameters", "layer_replication",
)  # fmt: skip


class AdapterConfig(Struct, frozen=True):
    """What `file` states. `rank` and `alpha` are None where the type has none or the file is silent."""

    file: Path
    peft_type: str
    raw: Mapping[str, Any]
    rank: int | None
    alpha: float | None
    base_model: str | None
    revision: str | None
    task_type: str | None
    target_modules: tuple[str, ...] | str
    """Names of modules, or one regular expression; empty where the file is silent."""
    modules_to_save: tuple[str, ...]
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    use_rslora: bool
    use_dora: bool
    bias: str

    @property
    def base_class(self) -> str | None:
        """The class of the base model, which peft states where it knows no `task_type`."""
        mapping = self.raw.get("auto_mapping")
        found = mapping.get("base_model_class") if isinstance(mapping, dict) else None
        return found if isinstance(found, str) and found else None

    @property
    def changes_more(self) -> str | None:
        """Why the adapter is more than its matrices say, in words; None where it is not."""
        start = self.raw.get("init_lora_weights")
        if isinstance(start, str) and start.startswith(_CHANGE_THE_BASE):
            return (
                f"init_lora_weights: {start} changes the base's weights, too (save it with peft's "
                "path_initial_model_for_weight_conversion, which makes plain LoRA of it)"
            )
        if self.raw.get("target_parameters"):
            return "target_parameters: it changes stacked weights of experts"
        if variant := next((key for key in _VARIANTS if self.raw.get(key)), None):
            return f"{variant}: it computes more than B·A"
        return None

    def rank_of(self, module: str) -> int | None:
        """The stated rank of `module`: that of the first key of `rank_pattern` that matches it, else `rank`."""
        pattern = _first_match(self.rank_pattern, module, self.file, "rank_pattern")
        return self.rank if pattern is None else self.rank_pattern[pattern]

    def alpha_of(self, module: str) -> float | None:
        """Like `rank_of`, for alpha."""
        pattern = _first_match(self.alpha_pattern, module, self.file, "alpha_pattern")
        return self.alpha if pattern is None else self.alpha_pattern[pattern]

    def scale_of(self, module: str, rank: int) -> float:
        """The factor of the product of `module`'s matrices, whose inner size is `rank`.

        alpha / r, with rsLoRA alpha / √r, as peft computes it. VeRA has none. AdaLoRA's is alpha / (r + 1e-5).
        Raises FileError where the file states no alpha.
        """
        if self.peft_type == "VERA":
            return 1.0
        alpha, stated = self.alpha_of(module), self.rank_of(module)
        if alpha is None:
            key = (RANKED.get(self.peft_type) or ("", None))[1]
            raise FileError(str(self.file), None, f'the key "{key or "lora_alpha"}" is missing')
        if self.peft_type == "ADALORA":
            return (alpha if alpha > 0 else float(stated or rank)) / (rank + 1e-5)
        divisor = stated or rank
        return alpha / (math.sqrt(divisor) if self.use_rslora else divisor)

    def targets(self, module: str) -> bool:
        """Whether `target_modules` selects `module`, as peft does. True where the file states no targets."""
        if isinstance(self.target_modules, str):
            if self.target_modules in ("", "all-linear"):
                return True
            return _matches(self.target_modules, module, self.file, "target_modules")
        return not self.target_modules or any(
            module == target or module.endswith(f".{target}") for target in self.target_modules
        )


def read_config(folder: Path) -> AdapterConfig:
    """The configuration in `folder`. Raises FileError naming the file and the key."""
    file = folder / FILE_NAME
    return _Keys(file, read_json_object(file)).config()


class _Keys:
    """Reads checked values from a configuration."""

    def __init__(self, file: Path, raw: Mapping[str, Any]) -> None:
        self.file, self.raw = file, raw

    def config(self) -> AdapterConfig:
        peft_type = self._text("peft_type")
        if peft_type is None and isinstance(self.raw.get("config"), dict) and "model_name" in self.raw:
            peft_type = ADAPTER_HUB
        if peft_type is None:
            hint = did_you_mean("peft_type", self.raw)
            raise FileError(str(self.file), None, f'the key "peft_type" is missing{hint}')
        peft_type = _canonical(peft_type)
        rank_key, alpha_key = RANKED.get(peft_type, ("r", "lora_alpha"))
        # The other types may have an `r` that is no rank: OFT's is 0 where the size of its blocks is stated.
        rank = self._positive(rank_key) if peft_type in RANKED else None
        if rank is None and rank_key != "r":
            rank = self._positive("r")
        return AdapterConfig(
            file=self.file,
            peft_type=peft_type,
            raw=self.raw,
            rank=rank,
            alpha=self._number(alpha_key) if alpha_key else None,
            base_model=self._text("model_name" if peft_type == ADAPTER_HUB else "base_model_name_or_path"),
            revision=self._text("revision"),
            task_type=self._text("task_type"),
            target_modules=self._names("target_modules", or_pattern=True),
            modules_to_save=tuple(self._names("modules_to_save")),
            rank_pattern={} if peft_type == "ADALORA" else self._pattern("rank_pattern", whole=True),
            alpha_pattern=self._pattern("alpha_pattern"),
            use_rslora=self._flag("use_rslora"),
            use_dora=self._flag("use_dora"),
            bias=self._text("bias") or "none",
        )

    def _text(self, key: str) -> str | None:
        value = self.raw.get(key)
        if value is not None and not isinstance(value, str):
            raise self._error(key, f"must be a text, not {value!r}")
        return value or None

    def _flag(self, key: str) -> bool:
        value = self.raw.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._error(key, f"must be true or false, not {value!r}")
        return bool(value)

    def _number(self, key: str) -> float | None:
        value = self.raw.get(key)
        if value is not None and not _is_number(value):
            raise self._error(key, f"must be a number, not {value!r}")
        return None if value is None else float(value)

    def _positive(self, key: str) -> int | None:
        value = self.raw.get(key)
        if value is not None and (type(value) is not int or value < 1):
            raise self._error(key, f"must be a whole number above 0, not {value!r}")
        return value

    def _names(self, key: str, *, or_pattern: bool = False) -> tuple[str, ...] | str:
        value = self.raw.get(key)
        if value is None:
            return ()
        if or_pattern and isinstance(value, str):
            return value
        if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
            kinds = "a list of names, or one regular expression" if or_pattern else "a list of names"
            raise self._error(key, f"must be {kinds}, not {value!r}")
        return tuple(sorted(value))

    def _pattern(self, key: str, *, whole: bool = False) -> dict[str, Any]:
        value = self.raw.get(key) or {}
        if not isinstance(value, dict):
            raise self._error(key, f"must be an object of patterns and numbers, not {value!r}")
        for pattern, number in value.items():
            if (type(number) is not int or number < 1) if whole else not _is_number(number):
                raise self._error(f"{key}.{pattern}", f"must be a {'whole ' if whole else ''}number, not {number!r}")
        return value

    def _error(self, key: str, problem: str) -> FileError:
        return FileError(str(self.file), None, f"{key}: {problem}")


def misspelled_keys(config: AdapterConfig) -> list[tuple[str, str]]:
    """Keys that nothing reads but that resemble one that is read, with a hint such as `; did you mean "r"?`.

    Other unknown keys are normal: every version of peft adds some.
    """
    missing = [key for key in _KNOWN_KEYS if key not in config.raw]
    unknown = [key for key in config.raw if key not in _KNOWN_KEYS]
    return [(key, hint) for key in unknown if (hint := _near(key, missing))]


def _near(key: str, known: Iterable[str]) -> str:
    # Short keys resemble each other; a longer one with the same letters in another order is a slip.
    close = [name for name in known if sorted(name) == sorted(key) or name.replace("_", "") == key.replace("-", "")]
    return f'; did you mean "{close[0]}"?' if close else ""


def _canonical(peft_type: str) -> str:
    name = peft_type.upper().replace("-", "_")
    return {"LORAXS": "LORA_XS", "LORASB": "LORA_SB", "HYDRA_LORA": "HYDRALORA", "HYDRA": "HYDRALORA"}.get(name, name)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _first_match(patterns: Iterable[str], module: str, file: Path, key: str) -> str | None:
    """The first of `patterns` that matches the end of `module`, from the beginning of a name."""
    return next((pattern for pattern in patterns if _matches(rf"(.*\.)?({pattern})", module, file, key)), None)


def _matches(pattern: str, module: str, file: Path, key: str) -> bool:
    """Whether the regular expression `pattern` of the key `key` matches all of `module`. Raises FileError."""
    try:
        return regex.fullmatch(pattern, module, timeout=_MATCH_TIMEOUT_S) is not None
    except (regex.error, TimeoutError) as error:
        why = "takes too long" if isinstance(error, TimeoutError) else str(error)
        raise FileError(str(file), None, f"{key}: the regular expression {pattern!r}: {why}") from None
