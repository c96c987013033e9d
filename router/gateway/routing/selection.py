"""From a request to the plan that answers it: resolve the model's name, gather the context, decide."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from router.cards import Catalog
from router.cards.schema import Card
from router.decide.exploration.rule import Draw
from router.decide.flags import Flags, parse_flags
from router.decide.goals import LOAD
from router.decide.limits import meets_facts
from router.decide.model_name import DEFAULT_POLICY, RoutingOptions, Target, read_routing_options, read_target
from router.decide.plans.spec import PREFIX, PlanSpec
from router.decide.policy import Policy
from router.dispatch import Affinity
from router.dispatch.call import NO_AFFINITY
from router.dispatch.configured import unsupported_api
from router.dispatch.pool.pool import DeploymentPool
from router.dispatch.providers import native_apis
from router.errors import (
    CallerError,
    ConfigurationError,
    FieldError,
    NoCandidateError,
    PermissionDeniedError,
    PromptFlagError,
)
from router.formats.text import shortened
from router.gateway.config.keys import Key
from router.gateway.config.reload import ActiveConfig
from router.gateway.http.body import runner
from router.gateway.http.surfaces import Surface
from router.gateway.learning.memories import Memories
from router.gateway.routing.availability import AvailabilityMonitor
from router.gateway.routing.plan_names import named_plan, unknown_model
from router.gateway.routing.refusals import UnavailableCards, refused_by
from router.gateway.routing.sessions import Sessions, affinity_of
from router.gateway.routing.trials.canaries import Canaries
from router.gateway.routing.trials.experiments import Experiments, in_arm
from router.gateway.routing.trials.explorer import Eligibility, Explorer
from router.pipeline import Routed
from router.store.state.protocol import LastAnswer, Reservation
from router.trials import ExperimentChoice
from router.types import ComposedPlan, Plan, SinglePlan, known
from router.wire import ChatRequest, read_request
from router.wire.reading.identity import Identity, identity_of

_MAX_NAMED = 5


class GatewayRequest(Struct, frozen=True, eq=False):
    """A client's request: who asks for what, by which surface, under which configuration. `body` is its JSON.

    `stream`: the answer is streamed. `is_large`: reading the body takes long enough for other clients to notice.
    """

    surface: Surface
    active: ActiveConfig
    key: Key | None
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    stream: bool = False
    is_large: bool = False

    @property
    def key_id(self) -> str:
        """The id of the client's key; empty without one."""
        return "" if self.key is None else self.key.id


class Expected(NamedTuple):
    """The forecast of one card."""

    quality: float
    cost_usd: float | None


class Selection(Struct, frozen=True, eq=False):
    """The plan for a request, and the body to carry it out with.

    `chat_body` is the body converted to chat where that has been done. `routed` is None where the client named the card
    itself, `identity` where nothing is remembered of such a request. `affinity` is the server that has the
    conversation. `spec` is the file of a composed plan. `is_batch`: the request can wait. `reserved` is the money that
    is set aside for an explored answer.
    """

    plan: Plan
    body: Mapping[str, Any]
    policy: Policy
    catalog: Catalog
    chat_body: Mapping[str, Any] | None = None
    routed: Routed | None = None
    identity: Identity | None = None
    affinity: Affinity = NO_AFFINITY
    spec: PlanSpec | None = None
    is_batch: bool = False
    reserved: Reservation | None = None

    @property
    def card(self) -> Card:
        """The card that the plan calls first."""
        return self.catalog.named(self.plan.card)

    def expected(self, card: str) -> Expected | None:
        """The forecast of a card; None where nothing was forecast."""
        position = None if self.routed is None else self.catalog.position(card)
        if self.routed is None or position is None:
            return None
        forecast = self.routed.forecast
        return Expected(forecast.quality.item(position), known(forecast.cost_usd.item(position)))


