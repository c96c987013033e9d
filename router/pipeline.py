"""The stages in order, on one screen."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from router.cards.catalog import Catalog
from router.decide.engine import RequestContext, decide
from router.decide.flags import parse_flags
from router.decide.policy import Policies, Policy
from router.decide.prompt_flags import extract_flags
from router.perceive.features import Perceiver
from router.perceive.predictor import Evidence, Predictor
from router.types import Decision, Features, Forecast
from router.wire.chat.request import ChatRequest


class Routed(Struct, frozen=True):
    """A decision with all that it was made from, and the request as it goes upstream: without the flags that stood in
    its prompt.
    """

    decision: Decision
    request: ChatRequest
    forecast: Forecast
    features: Features
    policy: Policy
    circumstances: RequestContext


class Router:
    """Perceive, then decide. Holds the catalogue, the policies, the predictor and what probes told of cards; keeps no
    state between requests.
    """

    def __init__(
        self,
        catalog: Catalog,
        policies: Policies,
        predictor: Predictor,
        evidence: Mapping[str, Evidence] | None = None,
    ) -> None:
        self.catalog, self.policies, self.predictor = catalog, policies, predictor
        self.evidence = evidence or {}
        self._perceive = Perceiver(predictor.encoder)
        self._forecasts = predictor.bind(catalog, self.evidence)

    @classmethod
    def default(cls, cards: Path | None = None, policies: Path | None = None, artifact: Path | None = None) -> Router:
        """The router that the command line uses: from these folders, or the default ones where one is left out.

        The defaults are `./model_cards` and `./policies` where they exist, else those of the package, and the shipped
        predictor. Raises ConfigurationError.
        """
        from router.loading import load_router

        return load_router(cards, policies, artifact)

    def route(
        self,
        request: ChatRequest,
        *,
        flags: str = "",
        policy: str | Policy = "default",
        unavailable: Mapping[str, str] | None = None,
        today: datetime.date | None = None,
        kept: str | None = None,
    ) -> Routed:
        """Choose a card for `request`.

        `unavailable` maps card ids to why they cannot be called now; `today` is what `age` limits count from;
        `kept` is the card that has answered the conversation so far.
        Raises CallerError for flags that cannot be read or met.
        """
        chosen = policy if isinstance(policy, Policy) else self.policies.named(policy)
        wanted = parse_flags(flags)
        if chosen.prompt_flags:
            request, spoken = extract_flags(request)
            wanted = spoken.overridden_by(wanted)
        features = self._perceive(request)
        forecast = self._forecasts(features)
        circumstances = RequestContext(unavailable or {}, today, kept)
        decision = decide(self.catalog, features, forecast, chosen, wanted, self.predictor.id, circumstances)
        return Routed(decision, request, forecast, features, chosen, circumstances)
