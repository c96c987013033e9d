"""The files and folders that a gateway is configured by: what they say, and where a change to them shows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from router.cards.catalog import Catalog, load_catalog
from router.decide.model_name import DEFAULT_POLICY
from router.decide.policy import Policies, load_policies
from router.errors import ConfigurationError
from router.gateway.config.gateway_yaml import GatewayConfig, load_config
from router.gateway.config.keys import Keys, load_keys
from router.perceive.evidence import ProbeOutcome, load_evidence

_MOST_LINKS = 40

Stamp = tuple[str, int, int, int]
"""A file's path, inode, size, and when its content or its attributes last changed, in nanoseconds."""


class ParsedConfig(Struct, frozen=True, eq=False):
    """What the sources say, checked together. `evidence` holds the outcomes of probes by card."""

    catalog: Catalog
    policies: Policies
    config: GatewayConfig
    keys: Keys
    evidence: Mapping[str, tuple[ProbeOutcome, ...]]


class Sources(Struct, frozen=True):
    """Where things lie: folders of cards, policies and evidence, the files `gateway.yaml` and `keys.yaml`.

    The folder of evidence and the two files need not exist.
    """

    cards: Path
    policies: Path
    evidence: Path
    gateway: Path
    keys: Path

    def read(self) -> ParsedConfig:
        """What all of them say. Raises ConfigurationError naming file, line and key."""
        catalog = load_catalog(self.cards)
        policies = load_policies(self.policies, catalog)
        if DEFAULT_POLICY not in policies:
            problem = f'there is no policy "{DEFAULT_POLICY}", which the model name "auto" stands for'
            raise ConfigurationError(f"{self.policies}: {problem}")
        return ParsedConfig(
            catalog,
            policies,
            load_config(self.gateway, catalog, policies),
            load_keys(self.keys, catalog, policies),
            load_evidence(self.evidence),
        )

    def stamps(self) -> tuple[Stamp, ...]:
        """A stamp of every file that is there, in order. Equal stamps mean that nothing was changed."""
        return tuple(stamp for file in self._files() if (stamp := _stamp(file)) is not None)

    def fingerprint(self) -> str:
        """A hash of the names and contents of all files: the same on every machine that is configured the same."""
        digest = hashlib.sha256()
        for kind, file in self._named_files():
            try:
                content = hashlib.sha256(file.read_bytes()).hexdigest()
            except OSError:
                continue
            digest.update(f"{kind}/{file.name}\0{content}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]

    def lacks(self, before: Iterable[Stamp]) -> bool:
        """Whether a file of `before` is gone."""
        there = {stamp[0] for stamp in self.stamps()}
        return any(path not in there for path, *_ in before)

    def watched(self) -> tuple[tuple[str, int], ...]:
        """The folders, with their inodes, in which a change to a source shows: those that hold the files, and those
        where a folder that is missing would appear or a link on the way be turned.
        """
        found: dict[str, int] = {}
        for path in (self.cards, self.policies, self.evidence, self.gateway, self.keys):
            for folder in _on_the_way(path):
                nearest = next((each for each in (folder, *folder.parents) if each.is_dir()), None)
                if nearest is not None:
                    found[str(nearest)] = nearest.stat().st_ino
        return tuple(sorted(found.items()))

    def concerns(self, changed: str) -> bool:
        """Whether a change to this path, as a watcher names it, can matter; when in doubt, it does."""
        path = Path(changed)
        if path.suffix in (".yaml", ".yml", ".jsonl") or path.name.startswith(".."):
            return True
        named = (self.cards, self.policies, self.evidence, self.gateway, self.keys)
        return path.is_dir() or path.is_symlink() or any(path.name in each.absolute().parts for each in named)

    def _files(self) -> Iterator[Path]:
        for _, file in self._named_files():
            yield file

    def _named_files(self) -> Iterator[tuple[str, Path]]:
        for kind, folder, suffixes in (
            ("cards", self.cards, (".yaml", ".yml")),
            ("policies", self.policies, (".yaml", ".yml")),
            ("evidence", self.evidence, (".jsonl",)),
        ):
            try:
                files = sorted(folder.iterdir())
            except OSError:
                continue
            yield from ((kind, file) for file in files if file.suffix in suffixes)
        yield "gateway", self.gateway
        yield "keys", self.keys


def _stamp(file: Path) -> Stamp | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return str(file), found.st_ino, found.st_size, max(found.st_mtime_ns, found.st_ctime_ns)


def _on_the_way(path: Path) -> Iterator[Path]:
    """`path` itself, the folder it lies in, and, where links lead to it, the folder of every link on the way."""
    left = [path.absolute()]
    for _ in range(_MOST_LINKS):
        if not left:
            return
        here = left.pop()
        if here.is_dir():
            yield here
        yield here.parent
        # From the root on, so that no link stands before the first one found, and `..` means what it says.
        for each in (*reversed(here.parents), here):
            if each.is_symlink():
                target = each.parent / each.readlink() / here.relative_to(each)
                left.append(Path(os.path.normpath(target)))
                yield each.parent
                break
