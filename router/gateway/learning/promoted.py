"""Promoted artifacts: which one all gateways that share a state use, and the roll-back of one that does worse.

The chain of promotions is a blob of the shared state, so workers and gateways follow within about a second, and agree.
A gateway takes part whose own artifact is in the chain: one that was started with another artifact uses that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct, UnsetType

from router.analysis.artifacts.watch import ForecastedTwice, Watch
from router.analysis.drift.judged import Judged
from router.errors import PulvinarError
from router.gateway.config.artifact import ActiveArtifact
from router.gateway.config.reload import ActiveConfig, ConfigReloader
from router.learn.online.outcomes import Lesson
from router.perceive.predictor import Predictor
from router.pipeline import Router
from router.store.state.protocol import Blob, StateError, StateStore, blob_named

_LOG = logging.getLogger(__name__)
PROMOTED, _WATCH = "artifact/promoted", "artifact/watch"
_EVERY_S, _KEEP_ALIVE_S = 1.0, 86_400.0
_TRIES, _MOST_WAITING = 8, 10_000
_LONGEST_PAUSE = 64


class Step(Struct, frozen=True):
    """An artifact in use: its folder, its id, and since when, in seconds since 1970, UTC."""

    folder: str
    artifact: str
    since_s: float


class RolledBack(Struct, frozen=True):
    """The last roll-back: of which artifact, to which one, when and why. `by`: the operator, or the drift test."""

    artifact: str
    to: str
    at_s: float
    why: str
    by: str


class ArtifactInUse(Struct):
    """The predictor in use. Keys of operators also see whether it was promoted, which promotion was rolled back, and
    why the promoted one cannot be used.
    """

    id: str
    promoted: bool | UnsetType = UNSET
    rolled_back: RolledBack | UnsetType | None = UNSET
    problem: str | UnsetType | None = UNSET


class Promotions(Struct, frozen=True):
    """The artifacts in the order of their promotion: the last one is in use, the first was there before any."""

    chain: tuple[Step, ...] = ()
    last_rollback: RolledBack | None = None
    written_s: float = 0.0

    def promoted(self, old: Step, new: Step, now_s: float) -> Promotions:
        """With one more; a chain that does not end with `old` begins anew."""
        chain = self.chain if self.chain and self.chain[-1].artifact == old.artifact else (old,)
        return Promotions((*chain, new), None, now_s)

    def rolled_back(self, why: str, by: str, now_s: float) -> Promotions:
        """Without the last one."""
        last, before = self.chain[-1], self.chain[-2]
        return Promotions(self.chain[:-1], RolledBack(last.artifact, before.artifact, now_s, why, by), now_s)


def read_promotions(content: bytes) -> Promotions:
    """The inverse of `write_promotions`; nothing was promoted where the content is damaged."""
    try:
        return msgspec.json.decode(content, type=Promotions)
    except msgspec.DecodeError as error:
        _LOG.error("the promotions in the shared state are damaged: %s; the artifact of the start is used", error)
        return Promotions()


def write_promotions(promotions: Promotions) -> bytes:
    """The content of the blob."""
    return msgspec.json.encode(promotions)


async def change_promotions(
    store: StateStore, change: Callable[[Promotions], Promotions | None], now_s: float
) -> Promotions | None:
    """Replace the promotions by what `change` returns; nothing where it returns None. Raises StateError."""
    for _ in range(_TRIES):
        found = await blob_named(store, PROMOTED)
        blob = found or Blob(PROMOTED, 0, b"")
        changed = change(read_promotions(found.content) if found else Promotions())
        if changed is None:
            return None
        if await store.swap_blob(Blob(PROMOTED, blob.version, write_promotions(changed)), now_s):
            return changed
    raise StateError("others changed the promotions at the same moment; try again")


class _Pause:
    """When to try again what has failed: after 1, 2, 4 … 64 calls of `is_over`, or at once where it is about something
    else than at the last failure.
    """

    def __init__(self) -> None:
        self._about: object = None
        self._length, self._left = 1, 0

    def is_over(self, about: object) -> bool:
        """Whether to try now."""
        if about != self._about:
            self._about, self._length, self._left = about, 1, 0
        self._left -= 1
        return self._left < 0

    def begin(self) -> None:
        """Wait, twice as long as after the failure before."""
        self._left, self._length = self._length, min(2 * self._length, _LONGEST_PAUSE)


class PromotedArtifact:
    """The promotions in `store`, as one worker follows them. `load` reads an artifact, `reloader` activates the one
    that `artifact` names, and `notify` gets a line for the operator, in the worker that rolls back.
    """

    def __init__(
        self,
        store: StateStore,
        artifact: ActiveArtifact,
        reloader: ConfigReloader,
        load: Callable[[Path], Predictor],
        has_others: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
        notify: Callable[[str], None] = _LOG.warning,
    ) -> None:
        self._store, self._artifact, self._reloader = store, artifact, reloader
        self._load, self._has_others, self._clock, self._notify = load, has_others, clock, notify
        self._promotions = Promotions()
        self._version = 0
        self._waiting: list[tuple[float, Lesson]] = []
        self._previous: tuple[ActiveConfig, str, Router] | None = None
        self._previous_predictor: Predictor | None = None
        self._pause = _Pause()
        self.problem: str | None = None

    @property
    def is_rolled_back(self) -> bool:
        """Whether the last promotion was rolled back."""
        return self._promotions.last_rollback is not None and self._takes_part

    @property
    def status(self) -> ArtifactInUse:
        """The artifact in use, and what an operator should know about promotions."""
        rolled_back = self._promotions.last_rollback if self._takes_part else None
        is_promoted = self._takes_part and len(self._promotions.chain) > 1
        return ArtifactInUse(self._artifact.predictor.id, is_promoted, rolled_back, self.problem)

    @property
    def _takes_part(self) -> bool:
        return any(step.artifact == self._artifact.first.id for step in self._promotions.chain)

    def watch(self, lesson: Lesson) -> None:
        """Take a judgement of an answer, for the test of a promoted artifact."""
        is_watched = self._takes_part and len(self._promotions.chain) > 1
        if is_watched and lesson.expected is not None and len(self._waiting) < _MOST_WAITING:
            self._waiting.append((self._clock(), lesson))

    async def refresh(self) -> None:
        """Follow what any worker or the operator has changed, and write what was judged."""
        with contextlib.suppress(StateError):
            for blob in await self._store.blobs_after(self._version, PROMOTED):
                self._version = max(self._version, blob.version)
                self._promotions = read_promotions(blob.content)
            await self._follow()
            await self._keep_alive()
            if self._waiting:
                await self._test()

    async def run(self) -> None:
        """Refresh about once a second, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.refresh()

    async def _follow(self) -> None:
        """Use the artifact that the chain ends with.

        One that cannot be used is tried again when the promotion or the configuration changes, and else ever more
        rarely: its folder may be complete later.
        """
        wanted = self._promotions.chain[-1] if self._takes_part else None
        if wanted is None or wanted.artifact == self._artifact.predictor.id:
            self.problem = None
            return
        # An edit that is undone leaves the number as it was.
        if not self._pause.is_over((wanted, self._reloader.current.number, self._reloader.problem)):
            return
        problem = await self._use(wanted)
        if problem is not None:
            self._pause.begin()
            if problem != self.problem:
                _LOG.error("%s; %s stays in use", problem, self._artifact.predictor.id)
        self.problem = problem

    async def _use(self, wanted: Step) -> str | None:
        """Use this artifact; return why that is not possible, or None."""
        first, before = self._artifact.first, self._artifact.predictor
        try:
            found = first if wanted.artifact == first.id else await asyncio.to_thread(self._load, Path(wanted.folder))
        except (PulvinarError, OSError) as error:
            return f"the promoted artifact cannot be used: {error}"
        if found.id != wanted.artifact:
            return f"{wanted.folder} has the artifact {found.id}, not {wanted.artifact}, which was promoted"
        self._artifact.predictor = found
        problem = await self._reloader.try_artifact()
        if problem is not None:
            self._artifact.predictor = before
            return f"the promoted artifact {found.id} cannot be used: {problem}"
        # That of a roll-back is there already; after a promotion it is the one before.
        self._previous_predictor = before
        return None

    async def _keep_alive(self) -> None:
        """Write the blob once a day: one that nobody writes for long is deleted."""
        now_s = self._clock()
        if len(self._promotions.chain) > 1 and now_s - self._promotions.written_s > _KEEP_ALIVE_S:
            changed = msgspec.structs.replace(self._promotions, written_s=now_s)
            await self._store.swap_blob(Blob(PROMOTED, self._version, write_promotions(changed)), now_s)

    def _previous_router(self) -> Router | None:
        """A router with the artifact before the promoted one, of the present cards; None where nothing is promoted."""
        chain, active = self._promotions.chain, self._reloader.current
        if not self._takes_part or len(chain) < 2 or self._artifact.predictor.id != chain[-1].artifact:
            return None
        wanted = chain[-2].artifact
        if self._previous is not None and self._previous[0] is active and self._previous[1] == wanted:
            return self._previous[2]
        predictor = next(
            (each for each in (self._previous_predictor, self._artifact.first) if each and each.id == wanted), None
        )
        router = active.router
        try:
            if predictor is None:
                predictor = self._load(Path(chain[-2].folder))
            if predictor.id != wanted:
                return None
            # Raises where the present cards have profiles that only the promoted artifact reads.
            evidence = predictor.evidence_of(active.evidence, active.profiles)
        except (PulvinarError, OSError):
            return None
        made = Router(router.catalog, router.policies, predictor, evidence, router.plans)
        self._previous_predictor, self._previous = predictor, (active, wanted, made)
        return made

    async def _test(self) -> None:
        waiting, self._waiting = self._waiting, []
        artifact, chain = self._artifact.predictor.id, self._promotions.chain
        answers = await asyncio.to_thread(self._forecast_twice, waiting)
        if not answers:
            return
        promotion = f"{artifact} {chain[-1].since_s}"
        for _ in range(_TRIES):
            blob = await blob_named(self._store, _WATCH) or Blob(_WATCH, 0, b"")
            one_key = not self._has_others()
            watch = await asyncio.to_thread(watched, blob.content, promotion, answers, one_key=one_key)
            if await self._store.swap_blob(Blob(_WATCH, blob.version, watch.to_bytes()), self._clock()):
                why = watch.why_worse(one_key=one_key)
                if why is not None:
                    await self._roll_back(artifact, why)
                return

    def _forecast_twice(self, waiting: list[tuple[float, Lesson]]) -> list[ForecastedTwice]:
        """The judgements with the forecasts of the previous artifact, too."""
        previous, answers = self._previous_router(), []
        for at_s, lesson in waiting:
            if previous is None or lesson.expected is None or lesson.features is None:
                continue
            position, policy = previous.catalog.position(lesson.card), previous.policies.get(lesson.policy)
            if position is not None and policy is not None:
                value = lesson.expected + lesson.vote.residual
                judged = Judged(at_s, lesson.vote.tenant, lesson.expected, value)
                forecast = float(previous.forecast_of(lesson.features, policy).quality[position])
                answers.append(ForecastedTwice(judged, forecast))
        return answers

    async def _roll_back(self, artifact: str, why: str) -> None:
        now_s = self._clock()

        def without(promotions: Promotions) -> Promotions | None:
            is_in_use = len(promotions.chain) > 1 and promotions.chain[-1].artifact == artifact
            return promotions.rolled_back(why, "drift test", now_s) if is_in_use else None

        changed = await change_promotions(self._store, without, now_s)
        if changed is not None:
            self._notify(f"artifact {artifact} rolled back to {changed.chain[-1].artifact}: {why}")
            self._promotions = changed
            await self._follow()


def watched(content: bytes, promotion: str, answers: list[ForecastedTwice], *, one_key: bool = False) -> Watch:
    """The test in a blob after further answers; one of another promotion, or a damaged one, begins anew."""
    try:
        watch = Watch.from_bytes(content) if content else Watch.start(promotion)
    except ValueError as error:
        _LOG.error("the test of the promoted artifact %s; it begins anew", error)
        watch = Watch.start(promotion)
    if watch.promotion != promotion:
        watch = Watch.start(promotion)
    for each in answers:
        watch = watch.add(each, one_key=one_key)
    return watch
