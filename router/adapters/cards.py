"""Model cards from adapter folders. What a folder does not say is left out of its card."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from router.adapters.back_ends import NAMES, Verdict, verdict
from router.adapters.folder import Adapter, file_hash, tokenizer_hash
from router.cards.catalog import load_card
from router.cards.schema import Card
from router.errors import ConfigurationError
from router.formats.yaml.file import convert
from router.formats.yaml.writing import yaml_text

_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9._+-]+")
_LONGEST_ID = 128
_LONGEST_WORD = 200
_PROVIDER = "hosted_vllm"


class Imported(Struct, frozen=True):
    """What a folder says about its adapter. Unknown facts are None."""

    id: str
    folder: str
    peft_type: str
    base_model: str | None
    revision: str | None
    task_type: str | None
    rank: int | None
    ranks: tuple[int, ...]
    """The ranks of modules, where they are not all `rank`."""
    alpha: float | None
    use_rslora: bool
    use_dora: bool
    targets: tuple[str, ...]
    modules_to_save: tuple[str, ...]
    dtype: str | None
    parameters: int
    bytes: int | None
    sha256: str | None
    tokenizer_sha256: str | None
    verdict: Verdict


def describe(adapter: Adapter, card_id: str) -> Imported:
    """The facts of `adapter` for a card named `card_id`."""
    config = adapter.config
    ranks = tuple(sorted({rank for module in adapter.modules if (rank := _rank(adapter, module)) is not None}))
    has_weights = adapter.weights.is_file()
    return Imported(
        id=card_id,
        folder=str(adapter.folder.resolve()),
        peft_type=config.peft_type,
        base_model=config.base_model,
        revision=config.revision,
        task_type=config.task_type,
        rank=max(ranks) if ranks else config.rank,
        ranks=ranks if len(ranks) > 1 else (),
        alpha=config.alpha,
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        targets=tuple(sorted({module.rpartition(".")[2] for module in adapter.modules})),
        modules_to_save=config.modules_to_save,
        dtype=", ".join(adapter.dtypes) or None,
        parameters=adapter.parameters,
        bytes=adapter.weights.stat().st_size if has_weights else None,
        sha256=file_hash(adapter.weights) if has_weights else None,
        tokenizer_sha256=tokenizer_hash(adapter.folder),
        verdict=verdict(adapter),
    )


def card_ids(folders: Sequence[Path], root: Path) -> dict[Path, str]:
    """A card id for each folder: its name, with the folders between `root` and it where names repeat."""
    names: dict[Path, str] = {}
    short = [_clean(folder.resolve().name) for folder in folders]
    for folder, name in zip(folders, short, strict=True):
        inside = folder.relative_to(root).parts
        long = _clean("-".join(inside)) if inside else name
        names[folder] = name if short.count(name) == 1 else long
    for folder, name in names.items():
        if list(names.values()).count(name) > 1:
            others = " and ".join(str(other) for other in names if names[other] == name)
            raise ConfigurationError(f"{folder}: the card id {name} would be that of {others}; rename one of them")
    return names


def base_card_id(base_model: str, cards: Sequence[Card], taken: Iterable[str] = ()) -> str:
    """The id of the card that names `base_model` as its model, id or alias; else an id made of the name.

    That is its last part, unless another model or one of `taken`, the ids of adapters, has it.
    """
    models = [card for card in cards if card.kind == "model"]
    for card in models:
        if base_model in (card.model, *card.names):
            return card.id
    short = _clean(base_model.rstrip("/").rpartition("/")[2]).lower()
    same = next((card for card in models if short in card.names), None)
    if same is not None and not (_is_hub_name(same.model) and _is_hub_name(base_model)):
        return same.id
    used = {*taken, *(name for card in cards for name in card.names)}
    full = _clean(base_model.strip("/")).lower()
    return next(name for name in (short, full, f"{full}-base", f"{full}-base-model") if name not in used)


def _is_hub_name(model: str) -> bool:
    """Whether `model` is an organisation and a name, which belong to one model only."""
    return model.count("/") == 1 and not model.startswith("/")


def card_facts(facts: Imported, base: str, provider: str = _PROVIDER) -> dict[str, Any]:
    """The keys and values of the card's YAML."""
    lora: dict[str, Any] = {
        "rank": facts.rank,
        "alpha": facts.alpha if facts.rank is not None else None,
        "targets": [name for name in facts.targets if len(name) <= _LONGEST_WORD] if facts.rank is not None else None,
        "path": facts.folder if len(facts.folder) <= _LONGEST_WORD else None,
        "format": "peft",
        "bytes": facts.bytes,
    }
    card: dict[str, Any] = {
        "id": facts.id,
        "provider": provider,
        "model": facts.id,
        "kind": "adapter",
        "base": base,
        "dispatchable": None if is_dispatchable(facts) else False,
        "lora": {key: value for key, value in lora.items() if value not in (None, [])},
        "source": _source(facts),
    }
    return {key: value for key, value in card.items() if value is not None}


