"""From a request to the cards that are to answer it."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from router.cards import Catalog
from router.cards.schema import Card
from router.decide.model_name import (
    DEFAULT_POLICY,
    RoutingOptions,
    Target,
    joined_flags,
    read_routing_options,
    read_target,
)
from router.decide.policy import Policy
from router.dispatch.deployments import DeploymentPool
from router.dispatch.dispatcher import unsupported_api
from router.dispatch.providers import native_apis
from router.errors import CallerError, ConfigurationError, FieldError, NoCandidateError
from router.formats.json import encodable
from router.gateway.config.keys import Key
from router.gateway.config.reload import ActiveConfig
from router.gateway.endpoints.models import unknown_model
from router.gateway.http.surfaces import Reading, Surface
from router.gateway.routing.availability import AvailabilityMonitor
from router.pipeline import Routed
from router.types import Api, known
from router.wire.chat.request import ChatRequest

_NAMED_AT_MOST = 5


class GatewayRequest(Struct, frozen=True, eq=False):
    """A client's request, read: who asks for what, in which protocol."""

    surface: Surface
    loaded: ActiveConfig
    key: Key | None
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    stream: bool = False
    is_large: bool = False


class Expected(NamedTuple):
    """The forecast of one card."""

    quality: float
    cost_usd: float | None


class Selection(Struct, frozen=True, eq=False):
    """The cards to call, one after the other, and the body to call them with. `routed` is None where the client named
    the card itself, `session` where the request belongs to no conversation.
    """

    cards: tuple[Card, ...]
    body: Mapping[str, Any]
    policy: Policy
    catalog: Catalog
    routed: Routed | None = None
    session: str | None = None

    def expected(self, card: str) -> Expected | None:
        """What the forecast says of a card; None where nothing was forecast."""
        position = None if self.routed is None else self.catalog.position(card)
        if self.routed is None or position is None:
            return None
        forecast = self.routed.forecast
        return Expected(float(forecast.quality[position]), known(forecast.cost_usd[position]))


