"""The exploration of a running gateway: which requests may explore, and what that may cost."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct

from router.cards import Catalog
from router.decide.exploration.rule import MONEY_USED, SHARE_USED, UNREACHABLE, Draw
from router.decide.policy import Policy
from router.dispatch.costs import ASSUMED_OUTPUT_TOKENS, Expected, bounds_of
from router.errors import BudgetError
from router.perceive.forecaster import TAIL_95
from router.pipeline import Routed
from router.store.state.protocol import Claim, Reservation, StateError, StateStore
from router.types import Api, known

_LOG = logging.getLogger(__name__)
ACCOUNT = "explore:"
"""What the ids of the accounts begin with whose budgets exploration spends: no key's id has a colon."""
MOST_SAVED = 10.0
"""How many requests a worker may explore at once that it has not explored before."""

_CLOSED_S = 60.0
_EXCLUDED, _CONTINUES = "the request excludes it", "the conversation goes on"


class _Allowance:
    """What a policy may still explore: `requests` of this worker, and nothing before `closed_until_s`."""

    def __init__(self) -> None:
        self.requests, self.closed_until_s, self.why = 0.0, 0.0, ""


class Eligibility(Struct, frozen=True):
    """What decides whether a request may explore: `id` is its record's, empty for a dry run, which draws nothing.
    `excluded`: its client wants none. `continues`: it belongs to a conversation. `has_budget`: its key has a budget,
    which exploration must not strain.
    """

    id: str
    excluded: bool
    continues: bool
    has_budget: bool


class Explorer:
    """Draws numbers, and keeps the share and the money of each policy.

    Every request that the policy decides adds `share` to what a worker may explore, and every explored one takes 1. The
    money is a daily budget in the state that workers and gateways share, of which the most that an answer can cost is
    reserved before it is asked for.
    """

    def __init__(self, state: StateStore, clock: Callable[[], float] = time.time, seed: bytes = b"") -> None:
        """`seed` is secret by default, so that no client can choose ids that are explored."""
        self._state, self._clock = state, clock
        self._seed = seed or secrets.token_bytes(16)
        self._allowances: dict[str, _Allowance] = {}

    def draw(self, policy: Policy, eligibility: Eligibility) -> Draw | None:
        """What the decision about a request needs; None where the policy does not explore."""
        rule = policy.exploration
        if rule is None:
            return None
        if not eligibility.id:
            return Draw(no_dearer=eligibility.has_budget, prevented=_why_not(eligibility))
        allowance = self._allowances.setdefault(policy.id, _Allowance())
        allowance.requests = min(allowance.requests + rule.share, MOST_SAVED)
        prevented = _why_not(eligibility)
        if not prevented and self._clock() < allowance.closed_until_s:
            prevented = allowance.why
        if not prevented and allowance.requests < 1.0:
            prevented = SHARE_USED
        if prevented:
            return Draw(prevented=prevented)
        number = self._number(eligibility.id)
        if number < rule.share:
            # Taken at once: other requests are decided before this one is.
            allowance.requests -= 1.0
        return Draw(number, no_dearer=eligibility.has_budget)

    async def explored(
        self,
        policy: Policy,
        eligibility: Eligibility,
        api: Api,
        catalog: Catalog,
        decide: Callable[[Draw | None], Awaitable[Routed]],
    ) -> tuple[Routed, Reservation | None]:
        """The decision about a request, and the money that is set aside where it explores."""
        draw = self.draw(policy, eligibility)
        try:
            routed = await decide(draw)
        except BaseException:
            self._give_back(policy, draw)
            raise
        explored = None if routed.decision.exploration is None else routed.decision.exploration.explored
        if draw is None or explored is None:
            self._give_back(policy, draw)
            return routed, None
        reservation = await self.reserve(policy, most_usd(routed, catalog, explored, api))
        if reservation is not None:
            return routed, reservation
        self._give_back(policy, draw)
        return await decide(msgspec.structs.replace(draw, refused=True)), None

    def _give_back(self, policy: Policy, draw: Draw | None) -> None:
        """Return the allowance that `draw` took, since no card was explored."""
        rule = policy.exploration
        if rule is not None and draw is not None and draw.number is not None and draw.number < rule.share:
            allowance = self._allowances[policy.id]
            allowance.requests = min(allowance.requests + 1.0, MOST_SAVED)

    async def reserve(self, policy: Policy, most_usd: float) -> Reservation | None:
        """Set the money aside that an explored answer may cost; None where the policy has no more today."""
        rule = policy.exploration
        if rule is None:
            return None
        claim = Claim(f"{ACCOUNT}{policy.id}", rule.dollars_per_day, most_usd)
        reserving = asyncio.ensure_future(self._state.reserve(claim, self._clock()))
        try:
            return await asyncio.shield(reserving)
        except (BudgetError, StateError) as error:
            allowance = self._allowances[policy.id]
            allowance.closed_until_s = self._clock() + _CLOSED_S
            allowance.why = MONEY_USED if isinstance(error, BudgetError) else UNREACHABLE
            return None
        except asyncio.CancelledError:
            # What was reserved for a client that has left meanwhile must not stay reserved.
            reserving.add_done_callback(self._release)
            raise

    def _release(self, reserving: asyncio.Future[Reservation]) -> None:
        if not reserving.cancelled() and reserving.exception() is None:
            _RELEASING.add(task := asyncio.ensure_future(self._state.settle(reserving.result(), 0.0)))
            task.add_done_callback(_released)

    def _number(self, id_: str) -> float:
        digest = hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), key=self._seed, digest_size=6).digest()
        return int.from_bytes(digest, "big") / 2**48


# The event loop keeps no references to its tasks.
_RELEASING: set[asyncio.Future[None]] = set()


def most_usd(routed: Routed, catalog: Catalog, name: str, api: Api) -> float:
    """The most that the answer of the card `name` to a decided request may cost."""
    position = catalog.ids.index(name)
    features, written = routed.features, known(routed.forecast.written_tokens[position])
    length = ASSUMED_OUTPUT_TOKENS if written is None else written
    expected = Expected(features.input_tokens, length, length * TAIL_95)
    return bounds_of(catalog[position], api, routed.request.body, expected).worst_usd


def _released(task: asyncio.Future[None]) -> None:
    _RELEASING.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        # It stays reserved until it expires, and counts as spent then.
        _LOG.warning("money for exploration stays reserved: %s", error)


def _why_not(eligibility: Eligibility) -> str:
    return _EXCLUDED if eligibility.excluded else _CONTINUES if eligibility.continues else ""
