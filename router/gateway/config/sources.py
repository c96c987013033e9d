"""The files and folders that configure a gateway: reading them, and detecting changes."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from router import settings
from router.cards.catalog import Catalog, load_catalog
from router.cards.machine.speeds import FILE_NAME, read_speeds
from router.decide.model_name import DEFAULT_POLICY
from router.decide.plans.catalog import NO_PLANS, Plans, load_plans
from router.decide.policy import Policies, load_policies
from router.errors import ConfigurationError
from router.formats.yaml.parsed import remembered
from router.gateway.config.gateway_yaml import GatewayConfig, load_config
from router.gateway.config.keys import Keys, load_keys
from router.gateway.config.tenants import check_tenants
from router.perceive.ability.evidence import ProbeOutcome, load_evidence
from router.perceive.purpose.profile_file import SUFFIX, StoredProfile, load_profiles

_MAX_LINKS = 40
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})

Stamp = tuple[str, int, int, int]
"""A file's path, inode, size, and when its content or its attributes last changed, in nanoseconds."""


class ParsedConfig(Struct, frozen=True, eq=False):
    """The parsed and validated sources. `evidence` has the probe outcomes of each card, `profiles` their profiles."""

    catalog: Catalog
    policies: Policies
    config: GatewayConfig
    keys: Keys
    evidence: Mapping[str, tuple[ProbeOutcome, ...]]
    plans: Plans = NO_PLANS
    profiles: Mapping[str, StoredProfile] = {}


class Sources(Struct, frozen=True):
    """Paths: the folders of cards, policies, evidence, plans and profiles, and the files `gateway.yaml` and
    `keys.yaml`.

    The folders of evidence and profiles and the two files need not exist; None for a folder means that there are none.
    """

    cards: Path
    policies: Path
    evidence: Path
    gateway: Path
    keys: Path
    plans: Path | None = None
    profiles: Path | None = None

    def read(self) -> ParsedConfig:
        """Read and validate all of them together. Raises ConfigurationError naming file, line and key."""
        # The settings of the gateway and the keys are not remembered: nothing of them leaves their files.
        with remembered(settings.parsed_file()):
            catalog = load_catalog(self.cards).with_speeds(read_speeds(self.evidence))
            plans = load_plans(self.plans, catalog)
            policies = load_policies(self.policies, catalog, plans)
        if DEFAULT_POLICY not in policies:
            problem = f'there is no policy "{DEFAULT_POLICY}", which the model name "auto" needs'
            raise ConfigurationError(f"{self.policies}: {problem}")
        keys = load_keys(self.keys, catalog, policies)
        check_tenants(catalog, keys, self.cards, self.keys)
        return ParsedConfig(
            catalog,
            policies,
            load_config(self.gateway, catalog, policies, plans),
            keys,
            load_evidence(self.evidence),
            plans,
            load_profiles(self.profiles),
        )

    def stamps(self) -> tuple[Stamp, ...]:
        """A stamp of every existing file, in order. Equal stamps mean that nothing has changed. Raises OSError."""
        return tuple(stamp for file in self._files() if (stamp := _stamp(file)) is not None)

    def fingerprint(self) -> str:
        """A hash of the names and contents of all files: equal on machines with equal configurations.

        Raises OSError where an existing file cannot be read: without it, a change of it would not be seen.
        """
        digest = hashlib.sha256()
        for kind, file in self._named_files():
            try:
                content = hashlib.sha256(file.read_bytes()).hexdigest()
            except OSError as error:
                if error.errno in _MISSING:
                    continue
                raise
            digest.update(f"{kind}/{file.name}\0{content}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]

    def any_missing(self, before: Iterable[Stamp]) -> bool:
        """Whether a file of `before` no longer exists."""
        existing = {stamp[0] for stamp in self.stamps()}
        return any(path not in existing for path, *_ in before)

    def watched(self) -> tuple[tuple[str, int], ...]:
        """The folders to watch, with their inodes.

        They contain the files, the links that lead to them, or are the nearest existing parent of a missing folder.
        """
        inodes: dict[str, int] = {}
        for path in self._paths():
            for folder in _folders_of(path):
                nearest = next((parent for parent in (folder, *folder.parents) if parent.is_dir()), None)
                if nearest is not None:
                    inodes[str(nearest)] = nearest.stat().st_ino
        return tuple(sorted(inodes.items()))

    def is_relevant(self, changed: str) -> bool:
        """Whether a change of this path, as reported by a watcher, may concern a source; true when in doubt."""
        path = Path(changed)
        suffixes = (".yaml", ".yml", ".jsonl", SUFFIX)
        if path.suffix in suffixes or path.name == FILE_NAME or path.name.startswith(".."):
            return True
        return path.is_dir() or path.is_symlink() or any(path.name in each.absolute().parts for each in self._paths())

    def _paths(self) -> tuple[Path, ...]:
        optional = (path for path in (self.plans, self.profiles) if path is not None)
        return (self.cards, self.policies, self.evidence, self.gateway, self.keys, *optional)

    def _files(self) -> Iterator[Path]:
        for _, file in self._named_files():
            yield file

    def _named_files(self) -> Iterator[tuple[str, Path]]:
        for kind, folder, suffixes in (
            ("cards", self.cards, (".yaml", ".yml")),
            ("policies", self.policies, (".yaml", ".yml")),
            ("evidence", self.evidence, (".jsonl",)),
            *([("plans", self.plans, (".yaml", ".yml"))] if self.plans is not None else ()),
            *([("profiles", self.profiles, (SUFFIX,))] if self.profiles is not None else ()),
        ):
            try:
                files = sorted(folder.iterdir())
            except OSError as error:
                if error.errno in _MISSING:
                    continue
                raise
            yield from ((kind, file) for file in files if file.suffix in suffixes)
        yield "latency", self.evidence / FILE_NAME
        yield "gateway", self.gateway
        yield "keys", self.keys


def _stamp(file: Path) -> Stamp | None:
    try:
        status = file.stat()
    except OSError as error:
        # Any other failure says nothing about whether the file exists.
        if error.errno in _MISSING:
            return None
        raise
    return str(file), status.st_ino, status.st_size, max(status.st_mtime_ns, status.st_ctime_ns)


def _folders_of(path: Path) -> Iterator[Path]:
    """`path` itself if it is a folder, its parent, and the folder of every symbolic link on the way to it."""
    remaining = [path.absolute()]
    for _ in range(_MAX_LINKS):
        if not remaining:
            return
        current = remaining.pop()
        if current.is_dir():
            yield current
        yield current.parent
        # From the root on, so that the first link has no link before it, and `..` can be resolved as text.
        for part in (*reversed(current.parents), current):
            if part.is_symlink():
                target = part.parent / part.readlink() / current.relative_to(part)
                remaining.append(Path(os.path.normpath(target)))
                yield part.parent
                break
