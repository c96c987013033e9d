"""The stages of routing in order: read flags, perceive, forecast, decide."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from router.cards.catalog import Catalog
from router.cards.schema import Belief
from router.decide.engine import RequestContext, decide
from router.decide.exploration.rule import Draw
from router.decide.flags import Flags, parse_flags
from router.decide.narrowing import cards_above
from router.decide.plans.catalog import NO_PLANS, Plans
from router.decide.plans.spec import PREFIX, Segments
from router.decide.policy import ALL_KINDS, Policies, Policy
from router.decide.prompt_flags import extract_flags, extract_own_lines
from router.errors import NoCandidateError, PromptFlagError
from router.perceive.explanation import families_of
from router.perceive.features import Perceiver
from router.perceive.forecaster import Forecaster
from router.perceive.memory.corrections import NO_CORRECTIONS, NO_MEMORY, Corrections, MemoryView, corrected
from router.perceive.predictor import Evidence, Predictor
from router.types import Decision, Features, Forecast, SinglePlan
from router.wire.chat.request import ChatRequest

_MOST_PARTS = 17
"""One more than any plan may have calls: then it is rejected for that."""


class Routed(Struct, frozen=True):
    """A decision and its inputs. `request` is the request to send upstream: without the flags in its prompt."""

    decision: Decision
    request: ChatRequest
    forecast: Forecast
    features: Features
    policy: Policy
    request_context: RequestContext
    plans: Plans = NO_PLANS
    corrections: Corrections = NO_CORRECTIONS


class Router:
    """Chooses a card for a request. Keeps no state between requests."""

    def __init__(
        self,
        catalog: Catalog,
        policies: Policies,
        predictor: Predictor,
        evidence: Mapping[str, Evidence] | None = None,
        plans: Plans = NO_PLANS,
    ) -> None:
        """`evidence` are the probe outcomes by card id, as the forecasts use them; `plans` those that a policy or a
        request may name.
        """
        self.catalog, self.policies, self.predictor = catalog, policies, predictor
        self.evidence, self.plans = evidence or {}, plans
        self._perceive = Perceiver(predictor.encoder, predictor.reader)
        beliefs = (policy.beliefs for policy in policies.values())
        self._without_stages: dict[tuple[str, tuple[str, ...]], tuple[Policy, Policy]] = {}
        # Bound here, so that no request waits for it.
        self._bound = [(each, *self._bind(each)) for each in ({}, *filter(None, beliefs))]

    @classmethod
    def default(cls, cards: Path | None = None, policies: Path | None = None, artifact: Path | None = None) -> Router:
        """The router of the command line, from these folders; None means the default folder.

        The defaults are `./model_cards` and `./policies` where they exist, else those of the package, and the predictor
        of the package; see `router.settings`. Raises ConfigurationError.
        """
        from router.loading import load_router

        return load_router(cards, policies, artifact)

    def _bind(self, beliefs: Mapping[str, Belief]) -> tuple[Catalog, Forecaster]:
        catalog = self.catalog.with_beliefs(beliefs)
        return catalog, self.predictor.bind(catalog, self.evidence)

    def _of(self, policy: Policy) -> tuple[Catalog, Forecaster]:
        for beliefs, catalog, bound in self._bound:
            if beliefs == policy.beliefs:
                return catalog, bound
        return self._bind(policy.beliefs)

    def catalog_of(self, policy: Policy) -> Catalog:
        """The cards with the beliefs that `policy` states, as its forecasts use them."""
        return self._of(policy)[0]

    def forecast_of(self, features: Features, policy: Policy) -> Forecast:
        """What is expected of every card, without corrections of the error memory."""
        return self._of(policy)[1](features)

    def forecast(self, request: ChatRequest, policy: Policy, *, continues: bool = False) -> tuple[Features, Forecast]:
        """What is known about a request, and what is expected of every card, without a decision.

        `continues`: a card has answered the conversation before.
        """
        features = self._perceive(request, continues=continues)
        return features, self.forecast_of(features, policy)

    def route(
        self,
        request: ChatRequest,
        *,
        flags: str | Flags = "",
        policy: str | Policy = "default",
        unavailable: Mapping[str, str] | None = None,
        today: datetime.date | None = None,
        kept: str | None = None,
        is_typed: bool = False,
        only_narrows: bool = False,
        plan: str | None = None,
        load: Mapping[str, float] | None = None,
        canaries: tuple[str, ...] = (),
        is_batch: bool = False,
        hidden: frozenset[str] = frozenset(),
        memory: MemoryView = NO_MEMORY,
        draw: Draw | None = None,
    ) -> Routed:
        """Choose a card for `request`, or a plan of the policy.

        `flags` override those in the prompt, which may only narrow the choice (`router.decide.narrowing`), as `flags`
        do where `only_narrows`. `is_typed`: the operator wrote the prompt, and its flags count like those of the
        command line. `unavailable` maps the ids of cards that cannot be called now to the reason; `today` is the date
        from which `age` is counted; `kept` is the id of the card that answered the conversation so far; `plan` is the
        plan that the client named, with or without `plan/`; `load` is how busy servers are (`RequestContext`);
        `canaries` are the ids of the canaries that may take this request; `is_batch`: the request can wait; `hidden`
        are the ids of those unavailable cards that do not exist for the client; `memory` is what the error memory says,
        which counts where the policy applies it; `draw` is what the policy's exploration needs, which draws nothing
        where flags in the prompt narrow the choice. Raises CallerError for flags that cannot be read, and for limits
        that no card meets.
        """
        applied = policy if isinstance(policy, Policy) else self.policies.named(policy)
        plan = None if plan is None else plan.removeprefix(PREFIX)
        requested = parse_flags(flags) if isinstance(flags, str) else flags
        in_prompt = Flags()
        if is_typed:
            request, typed = extract_flags(request)
            requested = typed.overridden_by(requested)
        elif applied.prompt_flags:
            request, in_prompt = extract_own_lines(request, applied.overrides)
        if only_narrows:
            in_prompt, requested = in_prompt.overridden_by(requested), Flags()
        features = self._perceive(request, continues=kept is not None)
        applied, off = self.with_stages(applied, features) if applied.stages_off else (applied, ())
        if self.may_split(applied, plan):
            # Imported here because it compiles long patterns, which most policies have no use for.
            from router.compose.split import split_prompt

            if len(parts := split_prompt(request.human_turns[-1])) > 1:
                features = self._perceive.with_parts(features, parts[:_MOST_PARTS])
        corrections, forecast = self._corrections(applied, features, memory), self.forecast_of(features, applied)
        if corrections is not NO_CORRECTIONS:
            forecast = corrected(forecast, self.catalog, corrections)
        if draw is not None and (in_prompt.limits or in_prompt.goals):
            draw = Draw(prevented="flags in the prompt narrow the choice")
        request_context = RequestContext(
            unavailable or {}, today, kept, plan, load or {}, canaries, is_batch, hidden, draw
        )

        def decided(by: Policy, flags: Flags, context: RequestContext) -> Decision:
            return decide(self.catalog, features, forecast, by, flags, self.predictor.id, context, self.plans)

        decision = decided(applied, requested, request_context)
        if in_prompt.limits or in_prompt.goals:
            narrow, above = self._narrowed(applied, decision, forecast, features)
            unavailable = {**request_context.unavailable, **above}
            request_context = msgspec.structs.replace(request_context, unavailable=unavailable)
            try:
                decision = decided(narrow, in_prompt.overridden_by(requested), request_context)
            except NoCandidateError as error:
                raise PromptFlagError(f"the flags {in_prompt} can only narrow the choice: {error}") from None
            applied = narrow
        if corrections.version or off:
            decision = msgspec.structs.replace(decision, memory=corrections.version, stages_off=off)
        return Routed(decision, request, forecast, features, applied, request_context, self.plans, corrections)

    def with_stages(self, policy: Policy, features: Features) -> tuple[Policy, tuple[str, ...]]:
        """The policy without the stages that it turns off for prompts of this kind, and these."""
        if not policy.stages_off:
            return policy, ()
        off = policy.off_for(kind_of(self.predictor, features))
        if not off:
            return policy, ()
        # The same object for the same kinds of prompts, since records refer to what decided.
        known = self._without_stages.get((policy.id, off))
        if known is None or known[0] is not policy:
            known = self._without_stages[policy.id, off] = policy, policy.without_stages(off)
        return known[1], off

    def _corrections(self, policy: Policy, features: Features, memory: MemoryView) -> Corrections:
        if policy.learning != "apply" or not memory:
            return NO_CORRECTIONS
        has_heads = policy.fast_heads == "on"
        return memory.corrections(features, self.predictor.topics, self.believed(policy), heads=has_heads)

    def believed(self, policy: Policy) -> frozenset[str]:
        """The ids of the cards of which the policy states beliefs: the errors of other forecasts say nothing there."""
        return frozenset(self.catalog.named(name).id for name in policy.beliefs)

    def may_split(self, policy: Policy, plan: str | None) -> bool:
        """Whether a plan that the policy or the client names by its id splits prompts, which takes long for a long
        one.
        """
        named = policy.plans if plan is None else (plan,)
        return bool(named) and any(isinstance(self.plans.get(name), Segments) for name in named)

    def _narrowed(
        self, policy: Policy, decision: Decision, forecast: Forecast, features: Features
    ) -> tuple[Policy, Mapping[str, str]]:
        """What flags that only narrow may choose among: no plan but the chosen one, and no card above all of its own.

        The policy, and the ids of the cards above with the reasons.
        """
        plan = decision.plan
        if isinstance(plan, SinglePlan):
            # A canary stands for the card after it.
            is_canary = decision.canary is not None and decision.canary.taken
            card = decision.candidates[1].card if is_canary else plan.card
            above = cards_above(self.catalog, forecast, features.input_tokens, card)
            return policy.with_plans() if policy.plans else policy, above
        cards = dict.fromkeys((*plan.members, *([] if plan.writer is None else [plan.writer])))
        of_each = [cards_above(self.catalog, forecast, features.input_tokens, card) for card in cards]
        common = set.intersection(*(set(above) for above in of_each))
        narrow = policy.with_plans((plan.id.removeprefix(PREFIX),))
        return narrow, {card: reason for card, reason in of_each[0].items() if card in common}


def kind_of(predictor: Predictor, features: Features) -> str:
    """The family of tasks of a prompt; `all` where the predictor reads none."""
    families = families_of(predictor, features.vector[None])
    return ALL_KINDS if families is None else families[0]
