"""What other processes do with the adapters of a server, as far as they publish it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct


class Usage(Struct, frozen=True, omit_defaults=True):
    """What one process does with the adapters of one server, by their names there. `used`: its calls use them now, or
    did a moment ago. `loading` and `leaving`: it loads or unloads them. `waiting`: how many of its calls wait for each.
    `pinned`: its operator keeps them.
    """

    used: tuple[str, ...] = ()
    loading: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    waiting: Mapping[str, int] = {}
    pinned: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.used or self.loading or self.leaving or self.waiting or self.pinned)


class Elsewhere:
    """What all other processes do with the adapters of one server: by default nothing."""

    def __init__(self, usages: Iterable[Usage] = ()) -> None:
        self._usages = tuple(usages)
        self.used = frozenset(name for each in self._usages for name in (*each.used, *each.loading))
        self.leaving = frozenset(name for each in self._usages for name in each.leaving)
        self.pinned = frozenset(name for each in self._usages for name in each.pinned)

    def keeps(self, adapter: str) -> bool:
        """Whether it may not be unloaded here."""
        return adapter in self.used or adapter in self.pinned or adapter in self.leaving

    def taken(self, known: Collection[str]) -> int:
        """How many slots they use or are about to use beside those of the adapters that are `known` to have one."""
        coming = len(self.used - {*known})
        # An adapter that is loaded there gets the slot of one that goes.
        going = sum(
            min(len({*each.leaving} & {*known}), len({*each.loading} - {*known}))
            for each in self._usages
            if each.leaving
        )
        return max(coming - going, 0)
