"""The configuration of a running gateway, reloaded when it changes.

A request takes `ConfigReloader.current` once and uses it until the end, so a change never affects a running request.
An invalid edit is rejected, and the previous configuration stays active.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec
from msgspec import Struct
from watchfiles import Change, watch
from watchfiles.main import FileChange

from router.cards import Card
from router.decide.model_name import Aliases
from router.decide.plans.forecast.columns import NO_COLUMNS, Columns
from router.errors import ConfigurationError, PulvinarError
from router.formats.text import shortened
from router.gateway.config.artifact import ActiveArtifact
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys
from router.gateway.config.sources import ParsedConfig, Sources, Stamp
from router.perceive.ability.evidence import ProbeOutcome
from router.perceive.predictor import Predictor
from router.perceive.purpose.profile_file import StoredProfile
from router.pipeline import Router
from router.store.records.record import Snapshot
from router.store.records.snapshots import catalogue_snapshot

_LOG = logging.getLogger(__name__)
_STEP_MS, _DEBOUNCE_MS = 50, 500
# Some file systems report no changes, so the files are also polled.
_TICK_S, _POLL_EVERY_TICKS = 1.0, 3
# How long a file may be missing, or incomplete, while an editor replaces it.
_SETTLE_S = 0.3
# After a reload for a signal, before the next one.
_PAUSE_S = 1.0
# Failures to read that end by a change of the file, which is noticed.
_OF_THE_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EACCES, errno.EPERM})
# Differs from the stamps of any files.
_UNKNOWN: tuple[Stamp, ...] = (("", 0, 0, 0),)
_ERRORS = (PulvinarError, OSError, RuntimeError, ValueError, TypeError, LookupError)


class ActiveConfig(Struct, frozen=True, eq=False, dict=True):
    """A loaded configuration. `number` counts from 1; `loaded_at` is in seconds since 1970, UTC.

    `catalogue` is the snapshot of the cards for records; `fingerprint` is a hash of all files, the same on every
    machine.
    """

    router: Router
    catalogue: Snapshot
    config: GatewayConfig
    keys: Keys
    number: int
    fingerprint: str
    loaded_at: float
    evidence: Mapping[str, tuple[ProbeOutcome, ...]] = {}
    profiles: Mapping[str, StoredProfile] = {}

    @functools.cached_property
    def aliases(self) -> Aliases:
        """The aliases, whose patterns match no card's name unless `aliases_hide_cards` is set."""
        return Aliases(self.config.aliases, self._card_names)

    def aliases_of(self, key: Key | None) -> Aliases:
        """The aliases for this key, for which the cards of others do not exist."""
        hidden = self.keys.hidden(key)
        return self.aliases.beside(_Visible(self._card_names, hidden)) if hidden else self.aliases

    @functools.cached_property
    def _card_names(self) -> Mapping[str, str]:
        """The ids of the cards by all names that take precedence over aliases with a `*`."""
        cards = () if self.config.aliases_hide_cards else self.router.catalog
        return {name: card.id for card in cards for name in card.names}


class _Visible:
    """The names of cards that are not hidden."""

    def __init__(self, card_names: Mapping[str, str], hidden: frozenset[str]) -> None:
        self._card_names, self._hidden = card_names, hidden

    def __contains__(self, name: object) -> bool:
        card = self._card_names.get(name) if isinstance(name, str) else None
        return card is not None and card not in self._hidden


Load = Callable[[ActiveConfig | None], ActiveConfig]
"""Loads the configuration, given the active one, or None at the start. Raises ConfigurationError."""


def loader(
    sources: Sources,
    predictor: Predictor | ActiveArtifact,
    clock: Callable[[], float] = time.time,
    columns: Columns = NO_COLUMNS,
) -> Load:
    """A function that loads `sources`. The router is reused if only settings or keys have changed.

    `columns` are those of the artifact, by which plans are forecast.
    """
    artifact = predictor if isinstance(predictor, ActiveArtifact) else ActiveArtifact(predictor, columns)

    def load(before: ActiveConfig | None) -> ActiveConfig:
        predictor, columns = artifact.predictor, artifact.columns
        fingerprint = sources.fingerprint() + artifact.mark
        parsed = sources.read()
        if before is not None and before.keys and not parsed.keys:
            raise ConfigurationError(
                f"{sources.keys}: no keys left in the file; keeping the previous keys. Restart to run without "
                "authentication"
            )
        is_same = before is not None and before.router.predictor is predictor
        if before is not None and is_same and _routing_unchanged(before, parsed):
            router, catalogue = before.router, before.catalogue
        else:
            evidence = predictor.evidence_of(parsed.evidence, parsed.profiles)
            router = Router(parsed.catalog, parsed.policies, predictor, evidence, parsed.plans.with_columns(columns))
            catalogue = catalogue_snapshot(router.catalog, router.evidence)
        number = before.number + 1 if before else 1
        return ActiveConfig(
            router,
            catalogue,
            parsed.config,
            parsed.keys,
            number,
            fingerprint,
            clock(),
            parsed.evidence,
            parsed.profiles,
        )

    return load


