"""Which cards the command line considers: those that can be called here, where there are any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from router.errors import ConfigurationError
from router.formats.text import shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.cards import Card, Catalog

_TIMEOUT_S = 0.3
_MAX_REASONS = 4


class Reach(Struct, frozen=True):
    """`unavailable` maps the cards that are left out to the reason; `note` is one line for people, or empty."""

    unavailable: Mapping[str, str] = {}
    note: str = ""


def reach_of(catalog: Catalog) -> Reach:
    """The cards that can be called here; the whole catalogue where none can.

    Keys are not tried. Servers on this machine have 0.3 seconds to list their models; no other host is asked.
    """
    unavailable = not_callable(catalog)
    callable_cards = len(catalog) - len(unavailable)
    if not unavailable:
        return Reach()
    if not callable_cards:
        return Reach(note=f"no card can be called here (route doctor shows why): all {len(catalog)} are compared")
    return Reach(
        unavailable, f"{callable_cards} of {len(catalog)} cards can be called here; --all for the whole catalogue"
    )


def not_callable(cards: Iterable[Card]) -> dict[str, str]:
    """Why each card that cannot be called here cannot."""
    from router.dispatch.availability import list_servers, silent_inventory

    cards = tuple(cards)
    if (silent := silent_inventory(cards)) is not None:
        return silent.unavailable_cards(cards)
    import asyncio

    return asyncio.run(list_servers(cards, _TIMEOUT_S)).unavailable_cards(cards)


def nothing_callable(reasons: Iterable[str]) -> ConfigurationError:
    """The error where a model must be called and none can be."""
    return ConfigurationError(
        f"no model can be called here: {shortened(dict.fromkeys(reasons), _MAX_REASONS)}\n"
        "  set the key of a provider (export OPENAI_API_KEY=…), or start Ollama (ollama serve) and run "
        "route doctor --write\n"
        "  route doctor shows what every card needs"
    )
