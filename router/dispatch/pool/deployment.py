"""A deployment: one server of a card, called with one key."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from router.cards.schema import Card
from router.cards.servers import RateLimits
from router.dispatch.providers import server_of, with_each_key

if TYPE_CHECKING:
    # Not imported, since a decision on the command line asks which cards have a server, and calls none.
    from router.dispatch.health import Health, Ticket, Unready
    from router.dispatch.lora.claims import Claim

_NO_LIMITS = RateLimits()


class Deployment(Struct, frozen=True, eq=False):
    """One server of a card, called with one key. `card` is the card with this server and this key alone, `server` the
    name of both. `place` names the model and the server: adapters of one base share its servers. `limits` are the rate
    limits of the server.

    `is_one_key`: the server has other deployments with other keys, which are used in turn.
    """

    name: str
    card: Card
    server: str
    place: tuple[str, str]
    limits: RateLimits
    is_one_key: bool = False

    @property
    def for_batches(self) -> bool:
        """Whether the server is for requests that can wait."""
        return self.card.profile == "throughput"


class Slot(Struct, frozen=True, eq=False):
    """A call that has begun at a deployment, whose state is `health`. `tenant` is the one that is charged with its
    tokens; `claim` is its claim to the adapter of the deployment's card, None where the base of that states nothing of
    adapters.
    """

    deployment: Deployment
    health: Health
    ticket: Ticket
    tenant: str = ""
    claim: Claim | None = None


def deployments_of(card: Card) -> tuple[Deployment, ...]:
    """The servers of `card`, each with each of its keys: named `small` where it has one, else `small#1`, `small#2` …

    The efforts of a card have the same servers as the card itself, so they share health, limits and cooldowns.
    """
    servers = [
        msgspec.structs.replace(
            card,
            base_url=server.base_url,
            api_key_env=server.api_key_env,
            rate_limits=server.rate_limits,
            profile=server.profile or card.profile,
            deployments=(),
        )
        for server in card.deployments
    ] or [card]
    by_key = [with_each_key(server) for server in servers]
    with_one_key = [(one, len(of_server) > 1) for of_server in by_key for one in of_server]
    if not card.deployments and len(with_one_key) == 1:
        one, _ = with_one_key[0]
        return (_deployment(card.id_without_effort, one),)
    return tuple(
        _deployment(f"{card.id_without_effort}#{number}", one, is_one_key)
        for number, (one, is_one_key) in enumerate(with_one_key, 1)
    )


def _deployment(name: str, card: Card, is_one_key: bool = False) -> Deployment:
    server = server_of(card)
    place = card.base or card.id_without_effort, server
    return Deployment(name, card, server, place, card.rate_limits or _NO_LIMITS, is_one_key)


class Search(Struct, frozen=True, eq=False):
    """What a call looks for: a deployment of the first of `cards` that has a ready one, see `DeploymentPool.acquire`.

    `preferred` and `only` are names of servers, empty for none: the one that is taken where it is ready, and the one
    outside which nothing is called.
    """

    cards: Sequence[Card]
    tried: Collection[str]
    avoids: Callable[[Deployment], bool]
    preferred: str
    key: str
    tenant: str
    is_batch: bool
    only: str = ""


class Found(Struct):
    """Deployments of cards that are not called at once: `unready` with the reason; `spare` are for batches, and called
    where no other is ready; those in `last` after these, since something is known against them.
    """

    unready: list[tuple[Unready, Deployment]] = []
    spare: list[Deployment] = []
    last: list[Deployment] = []