class Selector:
    """Selects by the model's name, the routing options, what the key allows, and what can be called now."""

    def __init__(
        self,
        availability: AvailabilityMonitor,
        pool: DeploymentPool,
        sessions: Sessions,
        canaries: Canaries,
        memories: Memories,
        explorer: Explorer,
        experiments: Experiments,
    ) -> None:
        self._availability, self._pool, self._sessions, self._canaries = availability, pool, sessions, canaries
        self._memories, self._explorer, self._experiments = memories, explorer, experiments
        self._reasons = UnavailableCards()

    @property
    def callable_cards(self) -> int:
        """How many cards can be called now."""
        return self._availability.callable_cards

    async def select(self, request: GatewayRequest, record_id: str = "") -> Selection:
        """The plan for a request. Raises CallerError, or ConfigurationError where no suitable card can be called.

        Only what is answered and recorded, and so has a `record_id`, is explored.
        """
        target = read_target(request.body.get("model"), request.active.aliases_of(request.key))
        options = read_routing_options(request.headers, request.body)
        if target.card is not None:
            return await self._named(request, target.card, options)
        return await self._routed(request, target, options, record_id)

    async def _named(self, request: GatewayRequest, name: str, options: RoutingOptions) -> Selection:
        router = request.active.router
        position = router.catalog.position(name)
        card = None if position is None else router.catalog[position]
        if position is None or card is None or not _may_name(request, card, position):
            raise unknown_model(_asked(request, name), request.active.keys.nameable(request.key, router.catalog.ids))
        if card.withheld is not None:
            raise FieldError("model", f'is "{name}", which is never called: its card {card.withheld}')
        if options.places:
            problem = f'needs the model name auto; "{name}" names one card, which leaves nothing to choose'
            raise FieldError(options.places[0], problem)
        if unsupported := unsupported_api(card, request.surface.api):
            raise FieldError("model", f'is "{name}", which cannot answer this: {unsupported}')
        _check_callable(self._availability.unconfigured, card.id)
        identity, affinity = None, NO_AFFINITY
        if len(self._pool.deployments_of(card)) > 1 or request.surface.api == "responses":
            identity = identity_of(request.body, request.headers, options.session).at_card(card.id)
            affinity = affinity_of(identity, await self._sessions.find(identity, request.key_id))
        policy = router.policies.named(DEFAULT_POLICY)
        plan = SinglePlan(card.id)
        return Selection(
            plan, request.body, policy, router.catalog, identity=identity, affinity=affinity, is_batch=options.batch
        )

    async def _routed(
        self, request: GatewayRequest, target: Target, options: RoutingOptions, record_id: str
    ) -> Selection:
        if request.surface.api == "embeddings":
            raise FieldError("model", "must name a card: vectors of different models cannot be compared")
        policy = _policy(request, target, options)
        named = None if target.plan is None else named_plan(request, target.plan, policy)
        flags = options.added_to(parse_flags(target.flag_text))
        reading = request, options.session, policy.id
        # Awaited only where a thread does it: most requests are read at once.
        chat, identity = await asyncio.to_thread(_read, *reading) if request.is_large else _read(*reading)
        key_id = request.key_id
        # A client that names a plan gets that plan.
        choice: ExperimentChoice | None = None
        if named is None:
            policy, choice = self._experiments.assigned(request.active, policy, request.key, identity.session)
        last = await self._sessions.find(identity, key_id)
        kept = None if last is None else last.card
        elsewhere = self._without_its_state(request, identity, last) if identity.stored.bound else {}
        catalog = request.active.router.catalog
        canaries: tuple[str, ...] = ()
        if catalog.canaries:
            canaries = self._canaries.admitted(catalog, identity.session, key_id, kept, bound=bool(elsewhere))
        # Read here: where the decision runs in a thread, the event loop changes the pool meanwhile.
        cooling, load = self._pool.cooling_down(key_id), self._load(request, policy, flags)
        # To split a prompt and to score its parts takes much longer than a decision about the whole.
        in_thread = request.is_large or request.active.router.may_split(policy, named)
        decide = functools.partial(
            self._decide, request, chat, flags, policy, named, kept, cooling, elsewhere, load, canaries, options.batch
        )
        reserved: Reservation | None = None
        try:
            if policy.exploration is None:
                routed = await asyncio.to_thread(decide, None) if in_thread else decide(None)
            else:
                has_budget = request.key is not None and request.key.budget_usd_per_day is not None
                continues = last is not None or identity.continues
                routed, reserved = await self._explorer.explored(
                    policy,
                    Eligibility(record_id, not options.explore, continues, has_budget),
                    request.surface.api,
                    catalog,
                    functools.partial(runner(in_thread), decide),
                )
        except (NoCandidateError, PromptFlagError):
            keys = request.active.keys
            if request.key is None or keys.hidden(request.key).issuperset(keys.denied(request.key)):
                raise
            # The explanation would name cards that the key may not use.
            limits = f" and of {flags}" if flags.limits else ""
            problem = f'the key "{request.key.id}" allows no card that meets the limits of the request{limits}'
            raise PermissionDeniedError(problem) from None
        routed, decided = in_arm(routed, choice), routed.request
        affinity = affinity_of(identity, last)
        plan, body = routed.decision.plan, decided.body
        spec = request.active.router.plans.named(plan.id) if isinstance(plan, ComposedPlan) else None
        return Selection(
            plan, body, policy, catalog, decided.chat_body, routed, identity, affinity, spec, options.batch, reserved
        )

    def _without_its_state(
        self, request: GatewayRequest, identity: Identity, last: LastAnswer | None
    ) -> Mapping[str, str]:
        """Why other cards than that of `last` cannot answer a request that is bound to what it made; else empty.

        Raises FieldError where that card, or its server, is no longer there.
        """
        bound = identity.stored.bound
        if not bound or last is None:
            return {}
        catalog = request.active.router.catalog
        places = {card.id: self._pool.deployments_of(card) for card in catalog}
        able = {id_ for id_, servers in places.items() if any(each.server == last.server for each in servers)}
        if not able and len(places.get(last.card, ())) == 1:
            # An edited card may still have the same account.
            able = {last.card}
        if not able:
            problem = f'refers to what a server of the card "{last.card}" made, which is no longer configured'
            raise FieldError(bound, f"{problem}; send the whole conversation instead")
        reason = f'`{bound}` refers to what only a server of the card "{last.card}" has'
        return {id_: reason for id_ in places if id_ not in able}

    def _decide(
        self,
        request: GatewayRequest,
        chat: ChatRequest,
        flags: Flags,
        policy: Policy,
        plan: str | None,
        kept: str | None,
        cooling_down: Mapping[str, str],
        elsewhere: Mapping[str, str],
        load: Mapping[str, float],
        canaries: tuple[str, ...],
        is_batch: bool,
        draw: Draw | None,
    ) -> Routed:
        router = request.active.router
        today, key, keys = datetime.datetime.now(datetime.UTC).date(), request.key, request.active.keys
        denied = {} if key is None else keys.denied(key)
        hidden = keys.hidden(key)
        decide = functools.partial(
            router.route,
            chat,
            flags=flags,
            policy=policy,
            today=today,
            only_narrows=key is not None and key.only_narrows,
            plan=plan,
            load=load,
            hidden=hidden,
            memory=self._memories.view_for(request.key_id),
        )

        def route(unavailable: Mapping[str, str]) -> Routed:
            unavailable = {**unavailable, **elsewhere} if elsewhere else unavailable
            return decide(unavailable=unavailable, kept=kept, canaries=canaries, is_batch=is_batch, draw=draw)

        native = bool(chat.native_only)
        refused = refused_by(router.catalog, request.surface.api, chat)
        if cooling_down:
            # Where only these cards are left, the pool tries one of them, or says when to ask again.
            with contextlib.suppress(NoCandidateError):
                return route(_added(self._unavailable_to(request, cooling_down, native=native), refused))
        unavailable = _added(self._unavailable_to(request, {}, native=native), refused)
        try:
            return route(unavailable)
        except NoCandidateError:
            if elsewhere or not unavailable:
                raise
        # Raises NoCandidateError where the limits leave no card even with all cards available.
        ignoring_availability = decide(unavailable=denied)
        decided = ignoring_availability.decision
        candidates = [each.card for each in decided.candidates if not each.card.startswith(PREFIX)]
        if isinstance(decided.plan, ComposedPlan):
            candidates = [*decided.plan.members, *candidates]
        api = request.surface.api
        if chat.native_only and not any(api in native_apis(router.catalog.named(card)) for card in candidates):
            raise CallerError(f"{chat.native_only}; no eligible model supports {api} natively")
        if refused.keys() >= set(candidates):
            raise CallerError(refused[candidates[0]])
        _check_callable(unavailable, *candidates)
        return ignoring_availability

    def _load(self, request: GatewayRequest, policy: Policy, flags: Flags) -> Mapping[str, float]:
        """How busy servers are, where the decision may weigh that."""
        may_weigh = policy.goals.get(LOAD) or flags.goals.get(LOAD) or policy.prompt_flags
        return self._pool.load(request.active.router.catalog) if may_weigh else {}

    def _unavailable_to(
        self, request: GatewayRequest, cooling_down: Mapping[str, str], *, native: bool
    ) -> Mapping[str, str]:
        """Why cards cannot answer such a request now."""
        return self._reasons.of(
            request.active,
            request.key,
            request.surface.api,
            self._availability.unavailable,
            cooling_down,
            native=native,
        )


