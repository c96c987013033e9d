"""What changes in routing when one card takes the place of another: the same prompts, decided with each of the two."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from router.analysis.replay import features_of
from router.cards.catalog import Catalog
from router.decide.engine import RequestContext, decide
from router.decide.flags import parse_flags
from router.decide.policy import Policy
from router.errors import NoCandidateError, PromptFlagError
from router.pipeline import Router
from router.store.records.record import DecisionRecord
from router.wire.chat.request import ChatRequest

_NO_CARD = ""

Decide = Callable[[Policy, Mapping[str, str]], str]
"""Decides one prompt by a policy while some cards are unavailable (id → reason): the chosen card or plan."""

Scores = Mapping[str, float]
"""What the cards scored on a prompt, by id."""


class RouteFlips(Struct, frozen=True):
    """Decisions about `prompts` prompts: before with the old card, after with the new one in its place.

    `flips` counts the prompts that are sent elsewhere: `lost` by the old card to a third one, `won` by the new card
    from a third one, `other` between third ones. `taken_over` counts those that the new card takes over from the old
    one, which are no flips. Of the `compared` flips whose cards both have a measured score on the prompt, `worse` have
    a lower one after.
    """

    policy: str
    prompts: int
    taken_over: int
    lost: int
    won: int
    other: int
    compared: int = 0
    worse: int = 0

    @property
    def flips(self) -> int:
        """The prompts that are sent elsewhere."""
        return self.lost + self.won + self.other

    @property
    def share(self) -> float:
        """The share of prompts that are sent elsewhere."""
        return self.flips / self.prompts


def route_flips(
    decisions: Iterable[Decide], scores: Iterable[Scores], catalog: Catalog, policy: Policy, old: str, new: str
) -> RouteFlips:
    """Decide each prompt of `decisions` twice and count what changes; `scores` are those of the same prompts.

    `old` and `new` are ids in `catalog`. Where `old` is the policy's default card, `new` takes its place there, too.
    """
    olds, news = _places(catalog, old, new), _places(catalog, new, old)
    after_policy = policy
    if policy.default is not None and (position := catalog.position(policy.default)) is not None:
        default = catalog.ids[position]
        if default in olds:
            after_policy = msgspec.structs.replace(policy, default=_renamed(default, old, new, news))
    without_new, without_old = dict.fromkeys(news, "is compared"), dict.fromkeys(olds, "is replaced")
    counts = dict.fromkeys(("prompts", "taken_over", "lost", "won", "other", "compared", "worse"), 0)
    for decided, measured in zip(decisions, scores, strict=False):
        before, after = _decided(decided, policy, without_new), _decided(decided, after_policy, without_old)
        counts["prompts"] += 1
        was_old, is_new = before in olds, after in news
        if was_old and is_new:
            counts["taken_over"] += 1
            continue
        if before == after:
            continue
        counts["lost" if was_old else "won" if is_new else "other"] += 1
        if before in measured and after in measured:
            counts["compared"] += 1
            counts["worse"] += measured[after] < measured[before]
    return RouteFlips(policy=policy.id, **counts)


def with_candidate(router: Router, card: str) -> Router:
    """`router` where the card with this id may be chosen, also if it was ported and not probed."""
    if not router.catalog.named(card).is_untried:
        return router
    cards = (
        msgspec.structs.replace(each, lineage=None) if each.id == card else each
        for each in router.catalog.stated
        if each.effort_of is None
    )
    return Router(
        Catalog(cards, router.catalog.speeds), router.policies, router.predictor, router.evidence, router.plans
    )


def of_requests(
    router: Router, requests: Iterable[ChatRequest], flags: str, today: datetime.date | None
) -> Iterable[Decide]:
    """The decisions of `router` about requests."""

    def decided(request: ChatRequest) -> Decide:
        return lambda policy, unavailable: (
            router.route(request, flags=flags, policy=policy, unavailable=unavailable, today=today).decision.card
        )

    return (decided(request) for request in requests)


def of_records(
    router: Router,
    policy: Policy,
    recorded: Sequence[DecisionRecord],
    flags: str,
    today: datetime.date | None,
) -> Iterable[Decide]:
    """The decisions of `router` from recorded features, without what was true of the moment: limits, failures, the
    conversation. Raises ConfigurationError where the features are those of another artifact.
    """
    forecaster = router.predictor.bind(router.catalog_of(policy), router.evidence)
    wanted = parse_flags(flags)

    def decided(record: DecisionRecord) -> Decide:
        features = features_of(record, router.predictor)
        forecast = forecaster(features)
        return lambda policy, unavailable: (
            decide(
                router.catalog,
                features,
                forecast,
                policy,
                wanted,
                router.predictor.id,
                RequestContext(unavailable, today),
                router.plans,
            ).card
        )

    return (decided(record) for record in recorded)


def _decided(decided: Decide, policy: Policy, unavailable: Mapping[str, str]) -> str:
    try:
        return decided(policy, unavailable)
    except (NoCandidateError, PromptFlagError):
        return _NO_CARD


def _places(catalog: Catalog, card: str, other: str) -> tuple[str, ...]:
    """The ids of the card and of its efforts; the id alone where `other` is the same model at another effort."""
    if catalog.named(card).id_without_effort == catalog.named(other).id_without_effort:
        return (card,)
    return tuple(each.id for each in catalog if card in (each.id, each.effort_of))


def _renamed(default: str, old: str, new: str, news: Sequence[str]) -> str:
    """The default card's successor: at the same effort where the new card states that."""
    renamed = new + default.removeprefix(old)
    return renamed if renamed in news else new