def is_dispatchable(facts: Imported) -> bool:
    """Whether a server can serve the adapter beside its base as it is."""
    return facts.verdict.servable == "adapter"


def write_card(file: Path, facts: Imported, plain: dict[str, Any]) -> Card:
    """Write the card with what its keys do not say as comments, and read it back. Raises FileError, OSError."""
    _check(plain, file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_head(facts) + yaml_text(plain), encoding="utf-8")
    return load_card(file)


def write_base_card(
    folder: Path, card_id: str, base_model: str, provider: str = _PROVIDER, *, is_chat: bool = True
) -> Path | None:
    """Write a card of the base model with its name only; None where the file exists. What is no chat model
    (`is_chat`) is never a candidate.
    """
    file = folder / f"{card_id}.yaml"
    if file.exists():
        return None
    plain: dict[str, Any] = {"id": card_id, "provider": provider, "model": base_model}
    if not is_chat:
        plain["dispatchable"] = False
    _check(plain, file)
    folder.mkdir(parents=True, exist_ok=True)
    text = "# Written by `route adapters import`, which knows the model's name: add base_url and what else you know.\n"
    file.write_text(text + yaml_text(plain), encoding="utf-8")
    load_card(file)
    return file


def _check(plain: dict[str, Any], file: Path) -> None:
    """Raise FileError where `plain` is no card, before anything is written."""
    convert(plain, Card, file, {})


def _rank(adapter: Adapter, module: str) -> int | None:
    """The rank of the module's tensors."""
    parts = adapter.modules[module]
    for part in ("lora_A", "lora_embedding_A", "hada_w1_b", "vera_lambda_d", "lokr_w2_b"):
        if (name := parts.get(part)) is not None and adapter.tensors[name].shape:
            return adapter.tensors[name].shape[0]
    return None


def _clean(name: str) -> str:
    cleaned = _NOT_IN_IDS.sub("-", name).strip("-._+")[:_LONGEST_ID]
    return cleaned or "adapter"


def _source(facts: Imported) -> str:
    return f"{facts.peft_type} adapter_config.json and weights" + (f", sha256 {facts.sha256}" if facts.sha256 else "")


def _head(facts: Imported) -> str:
    lines = [
        "Written by `route adapters import`. Add examples of its prompts, base_url and what you know.",
        f"{facts.peft_type}{' with rsLoRA' if facts.use_rslora else ''}{' with DoRA' if facts.use_dora else ''}, "
        f"{facts.parameters:,} parameters, {facts.dtype or 'no weights'}",
        f"trained on {facts.base_model or 'an unknown base'}" + (f" at {facts.revision}" if facts.revision else ""),
    ]
    if facts.ranks:
        lines.append(f"ranks of its modules: {', '.join(map(str, facts.ranks))}")
    if facts.tokenizer_sha256:
        lines.append(f"tokenizer: sha256 {facts.tokenizer_sha256}")
    lines.append(f"servable: {facts.verdict.servable}")
    if facts.verdict.why is not None:
        lines.append(facts.verdict.why)
    else:
        lines += [f"{name}: {facts.verdict.reasons[name] or 'yes'}" for name in NAMES]
    lines += facts.verdict.hints
    # A line break in a name would end the comment.
    clean = ("".join(character if character.isprintable() else " " for character in line) for line in lines)
    return "".join(f"# {line}\n" for line in clean)