class Selector:
    """Chooses by the model's name, the wishes beside it, what the key may use and what can be called now.

    `card_of` gives the card that answered last in a key's conversation.
    """

    def __init__(
        self, watch: AvailabilityMonitor, fleet: DeploymentPool, card_of: Callable[[str, str], str | None]
    ) -> None:
        self._watch, self._fleet, self._card_of = watch, fleet, card_of
        self._unavailable: dict[tuple[Api, bool, str], tuple[Any, Mapping[str, str]]] = {}

    def choose(self, asked: GatewayRequest) -> Selection:
        """The cards for a request. Raises CallerError, or ConfigurationError where none that fits can be called."""
        target = read_target(asked.body.get("model"), asked.loaded.config.aliases)
        wishes = read_routing_options(asked.headers, asked.body)
        if target.card is None:
            return self._routed(asked, target, wishes)
        return self._named(asked, target.card, wishes)

    def _named(self, asked: GatewayRequest, name: str, wishes: RoutingOptions) -> Selection:
        catalog = asked.loaded.router.catalog
        position = catalog.position(name)
        card = None if position is None else catalog[position]
        if card is None or (asked.key is not None and not asked.key.allows_card(card.id)):
            raise unknown_model(name, catalog.ids, asked.key)
        if wishes.places:
            problem = f'needs the model name auto; "{name}" names one card, which leaves nothing to choose'
            raise FieldError(wishes.places[0], problem)
        if unserved := unsupported_api(card, asked.surface.api):
            raise FieldError("model", f'is "{name}", which cannot answer this: {unserved}')
        _check_callable(self._watch.unconfigured, card.id)
        return Selection((card,), asked.body, asked.loaded.router.policies.named(DEFAULT_POLICY), catalog)

    def _routed(self, asked: GatewayRequest, target: Target, wishes: RoutingOptions) -> Selection:
        if asked.surface.api == "embeddings":
            raise FieldError("model", "must name a card: vectors of different models cannot be compared")
        policy = self._policy(asked, target, wishes)
        reading = asked.surface.read(asked.body)
        session = _session(reading.request, wishes)
        goes_on = bool(wishes.session) or len(reading.request.human_turns) > 1
        kept = self._card_of(session, "" if asked.key is None else asked.key.id) if goes_on else None
        # The nearer to the single request, the stronger: an application's settings often fix the name.
        flags = joined_flags(target.flags, wishes.flags)
        routed = self._route(asked, reading, flags, policy, kept)
        plan = routed.decision.plan
        catalog = asked.loaded.router.catalog
        cards = tuple(catalog.named(card) for card in (plan.card, *plan.fallbacks))
        return Selection(cards, routed.request.body, policy, catalog, routed, session)

    def _policy(self, asked: GatewayRequest, target: Target, wishes: RoutingOptions) -> Policy:
        own = DEFAULT_POLICY if asked.key is None else asked.key.default_policy
        name: str = wishes.policy or target.policy or own
        if asked.key is not None and not asked.key.allows_policy(name):
            raise unknown_model(f"auto/{name}", (), None)
        return asked.loaded.router.policies.named(name)

    def _route(self, asked: GatewayRequest, reading: Reading, flags: str, policy: Policy, kept: str | None) -> Routed:
        today = datetime.datetime.now(datetime.UTC).date()
        router, native = asked.loaded.router, bool(reading.native)

        def route(unavailable: Mapping[str, str]) -> Routed:
            return router.route(
                reading.request, flags=flags, policy=policy, unavailable=unavailable, today=today, kept=kept
            )

        if resting := self._fleet.resting():
            # Where only resting cards are left, the dispatcher tries one of them, or says when to come back.
            with contextlib.suppress(NoCandidateError):
                return route(self._unavailable_to(asked, resting, native=native))
        unavailable = self._unavailable_to(asked, {}, native=native)
        try:
            return route(unavailable)
        except NoCandidateError:
            if not unavailable:
                raise
        # Where the limits leave no card either way, this says so; else what is missing gets named.
        wished = router.route(reading.request, flags=flags, policy=policy, today=today)
        candidates = [candidate.card for candidate in wished.decision.candidates]
        if reading.native and not any(
            asked.surface.api in native_apis(router.catalog.named(card)) for card in candidates
        ):
            raise CallerError(f"{reading.native}; no model that may answer speaks {asked.surface.api} itself")
        _check_callable(unavailable, *candidates)
        return wished

    def _unavailable_to(self, asked: GatewayRequest, resting: Mapping[str, str], *, native: bool) -> Mapping[str, str]:
        """Why cards cannot answer a request such as this now. The same mapping as long as nothing changes."""
        api, key = asked.surface.api, asked.key
        place = api, native, "" if key is None else key.id
        basis = asked.loaded, self._watch.unavailable, resting
        known = self._unavailable.get(place)
        if known is not None and known[0][0] is basis[0] and known[0][1] is basis[1] and known[0][2] == basis[2]:
            return known[1]
        reasons = {**basis[2], **basis[1]}
        for card in asked.loaded.router.catalog:
            if problem := _why_not(card, api, native=native):
                reasons[card.id] = problem
        if key is not None:
            reasons |= asked.loaded.keys.denied(key)
        self._unavailable[place] = basis, reasons
        return reasons


def _why_not(card: Card, api: Api, *, native: bool) -> str | None:
    if native and api not in native_apis(card):
        return f"its upstream does not speak {api}, and this request cannot be converted"
    return unsupported_api(card, api)


def _check_callable(faults: Mapping[str, str], *cards: str) -> None:
    reasons = list(dict.fromkeys(faults[card] for card in cards if card in faults))
    if reasons:
        more = f" (and {len(reasons) - _NAMED_AT_MOST} more)" if len(reasons) > _NAMED_AT_MOST else ""
        problem = f"no model that fits can be called: {'; '.join(reasons[:_NAMED_AT_MOST])}{more}"
        raise ConfigurationError(f"{problem}. `route doctor` shows what is missing")


def _session(request: ChatRequest, wishes: RoutingOptions) -> str:
    """The conversation that the request belongs to: as the client says, else known by how it began."""
    if wishes.session:
        return f"said:{wishes.session}"
    head = hashlib.blake2b(digest_size=16)
    for turn in request.turns:
        head.update(encodable(f"{turn.role}\n{len(turn.text)}\n{turn.text}\n").encode())
        if turn.role == "user":
            break
    return head.hexdigest()