def _asked(request: GatewayRequest, name: str) -> str:
    """What the client wrote: the target of an alias may be a card that it must not learn of."""
    asked = request.body.get("model")
    return asked if isinstance(asked, str) else name


def _may_name(request: GatewayRequest, card: Card, position: int) -> bool:
    """Whether the key allows a request to name the card at this position. Embeddings can only name one, so a key with
    policies reaches the cards whose facts one of them allows.
    """
    key, router, keys = request.key, request.active.router, request.active.keys
    if key is None or keys.allows_naming(key, card.id):
        return True
    if request.surface.api != "embeddings" or not keys.allows(key, card.id):
        return False
    today = datetime.datetime.now(datetime.UTC).date()
    return any(
        meets_facts(policy.flags.limits, router.catalog, position, today, unknown_passes=policy.unknown == "allow")
        for policy in router.policies.values()
        if key.allows_policy(policy.id)
    )


def _read(request: GatewayRequest, session: str, policy: str) -> tuple[ChatRequest, Identity]:
    chat = read_request(request.surface.api, request.body)
    return chat, identity_of(request.body, request.headers, session, policy)


def _policy(request: GatewayRequest, target: Target, options: RoutingOptions) -> Policy:
    default = DEFAULT_POLICY if request.key is None else request.key.default_policy
    name: str = options.policy or target.policy or default
    if request.key is not None and not request.key.allows_policy(name):
        raise unknown_model(f"auto/{name}")
    return request.active.router.policies.named(name)


def _added(unavailable: Mapping[str, str], refused: Mapping[str, str]) -> Mapping[str, str]:
    return {**unavailable, **refused} if refused else unavailable


def _check_callable(problems: Mapping[str, str], *cards: str) -> None:
    reasons = list(dict.fromkeys(problems[card] for card in cards if card in problems))
    if reasons:
        problem = f"no suitable model can be called: {shortened(reasons, _MAX_NAMED, '; ')}"
        raise ConfigurationError(f"{problem}. `route doctor` shows what is missing")
