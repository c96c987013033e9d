"""The configuration of a running gateway, read anew when it changes.

A request takes `ConfigReloader.current` once and uses it until the end, so a change never affects a running request.
An invalid edit is rejected, and the previous configuration stays active.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct
from watchfiles import Change, awatch

from router.decide.policy import Policies
from router.errors import ConfigurationError, PulvinarError
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Keys
from router.gateway.config.sources import ParsedConfig, Sources
from router.perceive.evidence import ProbeOutcome
from router.perceive.predictor import Predictor, evidence_of
from router.pipeline import Router
from router.store.records.record import Snapshot
from router.store.records.snapshots import catalogue_snapshot

_LOG = logging.getLogger(__name__)
_STEP_MS, _DEBOUNCE_MS = 50, 500
# Some file systems tell of no change.
_TICK_S, _LOOK_EVERY_TICKS = 1.0, 3
# How long a file may be gone while an editor puts another in its place, and half of one be written.
_SETTLE_S = 0.3
_NAMED_AT_MOST = 5
_FAULTS = (PulvinarError, OSError, RuntimeError, ValueError, TypeError, LookupError)


class ActiveConfig(Struct, frozen=True, eq=False):
    """A configuration. `number` counts from 1; `loaded_at` is in seconds since 1970, UTC.

    `catalogue` is what records keep of the cards; `fingerprint` tells configurations apart, on every machine in the
    same way.
    """

    router: Router
    catalogue: Snapshot
    config: GatewayConfig
    keys: Keys
    number: int
    fingerprint: str
    loaded_at: float
    evidence: Mapping[str, tuple[ProbeOutcome, ...]] = {}


Load = Callable[[ActiveConfig | None], ActiveConfig]
"""Reads the configuration anew; takes the one that is in use, None at the start. Raises ConfigurationError."""


def loader(sources: Sources, predictor: Predictor, clock: Callable[[], float] = time.time) -> Load:
    """What reads `sources`. The predictor stays the same, and so does the router where only settings or keys change."""

    def load(before: ActiveConfig | None) -> ActiveConfig:
        fingerprint = sources.fingerprint()
        said = sources.read()
        if before is not None and before.keys and not said.keys:
            raise ConfigurationError(
                f"{sources.keys}: holds no key any more, and without keys everybody would be let in; the last keys "
                "stay (a restart serves without)"
            )
        if before is not None and _routes_the_same(before, said):
            router, catalogue = before.router, before.catalogue
        else:
            router = Router(said.catalog, said.policies, predictor, evidence_of(said.evidence, predictor.encoder))
            catalogue = catalogue_snapshot(router.catalog, router.evidence)
        number = before.number + 1 if before else 1
        return ActiveConfig(router, catalogue, said.config, said.keys, number, fingerprint, clock(), said.evidence)

    return load


class ConfigReloader:
    """Holds the configuration in use, and looks for changes.

    `problem` says why the last edit was refused, in lines of `file:line: key: problem`; None where none was. `tell`
    gets a line for people whenever the configuration changes, or an edit is refused or mended. `on_change` is called on
    the event loop, after `current` has become another.
    """

    def __init__(
        self,
        load: Load,
        sources: Sources,
        *,
        tell: Callable[[str], None] = _LOG.info,
        on_change: Callable[[ActiveConfig], None] = lambda _: None,
    ) -> None:
        """Loads at once. Raises ConfigurationError where that fails: at the start nothing good is there to keep."""
        self._load, self._sources = load, sources
        self.tell, self.on_change = tell, on_change
        self.problem: str | None = None
        self._stamps = sources.stamps()
        self.current = load(None)
        self._turn = asyncio.Lock()
        self._reloading: set[asyncio.Task[None]] = set()

    async def watch(self) -> None:
        """Take changes over as they come, until cancelled."""
        while True:
            await self._look()
            watched = await asyncio.to_thread(self._sources.watched)
            folders = {folder for folder, _ in watched}
            try:
                ticks = 0
                async for changed in awatch(
                    *folders,
                    watch_filter=self._concerns,
                    step=_STEP_MS,
                    debounce=_DEBOUNCE_MS,
                    recursive=False,
                    rust_timeout=round(_TICK_S * 1000),
                    yield_on_timeout=True,
                    ignore_permission_denied=True,
                ):
                    ticks += 1
                    # The first time too, for something may have changed before it was watched.
                    if not changed and ticks > 1 and ticks % _LOOK_EVERY_TICKS:
                        continue
                    await self._look()
                    # A folder has come, gone or become another: the old watch would not see into it. The new one may
                    # have the inode of the old.
                    if any(path in folders for _, path in changed):
                        break
                    if await asyncio.to_thread(self._sources.watched) != watched:
                        break
            except OSError as error:
                # A folder went while the watch was set up, or the system allows no further watch.
                _LOG.warning("cannot watch for changes: %s; looking now and then", error)
                await asyncio.sleep(_TICK_S * _LOOK_EVERY_TICKS)

    async def reload(self) -> None:
        """Read everything anew, whether anything seems to have changed or not."""
        async with self._turn:
            await self._take_over(asked=True)

    def reload_soon(self) -> None:
        """`reload`, for the handler of SIGHUP; to be called on the event loop."""
        task = asyncio.get_running_loop().create_task(self.reload())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def _look(self) -> None:
        """Take over what has changed since the last look, if anything has."""
        async with self._turn:
            stamps = await asyncio.to_thread(self._sources.stamps)
            if stamps != self._stamps:
                await self._take_over()

    async def _take_over(self, asked: bool = False) -> None:
        if await asyncio.to_thread(self._sources.lacks, self._stamps):
            # Editors move a file away and put another in its place.
            await asyncio.sleep(_SETTLE_S)
        problem = None
        for _ in range(3):
            # Before loading: what changes meanwhile is then seen at the next look.
            self._stamps = await asyncio.to_thread(self._sources.stamps)
            problem = await self._try(asked)
            if problem is None:
                return
            # Perhaps only half of it was written yet.
            await asyncio.sleep(_SETTLE_S)
            if await asyncio.to_thread(self._sources.stamps) == self._stamps:
                break
        if problem != self.problem or asked:
            self.problem = problem
            self._say(f"refused an edit, the last good configuration stays: {problem}")

    async def _try(self, asked: bool) -> str | None:
        """What is wrong with the configuration as it is now; where nothing is, it is in use after this."""
        before = self.current
        try:
            if not asked and await asyncio.to_thread(self._sources.fingerprint) == before.fingerprint:
                self._mended("the configuration is the last good one again")
                return None
            loaded = await asyncio.to_thread(self._load, before)
        except PulvinarError as error:
            return str(error)
        except _FAULTS as error:
            # No edit may end the watch, whatever it makes stumble.
            return f"{type(error).__name__}: {error}"
        if loaded.fingerprint == before.fingerprint:
            # The number stays as well, for nobody needs to look anything up anew.
            self._mended("the configuration is the last good one again")
            if asked:
                self._say("read the configuration anew: nothing has changed")
            return None
        self.current = loaded
        self.problem = None
        try:
            self.on_change(loaded)
        except _FAULTS as error:
            _LOG.error("an edit was taken over, but not everybody took notice: %s: %s", type(error).__name__, error)
        self._say(f"took over an edit: {changes(before, loaded) or 'nothing that matters has changed'}")
        return None

    def _mended(self, line: str) -> None:
        if self.problem is not None:
            self.problem = None
            self._say(line)

    def _say(self, line: str) -> None:
        # Whoever read the lines may have gone; the gateway stays.
        with contextlib.suppress(OSError):
            self.tell(line)

    def _concerns(self, _: Change, path: str) -> bool:
        return self._sources.concerns(path)


def changes(before: ActiveConfig, after: ActiveConfig) -> str:
    """What has changed, such as `cards: +a, -b, ~c; policies: ~default`; empty where nothing has."""
    old, new = before.router, after.router
    parts = {
        "cards": _difference({each.id: each for each in old.catalog}, {each.id: each for each in new.catalog}),
        "policies": _difference(old.policies, new.policies),
        "gateway": _difference(_settings(before.config), _settings(after.config)),
        "keys": _difference({each.id: each for each in before.keys}, {each.id: each for each in after.keys}),
        "evidence": _difference(before.evidence, after.evidence),
    }
    return "; ".join(f"{part}: {said}" for part, said in parts.items() if said)


def _routes_the_same(before: ActiveConfig, said: ParsedConfig) -> bool:
    router: Router = before.router
    return (
        list(router.catalog) == list(said.catalog)
        and _plain(router.policies) == _plain(said.policies)
        and before.evidence == said.evidence
    )


def _plain(policies: Policies) -> dict[str, object]:
    return dict(policies)


def _settings(config: GatewayConfig) -> dict[str, object]:
    return {field.encode_name: getattr(config, field.name) for field in msgspec.structs.fields(config)}


def _difference(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    marked = [
        *(f"+{name}" for name in sorted(after.keys() - before.keys())),
        *(f"-{name}" for name in sorted(before.keys() - after.keys())),
        *(f"~{name}" for name in sorted(before.keys() & after.keys()) if before[name] != after[name]),
    ]
    more = len(marked) - _NAMED_AT_MOST
    return ", ".join(marked[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
