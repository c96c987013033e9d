"""The cards of tenants: each exists for one key only, which must be in `keys.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from router.cards.catalog import Catalog
from router.errors import ConfigurationError, FileError, did_you_mean
from router.formats.yaml.file import read_yaml, yaml_files
from router.gateway.config.keys import Keys


def check_tenants(catalog: Catalog, keys: Keys, folder: Path, keys_file: Path) -> None:
    """Raise ConfigurationError, with file and line, for each card of the folder whose `tenant` is no key: without it,
    nobody could use the card, or everybody where there are no keys.
    """
    known = {key.id for key in keys}
    wrong = {card.id: card.tenant for card in catalog if card.tenant is not None and card.tenant not in known}
    if wrong:
        raise ConfigurationError("\n".join(_problems(wrong, known, folder, keys_file)))


def _problems(wrong: dict[str, str], known: set[str], folder: Path, keys_file: Path) -> Iterator[str]:
    for file in yaml_files(folder):
        document, lines = read_yaml(file)
        tenant = wrong.get(document.get("id", "")) if isinstance(document, dict) else None
        if tenant is not None:
            hint = did_you_mean(tenant, known) or f"; add it with route keys add {tenant}, or remove the line"
            problem = f'tenant: there is no key "{tenant}" in {keys_file}{hint}'
            yield str(FileError(str(file), lines.get(("tenant",)), problem))