class ConfigReloader:
    """The active configuration (`current`), reloaded when its files change.

    `problem` is the reason why the latest change was rejected, as lines of `file:line: key: problem`, or None. `notify`
    gets a line for the operator when a change is applied, rejected or corrected. `on_change` is called on the event
    loop, after `current` has been replaced.
    """

    def __init__(
        self,
        load: Load,
        sources: Sources,
        *,
        notify: Callable[[str], None] = _LOG.info,
        on_change: Callable[[ActiveConfig], None] = lambda _: None,
    ) -> None:
        """Load the configuration. Raises ConfigurationError if that fails: there is no previous one to keep."""
        self._load, self._sources = load, sources
        self.notify, self.on_change = notify, on_change
        self.problem: str | None = None
        self._stamps = sources.stamps()
        self.current = load(None)
        self._lock, self._signals = asyncio.Lock(), asyncio.Lock()
        self._reloading: set[asyncio.Task[None]] = set()

    async def watch(self) -> None:
        """Apply changes as they occur, until cancelled."""
        while True:
            await self._check()
            try:
                watched = await asyncio.to_thread(self._sources.watched)
                folders = {folder for folder, _ in watched}
                ticks = 0
                async with contextlib.aclosing(self._changes(folders)) as changes:
                    async for changed in changes:
                        ticks += 1
                        # At the first tick too: a file may have changed before the watch started.
                        if not changed and ticks > 1 and ticks % _POLL_EVERY_TICKS:
                            continue
                        await self._check()
                        # A folder was created, deleted or replaced: the watch does not see into the new one, which may
                        # have the inode of the old one.
                        if any(path in folders for _, path in changed):
                            break
                        if await asyncio.to_thread(self._sources.watched) != watched:
                            break
            except OSError as error:
                # A folder was deleted while the watch was set up, or the system has no watches left.
                _LOG.warning("cannot watch for file changes: %s; polling instead", error)
                await asyncio.sleep(_TICK_S * _POLL_EVERY_TICKS)

    async def _changes(self, folders: Collection[str]) -> AsyncGenerator[set[FileChange], None]:
        """The changes in these folders as they occur; none at each tick. Raises OSError.

        `awatch` does the same, but begins by holding up the event loop for some 40 ms: it imports the code of anyio for
        asyncio, just when the first requests arrive.
        """
        stop = threading.Event()
        found = watch(
            *folders,
            watch_filter=self._is_relevant,
            step=_STEP_MS,
            debounce=_DEBOUNCE_MS,
            recursive=False,
            rust_timeout=round(_TICK_S * 1000),
            yield_on_timeout=True,
            ignore_permission_denied=True,
            stop_event=stop,
            raise_interrupt=False,
        )
        # A thread of its own, since it always waits; it ends within a step.
        executor = ThreadPoolExecutor(1, "watch")
        try:
            loop = asyncio.get_running_loop()
            while (changed := await loop.run_in_executor(executor, next, found, None)) is not None:
                yield changed
        finally:
            stop.set()
            executor.shutdown(wait=False)

    async def reload(self) -> None:
        """Reload everything, whether or not a change was detected."""
        async with self._lock:
            with self._trying_again():
                await self._apply_change(requested=True)

    async def try_artifact(self) -> str | None:
        """Reload everything, for another artifact; return why that failed, or None.

        No file was changed for it, so a failure is no rejected change: `problem` stays, and `notify` gets no line.
        """
        async with self._lock:
            return (await self._try_load(requested=True))[0]

    def reload_soon(self) -> None:
        """Schedule `reload`; for the SIGHUP handler, on the event loop.

        At most one runs and one waits, which will see every change until it begins: further signals add nothing.
        Signals without end cause one reload a second.
        """
        if len(self._reloading) > 1:
            return
        task = asyncio.get_running_loop().create_task(self._reload_in_turn())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def _reload_in_turn(self) -> None:
        async with self._signals:
            await self.reload()
            await asyncio.sleep(_PAUSE_S)

    async def _check(self) -> None:
        """Apply a change since the last check, if there is one."""
        async with self._lock:
            with self._trying_again():
                stamps = await asyncio.to_thread(self._sources.stamps)
                if stamps != self._stamps:
                    await self._apply_change()

    @contextlib.contextmanager
    def _trying_again(self) -> Iterator[None]:
        """Where the system refuses to look at the files, nothing is known about them: the next check tries again."""
        try:
            yield
        except OSError as error:
            _LOG.warning("the configuration files cannot be checked for changes: %s", error)
            self._stamps = _UNKNOWN

    async def _apply_change(self, requested: bool = False) -> None:
        if await asyncio.to_thread(self._sources.any_missing, self._stamps):
            # Some editors move a file away before they write the new one.
            await asyncio.sleep(_SETTLE_S)
        problem = None
        for _ in range(3):
            # Before loading, so that a change in the meantime is seen at the next check.
            self._stamps = await asyncio.to_thread(self._sources.stamps)
            problem, is_passing = await self._try_load(requested)
            if problem is None:
                return
            if is_passing:
                # The files will not change again, so the next check must not wait for that.
                self._stamps = _UNKNOWN
                break
            # The file may have been incomplete.
            await asyncio.sleep(_SETTLE_S)
            if await asyncio.to_thread(self._sources.stamps) == self._stamps:
                break
        if problem != self.problem or requested:
            self.problem = problem
            self._send_line(f"configuration change rejected; keeping the previous one: {problem}")

    async def _try_load(self, requested: bool) -> tuple[str | None, bool]:
        """Load and activate the configuration. If that fails, return the reason, and whether it may pass by itself."""
        before = self.current
        try:
            if not requested and await asyncio.to_thread(self._sources.fingerprint) == before.fingerprint:
                self._clear_problem()
                return None, False
            loaded = await asyncio.to_thread(self._load, before)
        except PulvinarError as error:
            return str(error), _may_pass(error)
        except _ERRORS as error:
            # No edit may end the watch, whatever error it causes.
            return f"{type(error).__name__}: {error}", _may_pass(error)
        if loaded.fingerprint == before.fingerprint:
            # The number stays the same too.
            self._clear_problem()
            if requested:
                self._send_line("configuration reloaded: no changes")
            return None, False
        self.current = loaded
        self.problem = None
        try:
            self.on_change(loaded)
        except _ERRORS as error:
            _LOG.error("the configuration was reloaded, but applying it failed: %s: %s", type(error).__name__, error)
        self._send_line(f"configuration reloaded: {changes(before, loaded) or 'no effective change'}")
        return None, False

    def _clear_problem(self) -> None:
        if self.problem is not None:
            self.problem = None
            self._send_line("configuration error resolved: the files match the active configuration again")

    def _send_line(self, line: str) -> None:
        # The reader of the lines may have gone; the gateway keeps running.
        with contextlib.suppress(OSError):
            self.notify(line)

    def _is_relevant(self, _: Change, path: str) -> bool:
        return self._sources.is_relevant(path)


