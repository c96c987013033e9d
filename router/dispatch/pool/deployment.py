"""A deployment: one server of a card, called with one key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from router.cards.schema import Card
from router.cards.servers import RateLimits
from router.dispatch.providers import server_of, with_each_key

if TYPE_CHECKING:
    # Not imported, since a decision on the command line asks which cards have a server, and calls none.
    from router.dispatch.health import Ticket, Unready
    from router.dispatch.lora.claims import Claim

_NO_LIMITS = RateLimits()


class Deployment(Struct, frozen=True, eq=False):
    """One server of a card, called with one key. `card` is the card with this server and this key alone, `server` the
    name of both.

    `is_one_key`: the server has other deployments with other keys, which are used in turn.
    """

    name: str
    card: Card
    server: str
    is_one_key: bool = False

    @property
    def limits(self) -> RateLimits:
        """The rate limits of the server."""
        return self.card.rate_limits or _NO_LIMITS

    @property
    def for_batches(self) -> bool:
        """Whether the server is for requests that can wait."""
        return self.card.profile == "throughput"


class Slot(Struct, frozen=True, eq=False):
    """A call that has begun at a deployment. `tenant` is the one that is charged with its tokens; `claim` is its claim
    to the adapter of the deployment's card, None where its base states nothing of adapters.
    """

    deployment: Deployment
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
        return (Deployment(card.server_id, one, server_of(one)),)
    return tuple(
        Deployment(f"{card.server_id}#{number}", one, server_of(one), is_one_key)
        for number, (one, is_one_key) in enumerate(with_one_key, 1)
    )


class Found(Struct):
    """Deployments of cards that are not called at once: `unready` with the reason; `spare` are for batches, and called
    where no other is ready; those in `last` after these, since something is known against them.
    """

    unready: list[tuple[Unready, Deployment]] = []
    spare: list[Deployment] = []
    last: list[Deployment] = []
