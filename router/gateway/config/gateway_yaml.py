"""`gateway.yaml`: how the gateway itself behaves. Every key may be left out, and so may the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from router.cards.catalog import Catalog
from router.decide.flags import parse_flags
from router.decide.model_name import AUTO, DEFAULT_POLICY, is_auto
from router.decide.policy import Policies
from router.dispatch import Cooldown, Queue, Timeouts
from router.errors import ConfigurationError, FileError, FlagError, did_you_mean
from router.formats.quantities import ByteCount, Days, OptionalSeconds, quantity_schema, read_quantity
from router.formats.yaml_file import convert, read_yaml

Alias = Annotated[str, Meta(min_length=1, max_length=200)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]


def _without(*suffixes: str) -> Callable[[str], str]:
    """Names in YAML have no unit, for their values do."""

    def rename(name: str) -> str:
        for suffix in suffixes:
            name = name.removesuffix(suffix)
        return name

    return rename


def _by_default(value: Any) -> Any:
    """`value` as a field's default. Plainly given, msgspec would fail to write it into the schema."""
    return msgspec.field(default_factory=lambda: value)


class Recording(Struct, frozen=True, forbid_unknown_fields=True, rename=_without("_days")):
    """Whether requests are recorded, whether with their prompts, and for how long."""

    enabled: bool = True
    prompts: bool = False
    keep_days: Days = _by_default(Days(30))


class GatewayConfig(Struct, frozen=True, forbid_unknown_fields=True, rename=_without("_s", "_bytes"), kw_only=True):
    """How the gateway itself behaves.

    `aliases` gives names that clients hard-code a meaning: `auto`, `auto/<policy>`, either with `[<flags>]`, or a card.
    An alias may have the name of a card only where `aliases_hide_cards` says so; it then answers in the card's place.
    `max_concurrency`: requests at once in each worker. `max_depth`: how deep a body's JSON may be nested.
    `keepalive_s`: how often a quiet stream gets a comment, 0 for never. `retries`: further attempts at one card.
    `open_metrics`: whether `/metrics` answers without a key where there are keys.
    """

    aliases: Mapping[Alias, Alias] = {}
    aliases_hide_cards: bool = False
    timeouts: Timeouts = _by_default(Timeouts())
    max_concurrency: Count = 512
    queue: Queue = _by_default(Queue())
    max_body_bytes: ByteCount = _by_default(ByteCount(16 * 2**20))
    max_depth: Annotated[int, Meta(ge=8, le=500)] = 200
    keepalive_s: OptionalSeconds = _by_default(OptionalSeconds(0))
    records: Recording = _by_default(Recording())
    retries: Annotated[int, Meta(ge=0, le=10)] = 1
    cooldown: Cooldown = _by_default(Cooldown())
    open_metrics: bool = False

    def meaning(self, model: str) -> str:
        """What the name `model` stands for: an alias's target, else the name itself."""
        return self.aliases.get(model, model)


def load_config(file: Path, catalog: Catalog, policies: Policies) -> GatewayConfig:
    """What `file` states, and defaults for the rest; all defaults where it does not exist.

    Raises ConfigurationError naming file, line and key; every alias that leads nowhere is listed.
    """
    if not file.exists():
        return GatewayConfig()
    document, lines = read_yaml(file)
    if document is None:
        return GatewayConfig()
    if not isinstance(document, dict):
        raise FileError(str(file), 1, "expected the gateway's settings (keys and values)")
    config = convert(document, GatewayConfig, file, lines, read_quantity)
    problems = [
        str(FileError(str(file), lines.get(("aliases", name)), f"aliases.{name}: {problem}"))
        for name, target in config.aliases.items()
        if (problem := _alias_problem(name, target, config, catalog, policies))
    ]
    if problems:
        raise ConfigurationError("\n".join(problems))
    return config


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `gateway.yaml`, from which editors complete and check."""
    _, definitions = msgspec.json.schema_components([GatewayConfig], schema_hook=quantity_schema)
    config = definitions.pop("GatewayConfig")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **config,
        "title": "Pulvinar gateway.yaml",
        "$defs": definitions,
    }


def _alias_problem(name: str, target: str, config: GatewayConfig, catalog: Catalog, policies: Policies) -> str | None:
    if is_auto(name):
        return "names that begin with auto have a meaning already"
    # Not `catalog.named`, which also finds the upstream's name for a model; that one may be aliased.
    position = catalog.position(name)
    if position is not None and name in catalog[position].names and not config.aliases_hide_cards:
        card = catalog[position].id
        named = "" if card == name else ", as an alias of its own"
        return (
            f'the card "{card}" has this name too{named}; rename one, or set `aliases_hide_cards: true` '
            "to have the alias answer in the card's place"
        )
    if is_auto(target):
        return _auto_problem(target, policies)
    if catalog.position(target) is not None:
        return None
    if target in config.aliases:
        return f'"{target}" is an alias itself; write what it stands for'
    known = [*catalog.ids, "auto", *(f"auto/{policy}" for policy in policies.ids)]
    return f'"{target}" is neither auto nor a card{did_you_mean(target, known)}'


def _auto_problem(target: str, policies: Policies) -> str | None:
    found = AUTO.fullmatch(target)
    if found is None:
        return f'"{target}" cannot be read; write auto, auto/<policy> or auto/<policy>[<flags>]'
    policy = found["policy"] or DEFAULT_POLICY
    if policy not in policies:
        hint = did_you_mean(policy, policies.ids) or f"; known: {', '.join(policies.ids)}"
        return f'there is no policy "{policy}"{hint}'
    try:
        parse_flags(found["flags"] or "")
    except FlagError as error:
        return f'the flags of "{target}": {error.problem}'
    return None