def _may_pass(error: BaseException | None) -> bool:
    """Whether a read failed for a reason that no edit of the file ends, such as too many open files."""
    while error is not None:
        if isinstance(error, OSError):
            return error.errno not in _OF_THE_FILE
        error = error.__cause__ or error.__context__
    return False


def changes(before: ActiveConfig, after: ActiveConfig) -> str:
    """The differences, such as `cards: +a, -b, ~c; policies: ~default`; empty if there are none."""
    old, new = before.router, after.router
    parts = {
        "cards": _difference(_by_id(old.catalog), _by_id(new.catalog)),
        "policies": _difference(old.policies, new.policies),
        "plans": _difference(old.plans, new.plans),
        "gateway": _difference(_settings(before.config), _settings(after.config)),
        "keys": _difference(_by_id(before.keys), _by_id(after.keys)),
        "evidence": _difference(before.evidence, after.evidence),
        "profiles": _difference(before.profiles, after.profiles),
        "latency": _difference(old.catalog.speeds, new.catalog.speeds),
        "artifact": _difference({old.predictor.id: None}, {new.predictor.id: None}),
    }
    return "; ".join(f"{part}: {difference}" for part, difference in parts.items() if difference)


def _routing_unchanged(before: ActiveConfig, parsed: ParsedConfig) -> bool:
    router: Router = before.router
    return (
        list(router.catalog) == list(parsed.catalog)
        and dict(router.policies) == dict(parsed.policies)
        and dict(router.plans) == dict(parsed.plans)
        and before.evidence == parsed.evidence
        and before.profiles == parsed.profiles
        and router.catalog.speeds == parsed.catalog.speeds
    )


def _by_id(items: Iterable[Card] | Iterable[Key]) -> dict[str, object]:
    return {item.id: item for item in items}


def _settings(config: GatewayConfig) -> dict[str, object]:
    return {field.encode_name: getattr(config, field.name) for field in msgspec.structs.fields(config)}


def _difference(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    marked = [
        *(f"+{name}" for name in sorted(after.keys() - before.keys())),
        *(f"-{name}" for name in sorted(before.keys() - after.keys())),
        *(f"~{name}" for name in sorted(before.keys() & after.keys()) if before[name] != after[name]),
    ]
    return shortened(marked)
